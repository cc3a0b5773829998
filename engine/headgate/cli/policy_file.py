"""Read a policy from a YAML file, and say at which line each thing is that is wrong with it.

YAML 1.2: `on` and `no` are words, and nothing but data can be written. A key that stands twice in one mapping is an
error; ids are text, also where they look like numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from headgate.errors import HeadgateError, InvalidInput, Problem
from headgate.policy import POLICY_WORDS, Policy, path_to

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
NODES_A_CHARACTER_MAX: Final = 10
"""How many values a file may hold for each of its characters: a few lines of aliases can mean billions."""


class InvalidPolicyFile(HeadgateError):
    """The file holds no valid policy. Nothing was written; `lines` are all problems, each with file and line."""

    code = "BadUserInput"

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


def read_policy(path: Path) -> Policy:
    """Read a policy file; raise `InvalidPolicyFile` with every problem and its line."""
    try:
        content = path.read_bytes()
        if len(content) > FILE_BYTES_MAX:
            raise InvalidPolicyFile([f"{path}: the file has more than {FILE_BYTES_MAX // 1024**2} MiB"])
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InvalidPolicyFile([f"{path}: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidPolicyFile([f"{path}:{line}: the file is not UTF-8"]) from None
    return parse_policy(text, str(path))


def parse_policy(text: str, name: str) -> Policy:
    """Read a policy from the text of a file; `name` stands in front of its problems."""
    try:
        return _parse(text, name)
    except RecursionError:
        raise InvalidPolicyFile([f"{name}: its values are nested too deeply"]) from None


def _parse(text: str, name: str) -> Policy:
    yaml = YAML(typ="rt", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.problem, error.context) if part)
        raise InvalidPolicyFile([f"{name}:{mark.line + 1 if mark else 1}: {what}"]) from None
    except YAMLError as error:
        raise InvalidPolicyFile([f"{name}: {' '.join(str(error).split())}"]) from None
    if root is None:
        raise InvalidPolicyFile([f"{name}:1: the file is empty: a policy has {', '.join(POLICY_WORDS)}"])
    document = _Document(name, nodes_max=1_000 + NODES_A_CHARACTER_MAX * len(text))
    data = document.value("", root)
    problems = document.problems
    policy = None
    try:
        policy = Policy.parse(data)
    except InvalidInput as error:
        problems += [(document.line_of(problem.field), problem) for problem in error.problems]
    if policy is None or problems:
        problems.sort(key=lambda located: located[0])
        raise InvalidPolicyFile([f"{name}:{line}: {problem}" for line, problem in problems])
    return policy


class _Document:
    """The plain data of a file, the line of each path into it, and what of the YAML is not to be understood."""

    def __init__(self, name: str, *, nodes_max: int) -> None:
        self.problems: list[tuple[int, Problem]] = []
        self._name = name
        self._lines: dict[str, int] = {}
        self._open: list[Node] = []
        self._nodes_left = nodes_max

    def line_of(self, path: str) -> int:
        """The line of a path, or, where nothing stands there, of what it would stand in."""
        while path and path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines.get(path, 1)

    def value(self, path: str, node: Node) -> Any:
        """The plain data of one node; every path below it learns its line."""
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        self._nodes_left -= 1
        if self._nodes_left < 0 or any(node is outer for outer in self._open):
            raise InvalidPolicyFile([f"{self._name}:{line}: its aliases repeat this without an end"])
        if isinstance(node, ScalarNode):
            return self._scalar(path, node)
        self._open.append(node)
        try:
            if isinstance(node, SequenceNode):
                return [self.value(path_to(path, index), item) for index, item in enumerate(node.value)]
            assert isinstance(node, MappingNode), node
            return self._mapping(path, node)
        finally:
            self._open.pop()

    def _mapping(self, path: str, node: MappingNode) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                problem = Problem(path or "policy", "a list or a mapping", "can't be a key: a key is a word or an id")
                self.problems.append((line, problem))
                continue
            word = str(key.value)
            inner = path_to(path, word)
            if word in data:
                rule = f"stands twice in one mapping: it is in line {self._lines[inner]} already"
                self.problems.append((line, Problem(inner, word, rule)))
                continue
            self._lines[inner] = line
            data[word] = self.value(inner, item)
        return data

    def _scalar(self, path: str, node: ScalarNode) -> object:
        tag = str(node.tag)
        read = _SCALARS.get(tag)
        try:
            if read is not None:
                return read(str(node.value))
        except ValueError:
            pass
        kind = tag.rpartition(":")[2]
        self.problems.append(
            (node.start_mark.line + 1, Problem(path or "policy", node.value, f"can't be read as {kind}"))
        )
        return None


def _integer(text: str) -> int:
    """`20_000_000`, `-5`, `0x1f` and `0o17`; a zero in front means nothing."""
    digits = text.replace("_", "").lower()
    return int(digits, 0) if re.match(r"[-+]?0[xob]", digits) else int(digits)


def _number(text: str) -> float:
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


# An instant stays the text that was written.
_SCALARS: Final[dict[str, Callable[[str], object]]] = {
    "tag:yaml.org,2002:null": lambda text: None,
    "tag:yaml.org,2002:bool": lambda text: text.lower() in ("true", "yes", "on", "y"),
    "tag:yaml.org,2002:int": _integer,
    "tag:yaml.org,2002:float": _number,
    "tag:yaml.org,2002:str": str,
    "tag:yaml.org,2002:timestamp": str,
}
