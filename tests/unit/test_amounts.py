"""Amounts against Decimal: what is read, what is refused, and sums that doubles alone get wrong."""

import math
from decimal import ROUND_HALF_UP, Decimal, getcontext, localcontext

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from headgate.amounts import (
    FRACTION_BELOW,
    STEPS_PER_UNIT,
    WHOLE_MAX,
    AmountOutOfRange,
    add,
    as_number,
    format_amount,
    parse_amount,
)

# A busy machine may take its time over one example.
law = settings(deadline=None)
STEPS_BELOW = FRACTION_BELOW * STEPS_PER_UNIT
wholes = st.integers(-WHOLE_MAX, WHOLE_MAX)
near_a_power = st.builds(
    lambda sign, power, shift: sign * (2**power * STEPS_PER_UNIT + shift),
    st.sampled_from([1, -1]),
    st.integers(30, 34),
    st.integers(-1_000_000, 1_000_000),
)
steps_of_fractions = near_a_power | st.integers(-STEPS_BELOW + 1, STEPS_BELOW - 1) | st.integers(-(10**7), 10**7)


def of_steps(steps: int) -> float:
    """Give the amount of so many hundred-thousandths as it comes out of a document."""
    return float(f"{Decimal(steps).scaleb(-5):f}")


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        (0, 0),
        (-0.0, 0),
        (Decimal("-0"), 0),
        (1, 1),
        (1.0, 1),
        (1e15, 10**15),
        (1250, 1250),
        (0.1, 0.1),
        (0.3, 0.3),
        (0.1 + 0.2, 0.3),
        (0.000005, 0.00001),
        (0.0000049999, 0),
        (1.000005, 1.00001),
        (2.675005, 2.67501),
        (1e-300, 0),
        (5e-324, 0),
        (0.999995, 1),
        (0.999994, 0.99999),
        (WHOLE_MAX, WHOLE_MAX),
        (float(WHOLE_MAX), WHOLE_MAX),
        (Decimal(WHOLE_MAX), WHOLE_MAX),
        (Decimal("9007199254740991.000"), WHOLE_MAX),
        (Decimal("1E+3"), 1000),
        (Decimal("12.345675"), 12.34568),
        (Decimal("0.1") ** 1000, 0),
        (Decimal("1E-999999"), 0),
        pytest.param(Decimal("0." + "3" * 5000), 0.33333, id="5,000 decimals"),
        (34359738367.5, 34359738367.5),
        (Decimal("34359738367.99999"), 34359738367.99999),
        (Decimal("34359738367.999995"), 34359738368),
        (Decimal("34359738368.000"), 34359738368),
    ],
)
def test_an_amount_is_read_to_five_decimals(written: object, amount: float) -> None:
    read = parse_amount(written)
    assert read == amount
    assert type(read) is type(amount)
    assert math.copysign(1, read) == 1


@pytest.mark.parametrize("written", [-1, -0.5, -0.000005, Decimal("-12.345675"), -WHOLE_MAX, -34359738367.99999])
def test_a_negative_amount_mirrors_the_positive_one_where_it_is_allowed(written: float) -> None:
    assert parse_amount(written, negative=True) == -parse_amount(-written)


@law
@given(st.floats(-FRACTION_BELOW, FRACTION_BELOW, exclude_min=True, exclude_max=True))
@example(1.000005)
@example(-1.000005)
@example(0.5)
def test_a_float_is_rounded_half_away_from_zero_from_its_shortest_text(written: float) -> None:
    with localcontext() as context:
        context.prec = 1200
        steps = int((abs(Decimal(repr(written))) * STEPS_PER_UNIT + Decimal("0.5")).to_integral_value("ROUND_FLOOR"))
    expected = math.copysign(steps / STEPS_PER_UNIT, written)
    read = parse_amount(written, negative=True)
    assert read == expected
    assert isinstance(read, int) == expected.is_integer()
    assert parse_amount(read, negative=True) == read


@law
@given(steps_of_fractions)
def test_five_decimals_are_kept_as_written(steps: int) -> None:
    assert Decimal(repr(parse_amount(of_steps(steps), negative=True))) == Decimal(steps).scaleb(-5)


def test_a_callers_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.prec = 3
        context.rounding = "ROUND_DOWN"
        assert parse_amount(34359738367.123455) == 34359738367.12346
        assert parse_amount(Decimal("34359738367.123455")) == 34359738367.12346
        assert parse_amount(WHOLE_MAX) == WHOLE_MAX
    assert getcontext().rounding != ROUND_HALF_UP


