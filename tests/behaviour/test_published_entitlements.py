"""Every result of the published page "Sidecar", field by field, at the level of the library.

The page's requests name a resource; so do these. Where the page contradicts itself, `SLIPS` names the place, what the
page says, what we say, and why. The one result that is no entitlement, the `measurementId` of a report, is the wire's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from behaviour.targets import Target
from headgate import (
    AsyncHeadgate,
    BooleanEntitlement,
    Entitlement,
    EnumEntitlement,
    Feature,
    MeteredEntitlement,
    NumericEntitlement,
)

CUSTOMER: Final = "customer-demo-01"
WITHOUT: Final = "customer-demo-02"
"""A customer whose plan says nothing of any feature: the page shows "no access" under the name of the first one."""

SITE: Final = "site-01"
NOT_ENTITLED: Final = "ACCESS_DENIED_REASON_NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION"


def feature(number: int, kind: str, unit: str = "", units: str = "", meter: str = "NONE") -> dict[str, Any]:
    return {
        "id": f"feature-example-{number}",
        "featureType": f"FEATURE_TYPE_{kind}",
        "units": unit,
        "unitsPlural": units,
        "meterType": f"METER_TYPE_{meter}",
        "isMetered": meter != "NONE",
    }


def listed(kind: str, block: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An element of the list: what is not metered does not say so there."""
    shown = {name: value for name, value in block.items() if name != "isMetered" or value}
    return {kind: {"feature": shown, **fields}}


GRANTED: Final = {"hasAccess": True, "isFallback": False, "accessDeniedReason": None}
NO_PERIOD: Final = {
    "resetPeriod": "ENTITLEMENT_RESET_PERIOD_UNSPECIFIED",
    "usagePeriodAnchor": None,
    "usagePeriodStart": None,
    "usagePeriodEnd": None,
}
MONTHLY_SINCE_JULY: Final = {
    "resetPeriod": "ENTITLEMENT_RESET_PERIOD_MONTH",
    "usagePeriodAnchor": "2023-07-21T00:00:00Z",
    "usagePeriodStart": "2023-11-21T00:00:00Z",
    "usagePeriodEnd": "2023-12-21T00:00:00Z",
}
MONTHLY_SINCE_FEBRUARY: Final = {**MONTHLY_SINCE_JULY, "usagePeriodAnchor": "2023-02-21T00:00:00Z"}
REQUESTS: Final = feature(3, "NUMBER", "request", "requests", "INCREMENTAL")
TEMPLATES: Final = feature(4, "NUMBER", "template", "templates", "FLUCTUATING")
CAMPAIGNS: Final = feature(6, "NUMBER", "campaign", "campaigns", "INCREMENTAL")
ACTIVE_USERS: Final = feature(9, "NUMBER", "active user", "active users", "INCREMENTAL")
THREE_OF_SIX: Final = {
    "feature": TEMPLATES,
    "usageLimit": 6.0,
    "isUnlimited": False,
    "currentUsage": 3.0,
    **NO_PERIOD,
}

