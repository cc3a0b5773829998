"""Changing a plan or an add-on in one step: nothing that others write meanwhile is lost."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.targets import Target
from headgate import Addon, AsyncHeadgate, InvalidInput, Plan

KINDS = pytest.mark.parametrize("kind", ["plan", "addon"])


def change(engine: AsyncHeadgate, kind: str, *arguments: Any) -> Any:
    return getattr(engine.catalog, f"change_{kind}")(*arguments)


async def put(engine: Any, kind: str, *packages: dict[str, Any]) -> Any:
    return await getattr(engine.catalog, f"put_{kind}s")(list(packages))


async def read(engine: AsyncHeadgate, kind: str) -> Any:
    return await getattr(engine.catalog, f"{kind}s")()


@pytest.fixture
async def catalog(target: Target) -> AsyncHeadgate:
    """An engine on an environment with two features."""
    await target.engine.catalog.put_features(
        [{"id": "sso", "feature_type": "BOOLEAN"}, {"id": "audit", "feature_type": "BOOLEAN"}]
    )
    return target.engine


@KINDS
async def test_what_is_not_there_yet_is_made(catalog: AsyncHeadgate, kind: str) -> None:
    seen: list[Plan | Addon | None] = []

    def made(present: Any) -> dict[str, Any]:
        seen.append(present)
        return {"id": "one", "display_name": "One"}

    written = await change(catalog, kind, "one", made)
    assert (written.display_name, written.version, seen) == ("One", 1, [None])
    assert await read(catalog, kind) == {"one": written}


@KINDS
async def test_a_change_goes_over_what_others_wrote_meanwhile(
    target: Target, catalog: AsyncHeadgate, kind: str
) -> None:
    await put(catalog, kind, {"id": "one"})
    other = target.open_blocking()
    theirs = {"id": "one", "display_name": "Theirs", "entitlements": [{"feature": "sso"}]}
    target.before("write_catalog", lambda: getattr(other.catalog, f"put_{kind}s")([theirs]))
    seen: list[str] = []

    def added(present: Any) -> dict[str, Any]:
        seen.append(present.display_name)
        return present.model_dump() | {"entitlements": (*present.entitlements, {"feature": "audit"})}

    written = await change(catalog, kind, "one", added)
    assert (written.display_name, seen) == ("Theirs", ["", "Theirs"])
    assert [each.feature for each in written.entitlements] == ["sso", "audit"]
    assert written.version == 3


@KINDS
async def test_a_change_of_nothing_writes_nothing(target: Target, catalog: AsyncHeadgate, kind: str) -> None:
    await put(catalog, kind, {"id": "one"})
    before = target.dump()
    await change(catalog, kind, "one", lambda present: present)
    assert target.dump() == before


@KINDS
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"id": "two"}, "id: 'two': must stay 'one'"),
        ({"id": "one", "entitlements": [{"feature": "none"}]}, "entitlements[0].feature: 'none': there is no such"),
        ({"id": "one", "entitlements": [{"feature": "sso"}] * 2}, "'sso' is there more than once"),
        ({"id": "one", "price": 5}, "price: 5: unknown field"),
    ],
)
async def test_a_bad_change_is_named_and_writes_nothing(
    target: Target, catalog: AsyncHeadgate, kind: str, changed: dict[str, Any], message: str
) -> None:
    await put(catalog, kind, {"id": "one"})
    before = target.dump()
    with pytest.raises(InvalidInput) as raised:
        await change(catalog, kind, "one", lambda present: changed)
    assert f"{kind}." in str(raised.value) or f"{kind}: " in str(raised.value)
    assert message in str(raised.value)
    assert target.dump() == before


@KINDS
async def test_what_a_change_raises_is_raised_and_writes_nothing(
    target: Target, catalog: AsyncHeadgate, kind: str
) -> None:
    await put(catalog, kind, {"id": "one"})
    before = target.dump()

    def refuse(present: Any) -> Any:
        raise LookupError(present.id)

    with pytest.raises(LookupError, match="one"):
        await change(catalog, kind, "one", refuse)
    assert target.dump() == before
