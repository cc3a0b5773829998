"""Features: what customers can be entitled to.

Creating a feature again as it is answers it again; creating another one under its id is 409. What is not given of a
change stays, whatever others write meanwhile. A feature keeps its type.

accepted and ignored: the headers `X-ACCOUNT-ID` and `X-ENVIRONMENT-ID`; an environment is that of the server.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from headgate.errors import InvalidInput, NotFound
from headgate.model.catalog import Feature, FeatureStatus, FeatureType, MeterType
from headgate.model.decision import instant
from headgate.rest.access import FULL, READ
from headgate.rest.capabilities import created, require_no_other
from headgate.rest.engine import Engine
from headgate.rest.filters import CREATED, CREATED_PARAMETERS, created_within
from headgate.rest.pages import Paged, paged
from headgate.rest.queries import PAGING, Parameter, identifier, known_only, strings
from headgate.rest.routed import routed
from headgate.rest.shapes import Answer, Body, Data, IdText, Page, respond
from headgate.rest.unbuilt import Unbuilt
from headgate.service.wire_names import wire_names

router = APIRouter()

FeatureId = Annotated[IdText, Path(alias="id", description="the feature")]
LeftOut = Field(default_factory=str)
"""For a text that may be left out and may not be null."""

_NAMES: Final = {
    "display_name": "displayName",
    "feature_type": "featureType",
    "meter_type": "meterType",
    "units": "featureUnits",
    "units_plural": "featureUnitsPlural",
    "status": "featureStatus",
    "enum_values": "enumConfiguration",
}


class MeterName(StrEnum):
    """How usage of a feature adds up, as the wire spells it."""

    NONE = "None"
    INCREMENTAL = "INCREMENTAL"
    FLUCTUATING = "FLUCTUATING"


class EnumValue(Body):
    """One value of an enum feature, and what people read for it."""

    value: str
    display_name: str


class FeatureFields(Body):
    """What of a feature can be changed; what is left out stays."""

    display_name: str = LeftOut
    description: str = LeftOut
    enum_configuration: list[EnumValue] = Field(default_factory=list)
    feature_units: str = LeftOut
    feature_units_plural: str = LeftOut
    metadata: dict[str, str] = Field(default_factory=dict)
    meter: Unbuilt = None
    unit_transformation: Unbuilt = None

    def given(self) -> dict[str, Any]:
        """What the engine is given: the fields that were sent."""
        fields: dict[str, Any] = {}
        for name, engine_name in _ENGINE_NAMES.items():
            if self.gives(name):
                fields[engine_name] = getattr(self, name)
        if self.gives("enum_configuration"):
            values = [each.value for each in self.enum_configuration]
            if len(set(values)) != len(values):
                raise InvalidInput.of("enumConfiguration", values, "a value may be in the list once")
            fields["enum_values"] = tuple(values)
            fields["enum_display_names"] = {
                each.value: each.display_name for each in self.enum_configuration if each.display_name != each.value
            }
        return fields


_ENGINE_NAMES: Final = {
    "display_name": "display_name",
    "description": "description",
    "feature_units": "units",
    "feature_units_plural": "units_plural",
    "metadata": "metadata",
}


class FeatureBody(FeatureFields):
    """A feature to create. Usage of one without a meter type is not counted."""

    id: IdText
    display_name: str
    feature_type: Annotated[FeatureType, Field(strict=False)]
    meter_type: Annotated[MeterName, Field(strict=False)] = MeterName.NONE
    feature_status: Annotated[FeatureStatus, Field(strict=False)] = FeatureStatus.ACTIVE

    def wanted(self) -> Feature:
        """The feature that is asked for."""
        given = {"id": self.id, "feature_type": self.feature_type, "status": self.feature_status, **self.given()}
        return Feature.accept({**given, "meter_type": MeterType[self.meter_type.name]})


class FeatureAnswer(Answer):
    """A feature. Meters of events and transformations of units are not built, so there are none."""

    id: str
    display_name: str
    description: str | None
    feature_type: FeatureType
    feature_status: FeatureStatus
    feature_units: str | None
    feature_units_plural: str | None
    meter_type: MeterName
    meter: None = None
    enum_configuration: list[dict[str, str]] | None
    unit_transformation: None = None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, feature: Feature) -> Self:
        """Show a feature."""
        values = [
            {"value": value, "displayName": feature.enum_display_names.get(value, value)}
            for value in feature.enum_values
        ]
        return cls(
            id=feature.id,
            display_name=feature.display_name,
            description=feature.description or None,
            feature_type=feature.feature_type,
            feature_status=feature.status,
            feature_units=feature.units or None,
            feature_units_plural=feature.units_plural or None,
            meter_type=MeterName[feature.meter_type.name],
            enum_configuration=values if feature.feature_type is FeatureType.ENUM else None,
            metadata=feature.metadata,
            created_at=instant(feature.created_at_ms),
            updated_at=instant(feature.updated_at_ms),
        )


_routed: Final = partial(routed, "features")


@router.post("/api/v1/features", operation_id="create_feature", **_routed(FULL, Data[FeatureAnswer], 201))
async def create_feature(request: Request, engine: Engine, body: FeatureBody) -> Response:
    """Create a feature. Creating it again as it is answers it again; another one under its id is 409."""
    known_only(request, ())

    with wire_names(_NAMES):
        wanted = body.wanted()
        await require_no_other(engine, Feature, body.id)
        feature = await engine.catalog.change_feature(body.id, created(wanted))
    return respond(Data[FeatureAnswer](data=FeatureAnswer.of(feature)), 201)


_LIST: Final = _routed(
    READ,
    Page[FeatureAnswer],
    200,
    Parameter("id", "only the feature of this id"),
    Parameter("featureType", "only features of these types", is_list=True),
    Parameter("meterType", "only features of these meter types", is_list=True),
    Parameter("status", "only features of these statuses", is_list=True),
    *CREATED_PARAMETERS,
)


@router.get("/api/v1/features", operation_id="list_features", **_LIST)
async def list_features(request: Request, engine: Engine, window: Paged) -> Response:
    """List the features, by id."""
    known_only(request, ("id", "featureType", "meterType", "status", *CREATED, *PAGING))
    id, is_within = identifier(request, "id"), created_within(request)
    types, meters = _choices(request, "featureType", FeatureType), _choices(request, "meterType", MeterName)
    statuses = _choices(request, "status", FeatureStatus)
    wanted = [
        each
        for each in (await engine.catalog.features()).values()
        if id in (None, each.id)
        and each.feature_type in types
        and MeterName[each.meter_type.name] in meters
        and each.status in statuses
        and is_within(each.created_at_ms)
    ]
    page, pagination = paged(wanted, window, lambda each: (each.id,))
    return respond(Page[FeatureAnswer](data=[FeatureAnswer.of(each) for each in page], pagination=pagination))


def _choices(request: Request, name: str, kind: type[StrEnum]) -> set[str]:
    """What is asked for of some words, or all of them where nothing is."""
    given = strings(request, name)
    for each in given:
        if each not in list(kind):
            raise InvalidInput.of(name, each, f"must be one of {', '.join(kind)}")
    return set(given) or set(kind)


@router.get("/api/v1/features/{id}", operation_id="get_feature", **_routed(READ, Data[FeatureAnswer]))
async def get_feature(request: Request, engine: Engine, feature: FeatureId) -> Response:
    """Read a feature."""
    known_only(request, ())
    found = (await engine.catalog.features()).get(feature)
    if found is None:
        raise NotFound("feature", feature)
    return respond(Data[FeatureAnswer](data=FeatureAnswer.of(found)))


@router.patch("/api/v1/features/{id}", operation_id="update_feature", **_routed(FULL, Data[FeatureAnswer]))
async def update_feature(request: Request, engine: Engine, feature: FeatureId, body: FeatureFields) -> Response:
    """Change what is given of a feature. The metadata that is given takes the place of all that there was."""
    known_only(request, ())
    given = body.given()

    def changed(present: Feature | None) -> dict[str, Any]:
        if present is None:
            raise NotFound("feature", feature)
        return {**present.model_dump(), **given}

    with wire_names(_NAMES):
        updated = await engine.catalog.change_feature(feature, changed)
    return respond(Data[FeatureAnswer](data=FeatureAnswer.of(updated)))
