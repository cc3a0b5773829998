"""What a mutant is; the lists are in `mutations.py`, `mutations_of_holds.py` and `mutations_of_keys.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NOTHING: Final = "do end -- left out"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One line of one file, what to put in its place, and what would go wrong with it."""

    name: str
    file: str
    old: str
    new: str
    why: str
