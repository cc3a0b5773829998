"""The application as a whole."""

from __future__ import annotations

from rest.conftest import Api


async def test_what_nobody_serves_is_an_error_in_the_form_of_all_errors(api: Api) -> None:
    answer = await api.get("/api/v1/nowhere", status=404)
    assert answer == {"message": "GET /api/v1/nowhere: Not Found", "code": "RouteNotFound"}
