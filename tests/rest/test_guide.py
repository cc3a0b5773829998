"""The requests that docs/rest.md shows, sent in their order to an environment that was never written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rest.conftest import Api

GUIDE = Path(__file__).parents[2] / "docs" / "rest.md"


def requests() -> list[tuple[str, str, Any]]:
    """Method, path and body of each request, in the order of the page."""
    found = []
    for block in re.findall(r"^```http\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for text in block.strip().split("\n\n"):
            first, _, body = text.partition("\n")
            method, path = first.split(" ")
            found.append((method, path, json.loads(body) if body else None))
    return found


async def test_the_guide_leads_from_nothing_to_a_decision(api: Api) -> None:
    answers: dict[str, Any] = {}
    for method, path, body in requests():
        response = await api.client.request(method, path, json=body)
        assert response.status_code in (200, 201), f"{method} {path}: {response.text}"
        answers[path] = response.json()["data"]
    assert len(answers) == 13
    checked, reserved = [each for path, each in answers.items() if "/check?" in path]
    assert (checked["isGranted"], checked["bindingConstraint"]["entityId"]) == (True, "team-eng")
    assert answers["/api/v1/usage/consume"]["isGranted"]
    assert (reserved["isGranted"], reserved["reservation"]["amount"]) == (True, 500)
    decision = await api.engine.check("acme", feature="tokens", dimensions={"teamId": "team-eng"})
    assert decision.binding is not None
    assert (decision.binding.name, decision.binding.used, decision.binding.held) == ("team-eng", 1_670, 0)
