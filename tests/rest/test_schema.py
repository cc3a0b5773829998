"""The OpenAPI page and the face agree: whatever is sent, the answer is one that the page tells of, and never a 500."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from headgate.client.sync_client import Headgate
from headgate.settings import Settings
from serve.serving import Served
from servers import RedisServer, available_binaries

EXAMPLES = 3
"""How many requests are made up of each operation: there are more than a hundred."""

CHECKS = (status_code_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    binaries = available_binaries()
    with RedisServer(binaries[max(binaries)]) as server:
        with Headgate.connect(server.url, settings=Settings(partitions=4, listen=False)) as engine:
            engine.catalog.put_features([{"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
            engine.customers.put("acme")
            engine.customers.grant_entitlement("acme", {"feature": "tokens", "usage_limit": 1_000})
        with Served(server.url, "--deadline-ms", "20000").started() as served:
            yield served


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_whatever_is_sent_is_answered_as_the_page_says(served: Served, method: str) -> None:
    base_url = str(served.client.base_url)
    schema = schemathesis.openapi.from_url(f"{base_url}/openapi.json").include(method=method)
    tried = 0
    for operation in (result.ok() for result in schema.get_all_operations()):

        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate],
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def answers(case: schemathesis.Case) -> None:
            nonlocal tried
            response = case.call(base_url=base_url)
            assert response.status_code != 500, f"{case.as_curl_command()}: {response.text}"
            case.validate_response(response, checks=CHECKS)
            tried += 1

        answers()
    assert tried > 0
