"""Under a key, what may have been carried out unseen is never called "nothing was counted"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headgate.calls import Call
from headgate.client.delivery import NotRun, ReplyLost
from headgate.errors import BatchIncomplete, OutcomeUnknown
from scenarios.setting import CUSTOMER, FEATURE, HASTY, Between, Engine, Place, entitle, furnish

Ask = Callable[[Engine, str], Any]

VERBS: dict[str, Ask] = {
    "consume": lambda engine, key: engine.consume(CUSTOMER, feature=FEATURE, amount=5, idempotency_key=key),
    "report": lambda engine, key: engine.report(CUSTOMER, feature=FEATURE, value=5, idempotency_key=key),
}


class CutOnce:
    """Loses the reply to a call that writes, changes the configuration, and then lets only that call be sent again."""

    def __init__(self, other: Engine) -> None:
        self.other = other
        self.is_armed = False
        self.sent = 0

    def __call__(self, call: Call, send_on: Callable[[], Any]) -> Any:
        if not self.is_armed:
            return send_on()
        if call.script not in ("consume_credits", "report_credits"):
            raise NotRun("nobody answers")
        self.sent += 1
        reply = send_on()
        if self.sent == 1:
            entitle(self.other, limit=200)
            raise ReplyLost("cut")
        return reply


def cut_at(place: Place, verb: Ask) -> tuple[Engine, CutOnce]:
    """An engine that knows its way, and whose next call is cut."""
    other = place.open()
    furnish(other, limit=100)
    cut = CutOnce(other)
    engine = place.engine_over(Between(place.transport(), cut), settings=HASTY)
    verb(engine, "warm")
    cut.is_armed = True
    return engine, cut


@pytest.mark.parametrize("name", VERBS)
def test_what_was_counted_before_the_configuration_changed_is_unknown_when_nobody_answers(
    place: Place, name: str
) -> None:
    verb = VERBS[name]
    engine, cut = cut_at(place, verb)
    with pytest.raises(OutcomeUnknown, match="repeating it is safe"):
        verb(engine, "job")
    assert cut.sent == 2
    assert verb(cut.other, "job").repeated
    assert cut.other.check(CUSTOMER, feature=FEATURE).binding.used == 10


def test_a_batch_says_so_too(place: Place) -> None:
    engine, _ = cut_at(place, VERBS["report"])
    with pytest.raises(BatchIncomplete) as told:
        engine.report_many([{"customer": CUSTOMER, "feature": FEATURE, "value": 5, "idempotency_key": "job"}])
    assert told.value.outcomes == ("unknown",)
