"""The types that users' type checkers see are held by a file that only mypy reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def mypy(file: Path) -> subprocess.CompletedProcess[str]:
    options = [
        "--strict",
        "--follow-imports=silent",
        "--no-error-summary",
        "--config-file",
        str(ROOT / "pyproject.toml"),
    ]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_public_types_are_what_users_rely_on() -> None:
    checked = mypy(Path("tests/typing/public_types.py"))
    assert (checked.stdout, checked.returncode) == ("", 0), checked.stderr


def test_a_wrong_type_is_told(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from headgate import Headgate\n\nHeadgate.connect('redis://x').check('c', feature='f').granted + 'x'\n"
    )
    checked = mypy(wrong)
    assert checked.returncode == 1
    assert "Unsupported operand types" in checked.stdout