class Price(float):
    def __repr__(self) -> str:
        return f"Price({float(self)})"


class Count(int):
    pass


def test_subclasses_of_numbers_come_back_as_plain_numbers() -> None:
    assert type(parse_amount(Price(1.5))) is float
    assert type(parse_amount(Price(2.0))) is int
    assert type(parse_amount(Count(3))) is int


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (2**53, "amount: 9007199254740992 is out of range: whole numbers go to 9007199254740991"),
        (2.0**53, "amount: 9007199254740992.0 is out of range: whole numbers go to 9007199254740991"),
        (-(2**53), "amount: -9007199254740992 is out of range: whole numbers go to 9007199254740991"),
        (Decimal("9007199254740991.5"), "amount: 9007199254740991.5 is out of range: whole numbers go to 900719925"),
        pytest.param(
            10**10_000,
            "amount: a whole number of 33220 bits is out of range: whole numbers go to 9007199254740991",
            id="a huge int",
        ),
        (1e308, "amount: 1e+308 is out of range: whole numbers go to 9007199254740991"),
        (Decimal("1E+999999"), "amount: 1E+999999 is out of range: whole numbers go to 9007199254740991"),
        (34359738368.5, "amount: 34359738368.5 is out of range: fractions stay below 34359738368"),
        (-34359738368.5, "amount: -34359738368.5 is out of range: fractions stay below 34359738368"),
        (Decimal("34359738368.000001"), "amount: 34359738368.000001 is out of range: fractions stay below 34359738"),
        (math.nan, "amount: nan is not a finite number, and an amount is one"),
        (math.inf, "amount: inf is not a finite number, and an amount is one"),
        (-math.inf, "amount: -inf is not a finite number, and an amount is one"),
        (Decimal("NaN"), "amount: NaN is not a finite number, and an amount is one"),
        (Decimal("sNaN"), "amount: sNaN is not a finite number, and an amount is one"),
        (Decimal("-Infinity"), "amount: -Infinity is not a finite number, and an amount is one"),
        (True, "amount: True is not a number: give an int, a float or a Decimal"),
        (False, "amount: False is not a number: give an int, a float or a Decimal"),
        ("12", "amount: '12' is not a number: give an int, a float or a Decimal"),
        (None, "amount: None is not a number: give an int, a float or a Decimal"),
        ([1], "amount: [1] is not a number: give an int, a float or a Decimal"),
        (1j, "amount: 1j is not a number: give an int, a float or a Decimal"),
        ("9" * 100, f"amount: '{'9' * 55}… is not a number: give an int, a float or a Decimal"),
    ],
)
def test_what_is_not_an_amount_is_refused_with_field_value_and_rule(written: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        parse_amount(written, negative=True)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("written", [-1, -0.5, -1e-9, Decimal("-0.000001")])
def test_a_negative_amount_is_refused_unless_allowed(written: object) -> None:
    with pytest.raises(ValueError, match=rf"^usageLimit: {written} is negative: the least is 0$"):
        parse_amount(written, field="usageLimit")


# --- adding ---------------------------------------------------------------------------------------------------------


def test_three_tenths_make_exactly_what_a_limit_of_three_tenths_allows() -> None:
    assert add(add(0.1, 0.1), 0.1) == 0.3
    assert 0.1 + 0.1 + 0.1 != 0.3


def test_large_whole_numbers_are_not_damaged() -> None:
    assert add(13571996285128, 68) == 13571996285196
    assert add(WHOLE_MAX - 1, 1) == WHOLE_MAX
    assert add(-WHOLE_MAX, WHOLE_MAX) == 0


@law
@given(wholes, wholes)
def test_whole_numbers_are_added_exactly_or_refused(left: int, right: int) -> None:
    if abs(left + right) <= WHOLE_MAX:
        assert add(left, right) == left + right
        assert add(float(left), float(right)) == left + right
    else:
        with pytest.raises(AmountOutOfRange):
            add(left, right)


@law
@given(steps_of_fractions, steps_of_fractions)
@example(2**34 * STEPS_PER_UNIT - 1, 1)
@example(STEPS_BELOW - 1, 1)
@example(STEPS_BELOW - 1, -STEPS_BELOW + 1)
def test_fractions_are_added_as_decimals_are_or_refused(left: int, right: int) -> None:
    assume(left % STEPS_PER_UNIT or right % STEPS_PER_UNIT)
    if abs(left + right) < STEPS_BELOW:
        assert add(of_steps(left), of_steps(right)) == of_steps(left + right)
        assert add(of_steps(right), of_steps(left)) == of_steps(left + right)
    else:
        with pytest.raises(AmountOutOfRange):
            add(of_steps(left), of_steps(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1453047690508167, 1481456608972052),
        (1717986918368514, 1717986917732550),
        (1717986919162356, 216432),
        (2925606255606917, 24409),
        (2320930911500384, 617742969831473),
    ],
)
def test_sums_above_2_to_the_34_are_exact_where_adding_first_and_rounding_afterwards_is_not(
    left: int, right: int
) -> None:
    rounded_afterwards = math.floor((of_steps(left) + of_steps(right)) * STEPS_PER_UNIT + 0.5) / STEPS_PER_UNIT
    assert rounded_afterwards != of_steps(left + right)
    assert add(of_steps(left), of_steps(right)) == of_steps(left + right)