# How it is asked (method, customer), then the page: the feature and the usage that its request names, and its result.
BLOCKS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "generic, boolean": (
        "entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-1"},
            **GRANTED,
            "boolean": {"feature": feature(1, "BOOLEAN")},
        },
    ),
    "generic, numeric": (
        "entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-1"},
            **GRANTED,
            "numeric": {"feature": feature(2, "NUMBER", "request", "requests"), "value": 100, "isUnlimited": False},
        },
    ),
    "generic, metered": (
        "entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-1"},
            **GRANTED,
            "metered": {
                "feature": REQUESTS,
                "usageLimit": 1000,
                "isUnlimited": False,
                "currentUsage": 250,
                **MONTHLY_SINCE_JULY,
            },
        },
    ),
    "boolean, has access": (
        "boolean_entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-7"},
            **GRANTED,
            "entitlement": {"feature": feature(8, "BOOLEAN")},
        },
    ),
    "boolean, no access": (
        "boolean_entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-7"},
            **GRANTED,
            "entitlement": {"feature": feature(7, "BOOLEAN")},
        },
    ),
    "numeric, has access": (
        "numeric_entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-5"},
            **GRANTED,
            "entitlement": {"feature": feature(5, "NUMBER", "MB", "MB"), "value": 100, "isUnlimited": False},
        },
    ),
    "numeric, no access": (
        "numeric_entitlement",
        WITHOUT,
        {
            "asked": {"feature": "feature-example-5"},
            **GRANTED,
            "hasAccess": False,
            "accessDeniedReason": NOT_ENTITLED,
            "entitlement": {"feature": None, "value": None, "isUnlimited": False},
        },
    ),
    "metered, has access": (
        "metered_entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-4"},
            **GRANTED,
            "requestedUsage": 0.0,
            "entitlement": THREE_OF_SIX,
        },
    ),
    "metered, no access": (
        "metered_entitlement",
        WITHOUT,
        {
            "asked": {"feature": "feature-example-4"},
            **GRANTED,
            "hasAccess": False,
            "accessDeniedReason": NOT_ENTITLED,
            "requestedUsage": 1.0,
            "entitlement": {
                "feature": None,
                "usageLimit": None,
                "isUnlimited": False,
                "currentUsage": 0.0,
                **NO_PERIOD,
            },
        },
    ),
    "metered in advance, has access": (
        "metered_entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-4", "requestedUsage": 10},
            **GRANTED,
            "requestedUsage": 1.0,
            "entitlement": THREE_OF_SIX,
        },
    ),
    "metered in advance, no access": (
        "metered_entitlement",
        CUSTOMER,
        {
            "asked": {"feature": "feature-example-4", "requestedUsage": 10},
            **GRANTED,
            "hasAccess": False,
            "accessDeniedReason": "ACCESS_DENIED_REASON_REQUESTED_USAGE_EXCEEDING_LIMIT",
            "requestedUsage": 10.0,
            "entitlement": THREE_OF_SIX,
        },
    ),
}

# On the page a comma too many makes it no JSON, and it is in no order; ours is by id.
LIST: Final[dict[str, Any]] = {
    "entitlements": [
        listed("metered", ACTIVE_USERS, usageLimit=25000.0, currentUsage=1.0, **MONTHLY_SINCE_JULY),
        listed("boolean", feature(8, "BOOLEAN")),
        listed("numeric", feature(7, "NUMBER", "MB", "MB"), value=100),
        listed("metered", CAMPAIGNS, usageLimit=32.0, **MONTHLY_SINCE_FEBRUARY),
        listed(
            "metered", TEMPLATES, usageLimit=6.0, currentUsage=3.0, resetPeriod="ENTITLEMENT_RESET_PERIOD_UNSPECIFIED"
        ),
        listed("boolean", feature(5, "BOOLEAN")),
    ]
}

# Block → the path of a value in it → (what the page says, what we say, why).
ONE_REQUEST: Final = "one request stands above a result for each type: each is asked for by its own id"
SLIPS: Final[dict[str, dict[str, tuple[Any, Any, str]]]] = {
    "generic, numeric": {"asked.feature": ("feature-example-1", "feature-example-2", ONE_REQUEST)},
    "generic, metered": {"asked.feature": ("feature-example-1", "feature-example-3", ONE_REQUEST)},
    "boolean, has access": {
        "asked.feature": ("feature-example-7", "feature-example-8", "7 is asked for, and 8 is answered")
    },
    "boolean, no access": {
        "hasAccess": (True, False, '"no access" says true'),
        "accessDeniedReason": (None, NOT_ENTITLED, '"no access" has no reason; those of the other types have this one'),
        "entitlement.feature": (
            feature(7, "BOOLEAN"),
            None,
            "without access there is no feature, as in the results of the other types",
        ),
    },
    "metered, has access": {
        "requestedUsage": (0.0, 1.0, "the same request is echoed as 1.0 where there is no access: the default is 1")
    },
    "metered in advance, has access": {
        "asked.requestedUsage": (10, 1, "10 is asked for, 1 is echoed; and 10 does not fit: 3 of 6 are used")
    },
    "list": {
        "entitlements.2.numeric.feature.id": (
            "feature-example-7",
            "feature-example-17",
            "one id with two types: it is boolean elsewhere, and a feature keeps its type",
        ),
        "entitlements.5.boolean.feature.id": (
            "feature-example-5",
            "feature-example-15",
            "one id with two types: it is a number elsewhere, and a feature keeps its type",
        ),
    },
}
NOT_LISTED: Final = {
    "feature-example-1": "a boolean that the page's generic result grants the same customer",
    "feature-example-2": "a number that the page's generic result grants the same customer",
    "feature-example-3": "usage that the page's generic result shows of the same customer",
    "feature-example-5": "a number that the page's numeric result grants the same customer",
}
"""What the list of the page leaves out, though other results give it to the customer: ours has it."""

