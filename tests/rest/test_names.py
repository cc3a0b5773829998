"""Ids that say themselves where a thing is: every one of ours is read back, and no other text is."""

import base64
import string

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.model.ids import is_id
from headgate.rest.names import TEXT_MAX, pack_name, unpack_name

IDS = st.text(string.ascii_letters + string.digits + "_|.@-", min_size=1, max_size=60).filter(is_id)
GRANT = ("cus-acme", "credits", "", "grant-1")
PACKED = pack_name("grant", *GRANT)


SPELLED_OTHERWISE = "grant_lKFhoWKgoWN"
"""Ends in other unused bits than the name of a, b, nothing, c, and decodes to the same bytes."""


def text_of(value: object, prefix: str = "grant") -> str:
    return f"{prefix}_{base64.urlsafe_b64encode(msgpack.packb(value)).decode().rstrip('=')}"


def test_a_name_keeps_its_bytes() -> None:
    assert PACKED == "grant_lKhjdXMtYWNtZadjcmVkaXRzoKdncmFudC0x"
    assert unpack_name("grant_lKhjdXMtYWNtZadjcmVkaXRzoKdncmFudC0x", "grant", parts=4) == GRANT


def test_a_part_that_is_not_there_is_read_back_as_empty() -> None:
    assert pack_name("grant", "cus-acme", "credits", None, "grant-1") == PACKED


@given(parts=st.lists(st.none() | IDS, min_size=1, max_size=4))
def test_every_name_is_read_back_and_only_under_its_prefix_and_number_of_parts(parts: list[str | None]) -> None:
    text = pack_name("hold", *parts)
    assert unpack_name(text, "hold", parts=len(parts)) == tuple(part or "" for part in parts)
    assert unpack_name(text, "grant", parts=len(parts)) is None
    assert unpack_name(text, "hol", parts=len(parts)) is None
    assert unpack_name(text, "hold", parts=len(parts) + 1) is None
    assert set(text) <= set(string.ascii_letters + string.digits + "_-")


@given(text=st.text(max_size=80) | st.text(string.ascii_letters + string.digits + "-_=", max_size=80))
def test_a_text_that_is_read_is_the_one_that_its_parts_are_written_as(text: str) -> None:
    for given_text in (text, f"grant_{text}"):
        parts = unpack_name(given_text, "grant", parts=4)
        assert parts is None or pack_name("grant", *parts) == given_text


def test_four_ids_of_the_longest_fit() -> None:
    parts = ("Z" * 255,) * 4
    assert len(pack_name("reservation", *parts)) < TEXT_MAX
    assert unpack_name(pack_name("reservation", *parts), "reservation", parts=4) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "grant",
        "grant_",
        "grant-1",
        PACKED[:-1],
        PACKED + "=",
        PACKED + "A",
        PACKED + "\n",
        PACKED.replace("_", "_ "),
        PACKED.upper(),
        "grant_é",
        "grant_+/+/",
        "grant_" + "A" * TEXT_MAX,
        text_of("cus-acme"),
        text_of({"a": 1}),
        text_of(["cus-acme", "credits", ""]),
        text_of(["cus-acme", "credits", None, "grant-1"]),
        text_of(["cus-acme", "credits", "", 7]),
        text_of(["cus-acme", "credits", "", b"grant-1"]),
        text_of(["cus-acme", "credits", "", "grant:1"]),
        text_of(["cus-acme", "credits", "", "x" * 256]),
        text_of(["cus-acme", "credits", ["a"], "grant-1"]),
        # the same array, spelled longer than msgpack writes it
        "grant_" + base64.urlsafe_b64encode(b"\xdc\x00\x04" + msgpack.packb([*GRANT])[1:]).decode().rstrip("="),
        SPELLED_OTHERWISE,
    ],
)
def test_every_other_text_names_nothing(text: str) -> None:
    assert unpack_name(text, "grant", parts=4) is None


def test_of_two_spellings_of_the_same_bytes_one_is_a_name() -> None:
    name = pack_name("grant", "a", "b", None, "c")
    assert unpack_name(name, "grant", parts=4) == ("a", "b", "", "c")
    bodies = [text.removeprefix("grant_") + "=" for text in (name, SPELLED_OTHERWISE)]
    assert bodies[0] != bodies[1]
    assert base64.urlsafe_b64decode(bodies[0]) == base64.urlsafe_b64decode(bodies[1])