@law
@given(st.integers(2**33 * STEPS_PER_UNIT, 2**34 * STEPS_PER_UNIT - 1), st.integers(0, 2**34 * STEPS_PER_UNIT - 1))
def test_sums_up_to_the_end_of_the_range_are_those_of_decimals(left: int, right: int) -> None:
    assume(left % STEPS_PER_UNIT or right % STEPS_PER_UNIT)
    assert add(of_steps(left), of_steps(right)) == of_steps(left + right)
    assert add(-of_steps(left), -of_steps(right)) == -of_steps(left + right)


@law
@given(st.lists(st.integers(-(10**9), 10**9), max_size=30))
def test_a_long_sum_does_not_drift(steps: list[int]) -> None:
    total: float = 0
    for step in steps:
        total = add(total, of_steps(step))
    assert total == of_steps(sum(steps))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (WHOLE_MAX, 1),
        (-WHOLE_MAX, -1),
        (2**53, 0),
        (2**53, -(2**53)),
        pytest.param(10**10_000, 0.5, id="a huge int"),
        (FRACTION_BELOW, 0.5),
        (0.5, -FRACTION_BELOW),
        (FRACTION_BELOW - 0.5, 0.5),
        (-FRACTION_BELOW + 0.5, -0.5),
        (math.nan, 1),
        (1, math.nan),
        (math.inf, 1),
        (0.5, -math.inf),
    ],
)
def test_a_sum_that_would_not_be_exact_is_refused(left: float, right: float) -> None:
    with pytest.raises(AmountOutOfRange) as caught:
        add(left, right)
    assert caught.value.left is left
    assert caught.value.right is right
    assert "is out of range" in str(caught.value)


def test_the_refusal_of_a_sum_names_both_amounts_and_the_rule() -> None:
    with pytest.raises(ArithmeticError) as caught:
        add(WHOLE_MAX, 1)
    assert str(caught.value) == (
        "the sum of 9007199254740991 and 1 is out of range: "
        "whole numbers go to 9007199254740991, fractions stay below 34359738368"
    )


# --- showing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (-0.000001, "0"),
        (7, "7"),
        (1000, "1,000"),
        (1000.0, "1,000"),
        (42311.5, "42,311.5"),
        (-42311.5, "-42,311.5"),
        (0.1, "0.1"),
        (0.00001, "0.00001"),
        (100.0, "100"),
        (1e15, "1,000,000,000,000,000"),
        (WHOLE_MAX, "9,007,199,254,740,991"),
        (34359738367.99999, "34,359,738,367.99999"),
        (1e22, "10,000,000,000,000,000,000,000"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_an_amount_is_shown_without_exponent_or_trailing_zeros(amount: float, text: str) -> None:
    assert format_amount(amount) == text


@law
@given(steps_of_fractions | wholes.map(lambda whole: whole * STEPS_PER_UNIT))
def test_what_is_shown_reads_back_as_the_same_amount(steps: int) -> None:
    whole, rest = divmod(steps, STEPS_PER_UNIT)
    amount = of_steps(steps) if rest else whole
    assert float(format_amount(amount).replace(",", "")) == amount


def test_whole_doubles_become_ints_and_others_stay() -> None:
    assert type(as_number(1250.0)) is int
    assert type(as_number(1250)) is int
    assert as_number(0.5) == 0.5
    assert math.isnan(as_number(math.nan))