LEFT_OUT: Final = (False, 0, None)
"""The list of the page does not write these: the wire leaves out what is its default. Ours is always there."""


def at(value: Any, path: str) -> tuple[Any, Any]:
    """What holds the place of a path such as `entitlements.2.value`, and the last step to it."""
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        value = value[step]
    return value, last


def with_slips_mended(name: str, published: dict[str, Any]) -> dict[str, Any]:
    mended = deepcopy(published)
    for path, (page, ours, why) in SLIPS.get(name, {}).items():
        holder, last = at(mended, path)
        assert holder[last] == page, path
        assert page != ours, why
        holder[last] = ours
    return mended


def moment(instant: datetime | None) -> str | None:
    return None if instant is None else instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def published_feature(feature: Feature | None) -> dict[str, Any] | None:
    if feature is None:
        return None
    return {
        "id": feature.id,
        "featureType": f"FEATURE_TYPE_{feature.feature_type}",
        "units": feature.units,
        "unitsPlural": feature.units_plural,
        "meterType": f"METER_TYPE_{feature.meter_type}",
        "isMetered": feature.is_metered,
    }


def published_block(entitlement: Entitlement) -> dict[str, Any]:
    """What the page puts below `entitlement`, or below the kind."""
    block: dict[str, Any] = {"feature": published_feature(entitlement.feature)}
    match entitlement:
        case NumericEntitlement(value=value, is_unlimited=is_unlimited):
            block |= {"value": value, "isUnlimited": is_unlimited}
        case MeteredEntitlement():
            period = entitlement.reset_period
            block |= {
                "usageLimit": entitlement.usage_limit,
                "isUnlimited": entitlement.is_unlimited,
                "currentUsage": entitlement.current_usage,
                "resetPeriod": f"ENTITLEMENT_RESET_PERIOD_{'UNSPECIFIED' if period is None else period}",
                "usagePeriodAnchor": moment(entitlement.usage_period_anchor),
                "usagePeriodStart": moment(entitlement.usage_period_start),
                "usagePeriodEnd": moment(entitlement.usage_period_end),
            }
        case EnumEntitlement(enum_values=values):
            block |= {"enumValues": list(values)}
        case _:
            assert isinstance(entitlement, BooleanEntitlement)
    return block


def as_published(entitlement: Entitlement, *, typed: bool) -> dict[str, Any]:
    """A result in the words of the page."""
    reason = entitlement.reason and re.sub(r"(?<!^)(?=[A-Z])", "_", entitlement.reason.value).upper()
    assert entitlement.kind is not None
    answer: dict[str, Any] = {
        "hasAccess": entitlement.has_access,
        "isFallback": entitlement.is_fallback,
        "accessDeniedReason": reason and f"ACCESS_DENIED_REASON_{reason}",
    }
    if typed and isinstance(entitlement, MeteredEntitlement):
        answer["requestedUsage"] = entitlement.requested_usage
    answer["entitlement" if typed else entitlement.kind.lower()] = published_block(entitlement)
    return answer


def ms(month: int, day: int) -> int:
    return round(datetime(2023, month, day, tzinfo=UTC).timestamp() * 1000)


