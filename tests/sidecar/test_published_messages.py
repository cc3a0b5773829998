"""Every result of the published page "Sidecar", field by field, as clients over gRPC receive it.

One client knows the messages beforehand, the other learns them by reflection.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest
from google.protobuf.json_format import MessageToDict

from behaviour.test_published_entitlements import (
    BLOCKS,
    CUSTOMER,
    SITE,
    subscribe_as_published,
    with_slips_mended,
)
from headgate.sidecar.protocol import sidecar_pb2 as wire
from sidecar.conftest import Sidecar, fields_of
from sidecar.reflected import reflect

# Method of the library → the call over gRPC, and the message of its options.
CALLS: Final[dict[str, tuple[str, str]]] = {
    "entitlement": ("GetEntitlement", "GetEntitlementOptions"),
    "boolean_entitlement": ("GetBooleanEntitlement", "BooleanEntitlementOptions"),
    "numeric_entitlement": ("GetNumericEntitlement", "NumericEntitlementOptions"),
    "metered_entitlement": ("GetMeteredEntitlement", "MeteredEntitlementOptions"),
}


def as_published(response: Any) -> dict[str, Any]:
    """A response in the form of the page: what is not there is null, and in no order."""
    told = MessageToDict(response, always_print_fields_with_no_presence=True)
    told.setdefault("accessDeniedReason", None)
    for name in ("entitlement", "boolean", "numeric", "metered", "enum"):
        block = told.get(name)
        if block is None:
            continue
        block.setdefault("feature", None)
        kind = getattr(response, name).DESCRIPTOR.name
        if kind == "NumericEntitlement":
            block.setdefault("value", None)
        if kind == "MeteredEntitlement":
            for field in ("usageLimit", "usagePeriodAnchor", "usagePeriodStart", "usagePeriodEnd"):
                block.setdefault(field, None)
            is_soft = block.pop("hasSoftLimit", None)  # newer than the page
            assert is_soft is (None if block["feature"] is None else False)
    return told


@pytest.mark.parametrize("learns", [False, True], ids=["stub", "reflection"])
@pytest.mark.parametrize("name", BLOCKS)
async def test_each_result_of_the_page_is_received_but_for_its_slips(sidecar: Sidecar, name: str, learns: bool) -> None:
    await subscribe_as_published(sidecar.target)
    method, customer, published = BLOCKS[name]
    mended = with_slips_mended(name, published)
    question = mended.pop("asked")
    call, options = CALLS[method]
    client = await reflect(sidecar.channel) if learns else None
    make: Any = client.message if client else lambda name, **fields: getattr(wire, name)(**fields)
    asked = make(f"{call}Request", customer_id=customer, feature_id=question["feature"], resource_id=SITE)
    if "requestedUsage" in question:
        asked.options.CopyFrom(make(options, requested_usage=question["requestedUsage"]))
    if "requestedUsage" in mended:
        mended["requestedUsage"] = question.get("requestedUsage", 0.0)  # not passed is 0 over gRPC
    answer = await client.call(call, asked) if client else await getattr(sidecar.stub, call)(asked)
    assert as_published(answer) == mended


async def test_the_lists_have_every_entitlement_by_its_id_with_every_field(sidecar: Sidecar) -> None:
    await subscribe_as_published(sidecar.target)
    listed = await sidecar.stub.GetEntitlements(wire.GetEntitlementsRequest(customer_id=CUSTOMER, resource_id=SITE))
    state = await sidecar.stub.GetEntitlementsStateV2(
        wire.GetEntitlementsStateV2Request(customer_id=CUSTOMER, resource_id=SITE)
    )
    assert not listed.HasField("access_denied_reason")
    assert not state.HasField("access_denied_reason")
    shown = [fields_of(each) for each in listed.entitlements]
    ids = [next(iter(each.values()))["feature"]["id"] for each in shown]
    assert ids == sorted(ids)
    assert len(ids) == 10
    assert [fields_of(each) for each in state.entitlements] == [{"has_access": True, **each} for each in shown]
    by_id = dict(zip(ids, shown, strict=True))
    metered = by_id["feature-example-9"]["metered"]
    assert metered.pop("usage_period_anchor").ToDatetime(UTC) == datetime(2023, 7, 21, tzinfo=UTC)
    assert metered.pop("usage_period_start").ToDatetime(UTC) == datetime(2023, 11, 21, tzinfo=UTC)
    assert metered.pop("usage_period_end").ToDatetime(UTC) == datetime(2023, 12, 21, tzinfo=UTC)
    assert metered == {
        "feature": {
            "id": "feature-example-9",
            "feature_type": wire.FEATURE_TYPE_NUMBER,
            "units": "active user",
            "units_plural": "active users",
            "meter_type": wire.METER_TYPE_INCREMENTAL,
            "is_metered": True,
        },
        "usage_limit": 25_000,
        "current_usage": 1,
        "reset_period": wire.ENTITLEMENT_RESET_PERIOD_MONTH,
        "has_soft_limit": False,
    }
    assert by_id["feature-example-17"]["numeric"]["value"] == 100
    assert by_id["feature-example-8"]["boolean"]["feature"]["units"] == ""
    assert by_id["feature-example-4"]["metered"]["reset_period"] == wire.ENTITLEMENT_RESET_PERIOD_UNSPECIFIED
