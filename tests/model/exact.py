"""Amounts as fractions: what a caller wrote, to five decimals, and sums that are exact or refused.

The rule is written down here a second time, in rational numbers and without the package's own arithmetic: whole numbers
go to 2^53 - 1; what has decimals stays below 2^35; a sum that is neither is no number.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

WHOLE_MAX = 9_007_199_254_740_991
FRACTION_BELOW = 34_359_738_368
STEPS_A_UNIT = 100_000


def exact(written: float | Decimal) -> Fraction:
    """Give the amount that was written, rounded half away from zero to five decimals."""
    return rounded(Fraction(Decimal(repr(written)) if isinstance(written, float) else Decimal(written)))


def rounded(value: Fraction) -> Fraction:
    """Round half away from zero to five decimals."""
    steps = int(abs(value) * STEPS_A_UNIT + Fraction(1, 2))
    return Fraction(steps if value >= 0 else -steps, STEPS_A_UNIT)


def can_be_kept(value: Fraction) -> bool:
    """Whether it is an amount at all: a whole number in the range, or decimals where there are any."""
    return abs(value) <= WHOLE_MAX if value.denominator == 1 else abs(value) < FRACTION_BELOW


def total(left: Fraction, right: Fraction) -> Fraction | None:
    """Add two amounts; None where one has decimals, and either or the sum is too large to have any.

    A whole sum beyond the range is returned: what asks for it has to look.
    """
    result = left + right
    if left.denominator == right.denominator == 1:
        return result
    if abs(left) >= FRACTION_BELOW or abs(right) >= FRACTION_BELOW:
        return None
    return None if abs(result) >= FRACTION_BELOW else result


def dimension_text(value: str | float | bool) -> str:
    """Show a dimension's value as JavaScript prints it, for the numbers that people put there."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)