def given(published: dict[str, Any], **terms: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A feature of the catalog as the page describes it, and what a plan says of it."""
    described = {
        "id": published["id"],
        "feature_type": published["featureType"].removeprefix("FEATURE_TYPE_"),
        "meter_type": published["meterType"].removeprefix("METER_TYPE_"),
        "units": published["units"],
        "units_plural": published["unitsPlural"],
    }
    return described, {"feature": published["id"], **terms}


PLANS: Final = {
    "plan-february": [given(CAMPAIGNS, usage_limit=32, reset_period="MONTH")],
    "plan-july": [
        given(feature(1, "BOOLEAN")),
        given(feature(2, "NUMBER", "request", "requests"), usage_limit=100),
        given(REQUESTS, usage_limit=1000, reset_period="MONTH"),
        given(TEMPLATES, usage_limit=6),
        given(feature(5, "NUMBER", "MB", "MB"), usage_limit=100),
        given(feature(8, "BOOLEAN")),
        given(ACTIVE_USERS, usage_limit=25000, reset_period="MONTH"),
        given(feature(15, "BOOLEAN")),
        given(feature(17, "NUMBER", "MB", "MB"), usage_limit=100),
    ],
    "plan-empty": [],
}


async def subscribe_as_published(target: Target) -> None:
    """Subscribe in February and in July of 2023, and use until 1 December."""
    engine = target.engine
    target.clock.set(ms(2, 21))
    not_given, _ = given(feature(7, "BOOLEAN"))
    await engine.catalog.put_features([each for plan in PLANS.values() for each, _ in plan] + [not_given])
    await engine.catalog.put_plans(
        [{"id": id, "entitlements": [terms for _, terms in plan]} for id, plan in PLANS.items()]
    )
    for customer, plan, start_ms in (
        (CUSTOMER, "plan-february", ms(2, 21)),
        (CUSTOMER, "plan-july", ms(7, 21)),
        (WITHOUT, "plan-empty", ms(7, 21)),
    ):
        target.clock.set(start_ms)
        await engine.customers.put(customer)
        await engine.customers.put_resource(customer, SITE)
        await engine.subscriptions.provision(customer, {"plan": plan})
    target.clock.set(ms(12, 1))
    for used, value in ((REQUESTS, 250), (TEMPLATES, 3), (ACTIVE_USERS, 1)):
        await engine.report(CUSTOMER, feature=used["id"], resource=SITE, value=value)


async def asked(engine: AsyncHeadgate, method: str, customer: str, feature: str, **named: Any) -> dict[str, Any]:
    if "requestedUsage" in named:
        named["requested_usage"] = named.pop("requestedUsage")
    entitlement = await getattr(engine, method)(customer, feature, resource=SITE, **named)
    return as_published(entitlement, typed=method != "entitlement")


@pytest.mark.parametrize("name", BLOCKS)
async def test_each_result_of_the_page_is_ours_but_for_its_slips(target: Target, name: str) -> None:
    await subscribe_as_published(target)
    method, customer, published = BLOCKS[name]
    mended = with_slips_mended(name, published)
    question = mended.pop("asked")
    assert await asked(target.engine, method, customer, **question) == mended


async def test_what_the_page_asks_is_answered_as_its_other_results_say(target: Target) -> None:
    await subscribe_as_published(target)
    for name, as_asked in (
        ("boolean, has access", "boolean, no access"),
        ("metered in advance, has access", "metered in advance, no access"),
        ("generic, numeric", "generic, boolean"),
        ("generic, metered", "generic, boolean"),
    ):
        method, customer, published = BLOCKS[name]
        mended = with_slips_mended(as_asked, BLOCKS[as_asked][2])
        assert mended.pop("asked") == published["asked"]
        assert await asked(target.engine, method, customer, **published["asked"]) == mended


async def test_the_list_of_the_page_is_ours_but_for_its_slips_and_what_it_leaves_out(target: Target) -> None:
    await subscribe_as_published(target)
    found = await target.engine.entitlements(CUSTOMER, resource=SITE)
    assert (found.reason, found.customer_exists) == (None, True)
    answered = {each.id: (each.kind, published_block(each)) for each in found.entitlements}
    assert list(answered) == sorted(answered)
    assert all(each.has_access for each in found.entitlements)

    expected = {}
    for element in with_slips_mended("list", LIST)["entitlements"]:
        ((kind, block),) = element.items()
        id = block["feature"]["id"]
        ours = answered[id][1]
        defaults = {name: ours[name] for name in ours if name not in block}
        defaults_of_feature = {name: ours["feature"][name] for name in ours["feature"] if name not in block["feature"]}
        assert all(value in LEFT_OUT for value in (*defaults.values(), *defaults_of_feature.values()))
        expected[id] = (kind.upper(), {**block, **defaults, "feature": {**block["feature"], **defaults_of_feature}})
    assert {id: answer for id, answer in answered.items() if id not in NOT_LISTED} == expected
    assert NOT_LISTED.keys() <= answered.keys()


def features_in(value: Any) -> Iterator[tuple[str, str]]:
    """The id and the type of every feature in a result."""
    if isinstance(value, dict):
        if "featureType" in value:
            yield value["id"], value["featureType"]
        for inner in value.values():
            yield from features_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from features_in(inner)


def ids_with_two_types(results: list[dict[str, Any]]) -> set[str]:
    described = set(features_in(results))
    return {id for id, _ in described if len([each for each, _ in described if each == id]) > 1}


def test_the_ids_that_the_page_uses_twice_are_those_that_are_named_here() -> None:
    page = {name: published for name, (_, _, published) in BLOCKS.items()} | {"list": LIST}
    assert ids_with_two_types(list(page.values())) == {"feature-example-5", "feature-example-7"}
    mended = [with_slips_mended(name, published) for name, published in page.items()]
    assert ids_with_two_types(mended) == set()
    assert SLIPS.keys() <= page.keys()
