"""What an entitlement may say of a feature of each type, and a credit of a currency: pure, over the catalog's values.

Every function returns all problems that it finds; `field` stands in front of each field's name, so that a problem says
where it is: `plans[0].entitlements[1].usage_limit`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from headgate.errors import Problem
from headgate.model.catalog import Feature, FeatureType
from headgate.model.packages import Addon, Behavior, PackageEntitlement, Plan, RecurringCredit
from headgate.model.terms import EntitlementTerms


def misfits(feature: Feature, terms: EntitlementTerms, *, field: str = "") -> list[Problem]:
    """Say what of an entitlement does not fit the type of its feature."""
    kind = feature.feature_type
    numeric, resets = kind is FeatureType.NUMBER, feature.is_metered
    problems: list[tuple[str, object, str]] = []
    if numeric and terms.usage_limit is None and not terms.has_unlimited_usage:
        problems.append(("usage_limit", None, f"{feature.id!r} is a number: give a limit, or has_unlimited_usage"))
    if not numeric and (terms.usage_limit is not None or terms.has_unlimited_usage):
        shown = terms.usage_limit if terms.usage_limit is not None else "unlimited"
        problems.append(("usage_limit", shown, f"{feature.id!r} is {kind.value}: it has no limit"))
    if not resets and (terms.reset_period is not None or terms.has_soft_limit):
        shown = terms.reset_period.value if terms.reset_period else "soft limit"
        problems.append(("reset_period", shown, f"{feature.id!r} is not metered: there is nothing to reset or exceed"))
    if kind is FeatureType.ENUM:
        unknown = [value for value in terms.enum_values if value not in feature.enum_values]
        if unknown or not terms.enum_values:
            rule = f"{feature.id!r} offers {', '.join(feature.enum_values) or 'no values'}: give one or more of them"
            problems.append(("enum_values", unknown or (), rule))
    elif terms.enum_values:
        problems.append(("enum_values", terms.enum_values, f"{feature.id!r} is {kind.value}: it has no values"))
    return [Problem(_within(field, name), value, rule) for name, value, rule in problems]


def entitlement_problems(
    features: Mapping[str, Feature], entitlements: Sequence[EntitlementTerms], *, field: str
) -> list[Problem]:
    """Say what is wrong with a list of entitlements: features that are not there, and terms that do not fit them."""
    problems = []
    for index, terms in enumerate(entitlements):
        here, feature = f"{field}[{index}]", features.get(terms.feature)
        if feature is None:
            problems.append(Problem(f"{here}.feature", terms.feature, "there is no such feature"))
        else:
            problems += misfits(feature, terms, field=here)
    return problems


def credit_problems(currencies: Collection[str], credits: Sequence[RecurringCredit], *, field: str) -> list[Problem]:
    """Say which credits of a list are of a currency that is not there."""
    return [
        Problem(f"{field}[{index}].currency", credit.currency, "there is no such currency")
        for index, credit in enumerate(credits)
        if credit.currency not in currencies
    ]


def package_problems(
    features: Mapping[str, Feature], currencies: Collection[str], package: Plan | Addon, *, field: str
) -> list[Problem]:
    """Say what is wrong with a plan or an add-on: its entitlements, what they cost, and its credits."""
    problems = entitlement_problems(features, package.entitlements, field=f"{field}.entitlements")
    for index, entitlement in enumerate(package.entitlements):
        here, feature = f"{field}.entitlements[{index}]", features.get(entitlement.feature)
        problems += _rate_problems(feature, currencies, entitlement, field=f"{here}.credit_rate")
        if entitlement.per_unit and feature is not None and feature.feature_type is not FeatureType.NUMBER:
            rule = f"{feature.id!r} is {feature.feature_type.value}: there is no number to multiply"
            problems.append(Problem(f"{here}.per_unit", True, rule))
        if entitlement.behavior is Behavior.OVERRIDE and isinstance(package, Plan):
            rule = "a plan has nothing to stand in the place of: this is for add-ons"
            problems.append(Problem(f"{here}.behavior", entitlement.behavior.value, rule))
    return problems + credit_problems(currencies, package.credits, field=f"{field}.credits")


def _rate_problems(
    feature: Feature | None, currencies: Collection[str], entitlement: PackageEntitlement, *, field: str
) -> list[Problem]:
    rate = entitlement.credit_rate
    if rate is None:
        return []
    problems = []
    if rate.currency not in currencies:
        problems.append(Problem(f"{field}.currency", rate.currency, "there is no such currency"))
    if feature is not None and not feature.is_metered:
        rule = f"{feature.id!r} is not metered: there is no usage to pay for"
        problems.append(Problem(field, rate.currency, rule))
    return problems


def _within(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
