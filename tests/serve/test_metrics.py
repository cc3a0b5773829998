"""Figures: what has the vendor's names, and what a process leaves behind that was killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.service.metrics import FOLDER_VARIABLE, Metrics, forget_dead_processes


def vendors(metrics: Metrics) -> dict[str, float]:
    """The series with the vendor's names that are not 0."""
    found = re.findall(r"^(sidecar_\w+_total) (\S+)$", metrics.show().decode(), re.MULTILINE)
    return {name: float(value) for name, value in found if float(value)}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)


def test_every_series_of_the_vendor_is_there_from_the_start() -> None:
    names = re.findall(r"^sidecar_(\w+)_total 0\.0$", Metrics().show().decode(), re.MULTILINE)
    assert sorted(names) == [
        "cache_hits",
        "cache_misses",
        "initialization_errors",
        "invalid_api_key_errors",
        "network_request_errors",
        "redis_client_errors",
    ]


def test_what_the_engine_counts_is_counted_under_both_names() -> None:
    metrics = Metrics()
    metrics.take({"entitlements_hits": 3, "entitlements_misses": 2, "redis_errors": 1})
    metrics.take({"entitlements_hits": 5, "entitlements_misses": 2, "redis_errors": 1})
    assert vendors(metrics) == {
        "sidecar_cache_hits_total": 5,
        "sidecar_cache_misses_total": 2,
        "sidecar_redis_client_errors_total": 1,
    }
    assert 'headgate_entitlements_total{source="memory"} 5.0' in metrics.show().decode()


def test_an_engine_without_a_cache_has_neither_hits_nor_misses() -> None:
    metrics = Metrics()
    metrics.take({"prepared_hits": 1})
    assert vendors(metrics) == {}


@pytest.mark.parametrize(
    ("route", "status", "counted"),
    [
        ("/api/v1/usage", 503, "sidecar_network_request_errors_total"),
        ("/api/v1/usage", 401, "sidecar_invalid_api_key_errors_total"),
        ("/api/v1/usage", 403, None),
        ("/api/v1/usage", 500, None),
        ("/readyz", 503, None),
    ],
)
def test_a_request_without_data_or_without_a_key_is_counted_and_a_probe_is_not(
    route: str, status: int, counted: str | None
) -> None:
    metrics = Metrics()
    metrics.observe("GET", route, status, 0.001)
    assert vendors(metrics) == ({} if counted is None else {counted: 1})


def test_calls_without_data_are_counted_whether_they_fall_back_or_fail() -> None:
    metrics = Metrics()
    metrics.observe_call("GetEntitlements", "UNAVAILABLE", 0.001)
    metrics.observe_call("GetEntitlements", "OK", 0.001)
    metrics.fell_back()
    assert vendors(metrics) == {"sidecar_network_request_errors_total": 2}


def test_only_what_a_dead_process_had_in_use_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        dead = process.pid
    names = {f"gauge_livesum_{dead}.db", f"counter_{dead}.db", f"gauge_livesum_{os.getpid()}.db", "gauge_livesum_x.db"}
    for name in names:
        (tmp_path / name).touch()
    forget_dead_processes()
    forget_dead_processes()
    assert {file.name for file in tmp_path.iterdir()} == names - {f"gauge_livesum_{dead}.db"}


def test_a_process_alone_has_nothing_to_forget() -> None:
    forget_dead_processes()
