"""Reports of usage and of credits: what a client sends, and what it is told that was counted.

What may be left out may not be null, but for `resourceId`: a key that is null by mistake would count a retry twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from headgate import keys
from headgate.amounts import AmountOutOfRange, add, parse_amount
from headgate.model.credits import Wallet
from headgate.model.decision import Counted, Receipt, UpdateBehavior, instant
from headgate.once import KEY_MAX
from headgate.rest.answers.ids import entitlement_id, record_id
from headgate.rest.answers.numbers import CreditBalance
from headgate.rest.shapes import Answer, Body, IdText, Moment, Number
from headgate.service.numbers import period_span, standing
from headgate.verbs.report import RECORDS_MAX, UsageRecord

CONSUMPTIONS_MAX = 1_000
"""How many consumptions one request may bring."""


def _exact(value: object, *, negative: bool) -> float:
    try:
        return float(parse_amount(value, negative=negative))
    except ValueError as error:
        raise ValueError(str(error).rsplit(": ", 1)[-1]) from None


def _amount(value: object) -> float:
    return _exact(value, negative=False)


def _signed_amount(value: object) -> float:
    return _exact(value, negative=True)


def _not_null(value: object) -> object:
    if value is None:
        raise ValueError("must not be null: leave it out")
    return value


def _nothing() -> None:
    return None


Amount = Annotated[float, BeforeValidator(_amount)]
"""An amount of at least 0 in the exact range, rounded half away from zero to 5 decimals."""

SignedAmount = Annotated[float, BeforeValidator(_signed_amount)]
"""An amount in the exact range, rounded half away from zero to 5 decimals."""

KeyText = Annotated[str, Field(min_length=1, max_length=KEY_MAX)]
"""An idempotency key."""

DimensionMap = dict[Annotated[str, Field(min_length=1)], str | bool | int | float]
"""Dimensions as JSON has them."""

Absent = SkipJsonSchema[None]
LEFT_OUT: Any = Field(default_factory=_nothing)
"""The default of what may be left out."""


class UsageBody(Body):
    """Usage that has happened. `featureId` may be a currency's id; a negative value is a correction."""

    customer_id: IdText
    feature_id: IdText
    value: SignedAmount
    created_at: Annotated[Moment | Absent, BeforeValidator(_not_null)] = LEFT_OUT
    dimensions: Annotated[DimensionMap | Absent, BeforeValidator(_not_null)] = LEFT_OUT
    idempotency_key: Annotated[KeyText | Absent, BeforeValidator(_not_null)] = LEFT_OUT
    resource_id: IdText | None = None
    update_behavior: Literal["DELTA", "SET"] = "DELTA"

    @model_validator(mode="after")
    def _can_be_set(self) -> Self:
        if self.update_behavior == "SET" and self.value < 0:
            raise ValueError("value: a counter can't be SET below 0")
        return self

    def as_record(self, *, of_currency: bool) -> UsageRecord:
        """What the engine is given."""
        return UsageRecord(
            self.customer_id,
            None if of_currency else self.feature_id,
            self.value,
            UpdateBehavior(self.update_behavior),
            self.dimensions,
            self.created_at,
            self.feature_id if of_currency else None,
            self.resource_id,
            self.idempotency_key,
        )


class UsagesBody(Body):
    """Usage to count, in order. All of it is validated first; each record is atomic, the batch is not."""

    usages: Annotated[list[UsageBody], Field(min_length=1, max_length=RECORDS_MAX)]


class OneUsageBody(Body):
    """Usage that is counted if it fits every limit: exactly one record."""

    usages: Annotated[list[UsageBody], Field(min_length=1, max_length=1)]

    @model_validator(mode="after")
    def _can_be_decided(self) -> Self:
        record = self.usages[0]
        if record.update_behavior != "DELTA":
            raise ValueError("usages[0].updateBehavior: only a DELTA can be decided over")
        if record.value < 0:
            raise ValueError("usages[0].value: the least that can be consumed is 0; report a correction to /usage")
        if record.created_at is not None:
            raise ValueError("usages[0].createdAt: what is decided over happens now; leave it out")
        return self


