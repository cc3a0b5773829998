"""From messages to what the engine is given. What a message leaves out, and an empty text, is not given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from headgate.chains import DimensionValue
from headgate.errors import InvalidInput
from headgate.model.decision import UpdateBehavior
from headgate.sidecar.protocol import sidecar_pb2 as wire
from headgate.verbs.report import RECORDS_MAX, UsageRecord, usage_of

BEHAVIORS: Final[Mapping[int, UpdateBehavior]] = {
    wire.USAGE_UPDATE_BEHAVIOR_UNSPECIFIED: UpdateBehavior.DELTA,
    wire.USAGE_UPDATE_BEHAVIOR_DELTA: UpdateBehavior.DELTA,
    wire.USAGE_UPDATE_BEHAVIOR_SET: UpdateBehavior.SET,
}


def given(text: str) -> str | None:
    """A text, or None where there is none: clients differ in whether they send an empty one."""
    return text or None


def behavior_of(report: wire.ReportUsageRequest, place: str = "") -> UpdateBehavior:
    """How a report counts; a number that no client should send is refused."""
    try:
        return BEHAVIORS[report.update_behavior]
    except KeyError:
        rule = "must be USAGE_UPDATE_BEHAVIOR_DELTA or USAGE_UPDATE_BEHAVIOR_SET"
        raise InvalidInput.of(f"{place}update_behavior", report.update_behavior, rule) from None


def record_of(report: wire.ReportUsageRequest, *, of_currency: bool, place: str = "") -> UsageRecord:
    """What the engine is given of a report; `place` is where it stands in a bulk."""
    return UsageRecord(
        customer=report.customer_id,
        feature=None if of_currency else report.feature_id,
        currency=report.feature_id if of_currency else None,
        resource=given(report.resource_id),
        value=report.value,
        behavior=behavior_of(report, place),
        dimensions=dimensions_of(report.dimensions, place) or None,
        timestamp=instant_of(report.timestamp, f"{place}timestamp") if report.HasField("timestamp") else None,
    )


def require_reports(reports: Sequence[wire.ReportUsageRequest], places: Sequence[str]) -> None:
    """Refuse what is no report, as far as can be seen before what it names is looked up."""
    for report, place in zip(reports, places, strict=True):
        usage_of(record_of(report, of_currency=False, place=place), place)


def require_bulk(reports: Sequence[wire.ReportUsageRequest]) -> None:
    """Refuse a bulk that is empty, or too long."""
    if not 1 <= len(reports) <= RECORDS_MAX:
        raise InvalidInput.of("usages", len(reports), f"a bulk has 1 to {RECORDS_MAX} reports")


def dimensions_of(sent: Mapping[str, wire.EventDimensionValue], place: str = "") -> dict[str, DimensionValue]:
    """Dimensions as the engine takes them: texts, numbers (all of them doubles) and truth values."""
    return {key: _dimension(value, f"{place}dimensions[{key!r}]") for key, value in sent.items()}


def _dimension(sent: wire.EventDimensionValue, field: str) -> DimensionValue:
    kind = sent.WhichOneof("value")
    if kind is None:
        raise InvalidInput.of(field, None, "must have a string_value, a number_value or a boolean_value")
    value: DimensionValue = getattr(sent, kind)
    return value


def instant_of(sent: Timestamp, field: str) -> datetime:
    """An instant as the engine takes it."""
    try:
        return sent.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput.of(field, f"{sent.seconds} s", "must be an instant of the years 1 to 9999") from None
