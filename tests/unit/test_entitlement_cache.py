"""The rules by which answers are kept, without a server: what is told when, and what may be answered then."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Final

import pytest

from headgate.entitlement_cache import ASKED_AGAIN_MS, AWAY_MS, EntitlementCache, Standing
from headgate.entitlements import AccountLevel
from headgate.model.catalog import Feature
from headgate.model.decision import ConstraintState
from headgate.periods import ALWAYS, FOREVER_END_MS
from headgate.usage_notes import UsageNote, UsageNotes
from headgate.wire import Stamp

SSO: Final = ("feature-sso", None)
TOKENS: Final = ("feature-tokens", None)
LAST_KNOWN_MS: Final = 300_000


def token(number: int) -> bytes:
    return number.to_bytes(8, "big") + b"12345678s"


AT_FIVE: Final = Stamp(token(5), b"version1")


def setting(read_at_ms: int = 0) -> Standing:
    return Standing(Feature(id=SSO[0], feature_type="BOOLEAN"), AccountLevel(None), read_at_ms)  # type: ignore[arg-type]


def number(used: float = 0, read_at_ms: int = 0) -> Standing:
    account = ConstraintState(None, None, (), 10.0, False, used, 0.0, True, ALWAYS, None)
    return Standing(None, AccountLevel(None), read_at_ms, account)


def made(**settings: int) -> EntitlementCache:
    return EntitlementCache(nullcontext(), **{"bytes_max": 100_000, "last_known_ms": LAST_KNOWN_MS, **settings})


def hearing(now_ms: float = 0, **settings: int) -> EntitlementCache:
    cache = made(**settings)
    cache.hear(now_ms)
    return cache


def keep(
    cache: EntitlementCache, now_ms: float = 0, *, standing: Standing | None = None, until_ms: int = FOREVER_END_MS
) -> None:
    standing = standing or setting()
    loading = cache.begin("acme", SSO if standing.account is None else TOKENS, now_ms)
    cache.keep(loading, standing, stamp=AT_FIVE, until_ms=until_ms)
    cache.end(loading)


def test_what_is_kept_is_found_for_a_minute_after_its_load_began() -> None:
    cache = hearing()
    keep(cache, 1_000)
    assert cache.find("acme", SSO, 1_000) == setting()
    assert cache.find("acme", SSO, 1_000 + ASKED_AGAIN_MS - 1) is not None
    assert cache.find("acme", SSO, 1_000 + ASKED_AGAIN_MS) is None
    assert cache.find("acme", SSO, 999) is None
    assert cache.find("acme", ("feature-sso", "site-01"), 1_000) is None


def test_it_ends_by_the_servers_clock_counted_from_the_beginning_of_the_load() -> None:
    cache = hearing()
    keep(cache, 1_000, standing=setting(read_at_ms=500_000), until_ms=500_250)
    assert cache.find("acme", SSO, 1_249) is not None
    assert cache.find("acme", SSO, 1_250) is None
    assert cache.last_known("acme", SSO, 1_250) is None


SAID_MEANWHILE = {
    "the customer has changed": lambda cache: cache.drop_customer("acme", b"version2"),
    "the catalog has changed": lambda cache: cache.drop_all(token(6)),
    "nothing is heard": lambda cache: cache.lose(),
    "nothing was heard, and is again": lambda cache: (cache.lose(), cache.hear(2)),
}


@pytest.mark.parametrize("said", SAID_MEANWHILE)
def test_nothing_is_kept_of_a_load_during_which_something_was_said(said: str) -> None:
    cache = hearing()
    loading = cache.begin("acme", SSO, 1)
    SAID_MEANWHILE[said](cache)
    cache.keep(loading, setting(), stamp=AT_FIVE, until_ms=FOREVER_END_MS)
    cache.end(loading)
    cache.hear(3)
    assert cache.find("acme", SSO, 3) is None
    assert len(cache) == 0


def test_what_is_said_of_another_customer_does_not_matter() -> None:
    cache = hearing()
    loading = cache.begin("acme", SSO, 1)
    cache.drop_customer("other", b"version2")
    cache.keep(loading, setting(), stamp=AT_FIVE, until_ms=FOREVER_END_MS)
    assert cache.find("acme", SSO, 1) is not None


def test_what_was_read_at_a_catalog_before_the_one_that_was_told_is_not_kept() -> None:
    """A load that begins after the message may still be served by a reading of the catalog from before it."""
    cache = hearing()
    cache.drop_all(token(6))
    keep(cache)
    assert len(cache) == 0


def test_who_asks_the_same_meanwhile_shares_the_load_until_something_is_said() -> None:
    cache = hearing()
    first = cache.begin("acme", SSO, 1)
    assert cache.begin("acme", SSO, 2) is first
    assert cache.begin("acme", TOKENS, 2).number != first.number
    cache.drop_customer("acme", b"version2")  # spoils all of these
    second = cache.begin("acme", SSO, 3)
    assert (second.number != first.number, second.began_ms) == (True, 3)
    cache.end(first)  # the first of them ends late, and takes nothing away from the second
    assert cache.begin("acme", SSO, 4) is second
    cache.end(second)
    assert cache.begin("acme", SSO, 5).began_ms == 5


def test_what_is_said_before_the_last_caller_has_its_answer_keeps_that_answer_out() -> None:
    cache = hearing()
    first, second = cache.begin("acme", SSO, 1), cache.begin("acme", SSO, 1)
    assert first is second
    cache.end(first)  # one of them has its answer, and the other waits on
    cache.drop_customer("acme", b"version2")
    cache.keep(second, setting(), stamp=AT_FIVE, until_ms=FOREVER_END_MS)
    cache.end(second)
    assert (len(cache), cache._loading, cache._joinable) == (0, {}, {})


def test_what_was_loaded_at_the_version_that_is_told_stays() -> None:
    cache = hearing()
    keep(cache)
    cache.drop_customer("acme", AT_FIVE.version)
    assert cache.find("acme", SSO, 0) is not None
    cache.drop_customer("acme", b"version2")
    assert (cache.find("acme", SSO, 0), cache.bytes) == (None, 0)


def test_while_nothing_is_heard_what_is_known_is_only_for_those_that_redis_gave_no_answer() -> None:
    cache = hearing()
    keep(cache, 1_000)
    cache.heard(50_000)
    cache.lose()
    assert cache.find("acme", SSO, 50_000) is None
    assert cache.last_known("acme", SSO, 50_000 + LAST_KNOWN_MS - 1) == setting()
    assert cache.last_known("acme", SSO, 50_000 + LAST_KNOWN_MS) is None


def test_what_is_read_meanwhile_takes_the_place_of_what_was_known_and_is_forgotten_with_it() -> None:
    """Else a grant would come back that Redis itself has said is revoked."""
    cache = hearing()
    keep(cache, 1_000, standing=setting(5))
    cache.lose()
    keep(cache, 2_000, standing=setting(7))
    assert cache.find("acme", SSO, 2_000) is None
    assert cache.last_known("acme", SSO, 2_000) == setting(7)
    keep(cache, 3_000, standing=setting(6))  # it was read before the other
    assert cache.last_known("acme", SSO, 3_000) == setting(7)
    cache.hear(4_000)
    assert cache.last_known("acme", SSO, 4_000) is None


def test_what_may_not_be_kept_takes_away_what_was_known_before_it() -> None:
    cache = hearing()
    keep(cache)
    loading = cache.begin("acme", SSO, 1)
    cache.lose()
    cache.keep(loading, setting(7), stamp=AT_FIVE, until_ms=FOREVER_END_MS)
    assert (cache.last_known("acme", SSO, 1), cache.bytes) == (None, 0)


def test_a_catalog_that_was_restored_is_kept_from_as_before() -> None:
    cache = hearing()
    cache.drop_all(token(9))  # told, and then lost with the server that had it
    cache.lose()
    cache.hear(1)
    keep(cache, 2)
    assert cache.find("acme", SSO, 2) is not None


def test_after_no_answer_redis_is_not_asked_again_for_a_moment() -> None:
    cache = hearing()
    keep(cache)
    cache.lose()
    cache.note_away(100)
    assert cache.find("acme", SSO, 100 + AWAY_MS - 1) is not None
    assert cache.find("acme", SSO, 100 + AWAY_MS) is None


def test_when_something_is_heard_again_everything_is_asked_for_again() -> None:
    cache = hearing()
    keep(cache)
    cache.lose()
    cache.note_away(1)
    cache.hear(2)
    assert (cache.find("acme", SSO, 2), cache.last_known("acme", SSO, 2)) == (None, None)


def test_no_number_is_ever_the_last_known() -> None:
    cache = hearing(freshness_ms=500)
    keep(cache, standing=number())
    assert cache.find("acme", TOKENS, 499) is not None
    assert cache.find("acme", TOKENS, 500) is None
    assert cache.last_known("acme", TOKENS, 1) is None


def test_without_an_age_no_number_is_kept() -> None:
    cache = hearing()
    keep(cache, standing=number())
    assert len(cache) == 0


def used(cache: EntitlementCache) -> float:
    found = cache.find("acme", TOKENS, 0)
    assert found is not None
    assert found.account is not None
    return found.account.used


def note(used: float | None, at_ms: int, start_ms: int = ALWAYS.start_ms) -> UsageNote:
    return UsageNote("acme", "feature:feature-tokens", None, at_ms, start_ms, used)


def test_a_number_follows_what_is_told_of_it_but_not_back() -> None:
    cache = hearing(freshness_ms=500)
    keep(cache, standing=number(3, read_at_ms=10))
    cache.note_usage(note(5, 12))
    assert used(cache) == 5
    cache.note_usage(note(4, 11))
    cache.note_usage(note(5, 12))
    assert used(cache) == 5
    cache.note_usage(UsageNote("acme", "feature:feature-other", None, 20, ALWAYS.start_ms, 9))
    cache.note_usage(UsageNote("acme", "feature:feature-tokens", "site-01", 20, ALWAYS.start_ms, 9))
    assert used(cache) == 5


def rising(used: float, at_ms: int) -> UsageNote:
    return replace(note(used, at_ms), rises=True)


def test_of_notes_of_one_millisecond_that_only_rise_the_greater_came_later() -> None:
    cache = hearing(freshness_ms=500)
    keep(cache, standing=number(3, read_at_ms=10))
    for told in (rising(5, 10), rising(4, 10), rising(6, 10)):
        cache.note_usage(told)
    assert used(cache) == 6
    cache.note_usage(note(2, 11))  # a correction
    assert used(cache) == 2
    cache.note_usage(rising(4, 11))  # before it, or after it
    assert cache.find("acme", TOKENS, 0) is None


UNCLEAR = {
    "no number": note(None, 12),
    "another period": note(5, 12, start_ms=11),
    "another number of the same millisecond": note(5, 10),
}


@pytest.mark.parametrize("told", UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_told_without_its_number_takes_what_is_kept_away(told: UsageNote) -> None:
    cache = hearing(freshness_ms=500)
    keep(cache, standing=number(3, read_at_ms=10))
    cache.note_usage(told)
    assert (cache.find("acme", TOKENS, 0), cache.bytes) == (None, 0)


def test_what_is_told_during_the_reading_of_a_number_is_taken_over_after_it() -> None:
    cache = hearing(freshness_ms=500)
    loading = cache.begin("acme", TOKENS, 0)
    cache.note_usage(note(5, 12))
    cache.note_usage(note(2, 9))
    cache.keep(loading, number(3, read_at_ms=10), stamp=AT_FIVE, until_ms=FOREVER_END_MS)
    assert used(cache) == 5


def test_bytes_come_to_what_is_kept_however_it_goes() -> None:
    cache = hearing(freshness_ms=500, bytes_max=6_000)
    for customer in range(20):
        for name in (SSO, TOKENS, ("feature-sso", "site-01")):
            loading = cache.begin(f"customer-{customer}", name, 0)
            standing = number() if name is TOKENS else setting()
            cache.keep(loading, standing, stamp=AT_FIVE, until_ms=FOREVER_END_MS)
            cache.end(loading)
        assert cache.bytes == sum(each.bytes for each in cache._customers.values()) <= 6_000
    cache.drop_all()
    assert (cache.bytes, len(cache)) == (0, 0)
    assert cache._loading == {}


def test_a_counter_that_is_counted_on_often_is_one_note_with_its_last_number() -> None:
    notes, woken = UsageNotes(nullcontext(), is_on=True), []
    notes.wake = lambda: woken.append(True)
    for count in range(1, 1_001):
        notes.add(note(count, count))
    notes.add(note(7, 3))
    assert notes.take() == [[note(1_000, 1_000)]]
    assert (notes.take(), len(woken)) == ([], 1)
    for count in (1, 2, 1):
        notes.add(note(count, 5))
    assert notes.take() == [[note(None, 5)]]  # which of them came last, nobody can say
    for count in (1, 3, 2):
        notes.add(rising(count, 5))
    assert notes.take() == [[rising(3, 5)]]  # counts that only rose
    notes.add(note(1, 1))
    assert len(woken) == 4


def test_notes_are_bounded_and_what_is_beyond_is_counted() -> None:
    notes = UsageNotes(nullcontext(), is_on=True)
    for customer in range(10_010):
        notes.add(UsageNote(f"customer-{customer}", "feature:f", None, 0, 0, 1.0))
    messages = notes.take()
    assert ([len(each) for each in messages], notes.untold) == ([500] * 20, 10)
