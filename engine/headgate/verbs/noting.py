"""Noting what was counted: for what this client keeps of usage, and for other processes. Nothing is sent by it."""

from __future__ import annotations

from headgate import keys
from headgate.cache import State
from headgate.model.decision import ConstraintState, Decision
from headgate.usage_notes import UsageNote


def note_counted(
    state: State,
    *,
    customer: str,
    feature: str | None,
    currency: str | None,
    resource: str | None,
    at_ms: int,
    account: ConstraintState | None = None,
    rises: bool = False,
) -> None:
    """Note that a counter of the account level has changed, with what it stands at where that is at hand.

    `rises` says that what was done only made it greater.

    A feature that is paid in credits has changed both: its own counter, and the wallet of the currency.
    """
    if not (state.usage_notes.is_on or state.entitlements.keeps_numbers):
        return
    if feature is not None:
        capability = keys.feature_capability(feature)
        note = UsageNote(customer, capability, resource, at_ms)
        if account is not None:
            start_ms = account.period.start_ms
            note = UsageNote(customer, capability, resource, at_ms, start_ms, account.used, account.held, rises=rises)
        _note(state, note)
    if currency is not None:
        _note(state, UsageNote(customer, keys.currency_capability(currency), resource, at_ms))


def note_decision(state: State, decision: Decision) -> None:
    """Note what a decision that grants has counted, or holds."""
    note_counted(
        state,
        customer=decision.customer,
        feature=decision.feature,
        currency=decision.currency,
        resource=decision.resource,
        at_ms=decision.decided_at_ms,
        account=decision.account,
        rises=True,
    )


def _note(state: State, note: UsageNote) -> None:
    state.entitlements.note_usage(note)
    state.usage_notes.add(note)