class ConsumptionBody(Body):
    """Credits that were used, taken from a wallet directly. The key lets it be sent again."""

    amount: Amount
    currency_id: IdText
    customer_id: IdText
    idempotency_key: KeyText
    created_at: Annotated[Moment | Absent, BeforeValidator(_not_null)] = LEFT_OUT
    dimensions: Annotated[DimensionMap | Absent, BeforeValidator(_not_null)] = LEFT_OUT
    resource_id: IdText | None = None

    def as_record(self) -> UsageRecord:
        """What the engine is given."""
        return UsageRecord(
            customer=self.customer_id,
            feature=None,
            currency=self.currency_id,
            value=self.amount,
            dimensions=self.dimensions,
            timestamp=self.created_at,
            resource=self.resource_id,
            idempotency_key=self.idempotency_key,
        )


class ConsumptionsBody(Body):
    """Consumptions to carry out, in order."""

    consumptions: Annotated[list[ConsumptionBody], Field(min_length=1, max_length=CONSUMPTIONS_MAX)]


class ConsumedCredit(Answer):
    """What one record took from a wallet; 0 for one that was counted before."""

    currency_id: str
    consumed: Number


class ConsumedBalance(CreditBalance, ConsumedCredit):
    """What one record took from a wallet, and how the wallet stood afterwards."""


class WalletBalance(CreditBalance):
    """A wallet as the last record left it."""

    customer_id: str
    resource_id: str | None


class EntityUsage(Answer):
    """A budget as the last record left it."""

    entitlement_id: str
    entity_id: str
    scope_entity_ids: list[str]
    customer_id: str
    resource_id: str | None
    current_usage: Number
    usage_updated_at: datetime
    feature_id: str | None = None
    currency_id: str | None = None
    held: Number = 0


class UsageAnswer(Answer):
    """A record that was counted, and its counter afterwards."""

    id: str
    created_at: datetime
    customer_id: str
    feature_id: str
    timestamp: datetime
    value: Number
    current_usage: Number | None
    next_reset_date: datetime | None
    usage_period_start: datetime | None
    usage_period_end: datetime | None
    resource_id: str | None
    credit: ConsumedCredit | None
    held: Number = 0
    repeated: Annotated[
        bool, Field(description="it was counted before, under its idempotencyKey; left out where it was not")
    ] = False


class UsageWithBalance(UsageAnswer):
    """A record that was counted, with the wallet that it was paid from."""

    credit: ConsumedBalance | None


class UsagesAnswer(Answer):
    """Records in the order of the request, each wallet once, each budget once."""

    usages: list[UsageAnswer]
    credits: Annotated[
        list[WalletBalance], Field(default_factory=list, description="left out where nothing is paid in credits")
    ]
    entities: Annotated[list[EntityUsage], Field(description="each budget that this request counted on")]


class ConsumptionAnswer(Answer):
    """Credits that were taken from a wallet."""

    amount: Number
    currency_id: str
    customer_id: str
    timestamp: datetime
    credit: CreditBalance | None
    entities: list[EntityUsage]
    resource_id: str | None


def consumed(receipt: Receipt) -> float:
    """What a record took from the grants of its wallet and beyond them, in all."""
    total = 0.0
    for charge in receipt.charges:
        try:
            total = add(total, charge.amount)
        except AmountOutOfRange:
            total += charge.amount
    return total


def usage_answer(environment: str, body: UsageBody, receipt: Receipt) -> UsageAnswer:
    """Show a record for the second version of the route: balances stand beside the records."""
    wallet = receipt.wallet
    credit = None if wallet is None else ConsumedCredit(currency_id=wallet.currency, consumed=consumed(receipt))
    return UsageAnswer(**_record(environment, body, receipt), credit=credit)


def usage_with_balance(environment: str, body: UsageBody, receipt: Receipt) -> UsageWithBalance:
    """Show a record for the first version of the route: its balance stands in it."""
    return UsageWithBalance(**_record(environment, body, receipt), credit=_balance(ConsumedBalance, receipt))


