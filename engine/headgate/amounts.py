"""Read, add and show amounts exactly: whole numbers to ±(2^53 - 1), fractions to 5 decimals below 2^35.

What it promises: an amount that `parse_amount` returns is the double nearest to what the caller wrote, rounded to 5
decimals; and `add` of two such amounts is the double nearest to their decimal sum, or AmountOutOfRange. The Lua scripts
add in the same way, bit for bit, so a decision can be recomputed here from the numbers that it names.

Pure, and free of the process's decimal context. A wrong value is a ValueError that names the field, the value and the
rule. The range is that of the vendor's client.
"""

import math
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

WHOLE_MAX = 2**53 - 1
FRACTION_BELOW = 2**35
STEPS_PER_UNIT = 100_000

_STEP = Decimal(1) / STEPS_PER_UNIT
# Room for a fraction below 2^35 with its 5 decimals, and for the widest whole number with five zeros.
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_UP, traps=[InvalidOperation])


class AmountOutOfRange(ArithmeticError):
    """The sum (or the product) of two amounts can't be kept exactly: correct the counter, or count in a larger unit.

    `left` and `right` are the two amounts.
    """

    def __init__(self, left: float, right: float, result: str = "sum") -> None:
        super().__init__(left, right, result)
        self.left = left
        self.right = right
        self.result = result

    def __str__(self) -> str:
        return (
            f"the {self.result} of {_shown(self.left)} and {_shown(self.right)} is out of range: "
            f"whole numbers go to {WHOLE_MAX}, fractions stay below {FRACTION_BELOW}"
        )


def parse_amount(value: object, *, field: str = "amount", negative: bool = False) -> float | int:
    """Take a number from outside, rounded half away from zero to 5 decimals; whole numbers come back as int.

    Accepts int, float and Decimal. A float is rounded from its shortest text, since that is what the caller wrote:
    1.000005 becomes 1.00001, though the double is a little below it. Raises ValueError for anything that is not a
    finite number (bool and str included), for a negative value unless `negative`, and for values out of range.
    """
    if type(value) is int and 0 <= value <= WHOLE_MAX:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"{field}: {_shown(value)} is not a number: give an int, a float or a Decimal")
    exact = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        raise ValueError(f"{field}: {value} is not a finite number, and an amount is one")
    if exact < 0 and not negative:
        raise ValueError(f"{field}: {_shown(value)} is negative: the least is 0")
    size = exact.copy_abs()
    if size > WHOLE_MAX:
        raise ValueError(f"{field}: {_shown(value)} is out of range: whole numbers go to {WHOLE_MAX}")
    if size == size.to_integral_value(context=_CONTEXT):
        return int(exact)
    if size >= FRACTION_BELOW:
        raise ValueError(f"{field}: {_shown(value)} is out of range: fractions stay below {FRACTION_BELOW}")
    return as_number(float(exact.quantize(_STEP, context=_CONTEXT)))


def add(left: float, right: float) -> float:
    """Add two amounts as the Lua scripts do; raise AmountOutOfRange where the sum would not be exact.

    Two whole numbers are added plainly. Otherwise each becomes whole hundred-thousandths, these are added, and the sum
    is divided. Every test is put so that NaN fails it.
    """
    if not (abs(left) <= WHOLE_MAX and abs(right) <= WHOLE_MAX):
        raise AmountOutOfRange(left, right)
    if left == math.floor(left) and right == math.floor(right):
        total = float(left) + float(right)
        if not abs(total) <= WHOLE_MAX:
            raise AmountOutOfRange(left, right)
        return total
    if not (abs(left) < FRACTION_BELOW and abs(right) < FRACTION_BELOW):
        raise AmountOutOfRange(left, right)
    steps = math.floor(left * STEPS_PER_UNIT + 0.5) + math.floor(right * STEPS_PER_UNIT + 0.5)
    total = steps / STEPS_PER_UNIT
    if not abs(total) < FRACTION_BELOW:
        raise AmountOutOfRange(left, right)
    return total


def multiply(amount: float, times: float) -> float:
    """Multiply an amount by a rate or a quantity exactly, rounded half away from zero to 5 decimals.

    Raises AmountOutOfRange where the product can't be kept.
    """
    try:
        return float(parse_amount(Decimal(repr(amount)) * Decimal(repr(times)), negative=True))
    except ValueError:
        raise AmountOutOfRange(amount, times, "product") from None


def as_number(amount: float) -> float | int:
    """Turn a double into what people and JSON expect: an int where it is whole, else itself."""
    return int(amount) if float(amount).is_integer() else amount


def format_amount(amount: float) -> str:
    """Write an amount for people: `1,000`, `42,311.5`; never an exponent, never zeros at the end.

    A number that is not finite, which only a damaged counter can hold, is named: `nan`, `inf`.
    """
    if not math.isfinite(amount):
        return str(amount)
    number = as_number(amount)
    if isinstance(number, int):
        return f"{number:,}"
    text = f"{number:,.5f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _shown(value: object) -> str:
    """Quote a value in an error, cut where it is long."""
    if isinstance(value, int) and abs(value) >= 10**60:
        return f"a whole number of {value.bit_length()} bits"
    quoted = str(value) if isinstance(value, int | float | Decimal) else repr(value)
    return quoted if len(quoted) <= 60 else f"{quoted[:56]}…"
