"""Programs of `loadtests/` as modules for tests: they are run as scripts otherwise, and are on no path."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "loadtests"


@functools.cache
def load_program(name: str) -> ModuleType:
    """`loadtests/<name>.py`, loaded once; while that is done it finds its neighbours, as a script does."""
    specification = importlib.util.spec_from_file_location(f"headgate_{name}", FOLDER / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    sys.path.insert(0, str(FOLDER))
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module