def _balance(kind: type[ConsumedBalance], receipt: Receipt) -> ConsumedBalance | None:
    if receipt.wallet is None:
        return None
    return kind(**dict(CreditBalance.of(receipt.wallet)), consumed=consumed(receipt))


def _record(environment: str, body: UsageBody, receipt: Receipt) -> dict[str, Any]:
    at = body.created_at or instant(receipt.counted_at_ms)
    capability = _capability(receipt)
    shown: dict[str, Any] = {
        "id": record_id(environment, body.customer_id, capability, body.idempotency_key),
        "created_at": at,
        "customer_id": body.customer_id,
        "feature_id": body.feature_id,
        "timestamp": at,
        "value": receipt.value,
        "resource_id": receipt.resource,
    }
    if receipt.repeated:
        shown["repeated"] = True
    if receipt.account is not None:
        state = receipt.account.state
        start, end = period_span(state.period) or (None, None)
        shown["current_usage"] = standing(state.used, state.held)
        if state.held:
            shown["held"] = state.held
    elif receipt.wallet is not None:
        balance = CreditBalance.of(receipt.wallet)
        start, end = None, balance.usage_period_end
        shown["current_usage"] = balance.current_usage
        if receipt.wallet.held:
            shown["held"] = receipt.wallet.held
    else:  # counted before, and the customer is denied now: what it stands at is not looked up
        start = end = shown["current_usage"] = None
    return {**shown, "next_reset_date": end, "usage_period_start": start, "usage_period_end": end}


def _capability(receipt: Receipt) -> str:
    if receipt.feature is not None:
        return keys.feature_capability(receipt.feature)
    assert receipt.currency is not None
    return keys.currency_capability(receipt.currency)


def wallets_of(receipts: Iterable[Receipt]) -> list[WalletBalance]:
    """Each wallet that records were paid from, as the last of them left it."""
    last: dict[tuple[str, str | None, str], Wallet] = {}
    for receipt in receipts:
        if receipt.wallet is not None:
            wallet = receipt.wallet
            last[(wallet.customer, wallet.resource, wallet.currency)] = wallet
    return [
        WalletBalance(**dict(CreditBalance.of(wallet)), customer_id=wallet.customer, resource_id=wallet.resource)
        for wallet in last.values()
    ]


def entities_of(environment: str, receipts: Iterable[Receipt]) -> list[EntityUsage]:
    """Each budget that records were counted on, as the last of them left it. Repeats count on none."""
    last: dict[str, EntityUsage] = {}
    for receipt in receipts:
        if not receipt.repeated:
            for counted in receipt.entities:
                shown = _entity(environment, receipt, counted)
                last[shown.entitlement_id] = shown
    return list(last.values())


def _entity(environment: str, receipt: Receipt, counted: Counted) -> EntityUsage:
    state = counted.state
    assert state.entity is not None
    if state.currency is not None:
        capability, named = keys.currency_capability(state.currency), {"currency_id": state.currency}
    else:
        assert receipt.feature is not None
        capability, named = keys.feature_capability(receipt.feature), {"feature_id": receipt.feature}
    beside: dict[str, Any] = {"held": state.held} if state.held else {}
    return EntityUsage(
        entitlement_id=entitlement_id(environment, receipt.customer, state.entity, capability, state.scope),
        entity_id=state.entity,
        scope_entity_ids=list(state.scope),
        customer_id=receipt.customer,
        resource_id=receipt.resource,
        current_usage=standing(state.used, state.held),
        usage_updated_at=instant(receipt.counted_at_ms),
        **named,
        **beside,
    )


def consumption_answer(environment: str, body: ConsumptionBody, receipt: Receipt) -> ConsumptionAnswer:
    """Show credits that were taken from a wallet."""
    return ConsumptionAnswer(
        amount=receipt.value,
        currency_id=body.currency_id,
        customer_id=body.customer_id,
        timestamp=body.created_at or instant(receipt.counted_at_ms),
        credit=None if receipt.wallet is None else CreditBalance.of(receipt.wallet),
        entities=entities_of(environment, [receipt]),
        resource_id=body.resource_id,
    )
