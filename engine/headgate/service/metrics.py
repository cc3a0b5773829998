"""What Prometheus reads at `GET /metrics`: requests and calls by what was answered, and what the engine counts.

What the vendor's sidecar shows has its names, beside ours.

Figures of several worker processes are put together by prometheus_client, in the folder that
`PROMETHEUS_MULTIPROC_DIR` names; those of the other processes are up to a second old. Routes are told by their
templates, never by paths, so that ids make no new series.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from headgate.cache import REFUSED

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where worker processes keep their figures; set before this module is first imported."""

BUCKETS_S: Final = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
UNMATCHED: Final = "unmatched"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

ENGINE_COUNTERS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "prepared_hits": ("prepared_requests", {"outcome": "hit"}),
    "prepared_misses": ("prepared_requests", {"outcome": "miss"}),
    "stale": ("retries", {"cause": "stale"}),
    "moved_on": ("retries", {"cause": "moved_on"}),
    "late": ("calls_late", {}),
    "resent": ("calls_resent", {}),
    "redis_errors": ("redis_errors", {}),
    "outcomes_unknown": ("outcomes_unknown", {}),
    "holds_freed": ("holds_freed", {"by": "call"}),
    "holds_swept": ("holds_freed", {"by": "sweep"}),
    "wild_starts": ("wild_starts", {}),
    "entitlements_hits": ("entitlements", {"source": "memory"}),
    "entitlements_misses": ("entitlements", {"source": "redis"}),
    "entitlements_last_known": ("entitlements", {"source": "last_known"}),
    "entitlements_evicted": ("entitlements_evicted", {}),
    "numbers_read_again": ("numbers_read_again", {}),
    "numbers_were_off": ("numbers_were_off", {}),
    "usage_untold": ("usage_untold", {}),
    "listener_deaf_ms": ("listener_deaf_seconds", {}),
    "decisions_granted": ("decisions", {"outcome": "granted", "reason": ""}),
}
"""Which series each count of `engine.metrics` is; refusals are told by their reasons."""

IN_MILLISECONDS: Final = frozenset({"listener_deaf_ms"})
"""Counts of milliseconds, which series have in seconds."""

GAUGES: Final[Mapping[str, tuple[str, str]]] = {
    "entitlements_bytes": ("entitlements_bytes", "memory that answers take which are kept"),
}
"""What goes up and down: each process has its own, and together they are added."""

VENDOR_COUNTERS: Final[Mapping[str, str]] = {
    "sidecar_cache_hits": "answers from memory, as the vendor's sidecar names them",
    "sidecar_cache_misses": "answers that had to be read to be kept, likewise",
    "sidecar_redis_client_errors": "connections that failed, replies that were lost, and errors of Redis, likewise",
    # Not what `/readyz` answers: a probe asks for no data, and comes every few seconds.
    "sidecar_network_request_errors": "calls for which no data could be had: fallbacks, UNAVAILABLE and 503, likewise",
    "sidecar_invalid_api_key_errors": "HTTP requests without a key that is known, likewise",
    "sidecar_initialization_errors": "processes that started without an answer of Redis, likewise",
}
OF_VENDOR: Final[Mapping[str, str]] = {
    "entitlements_hits": "sidecar_cache_hits",
    "entitlements_misses": "sidecar_cache_misses",
    "redis_errors": "sidecar_redis_client_errors",
}
"""Counts of the engine that the vendor's sidecar has, too, under a name of its own."""

UNAUTHENTICATED: Final = 401
NO_ANSWER: Final = 503
PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
_OF_A_LIVE_PROCESS: Final = re.compile(r"gauge_live[a-z]+_([0-9]+)\.db")

_MEANINGS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "decisions": ("verdicts of check, consume and reserve", ("outcome", "reason")),
    "prepared_requests": ("calls that found their prepared request, or made it", ("outcome",)),
    "retries": ("calls made again: the configuration had moved, or a period had ended", ("cause",)),
    "calls_late": ("calls that the server ran after their deadline, and did not count", ()),
    "calls_resent": ("calls sent again: they had certainly not run, or only read, or are carried out once", ()),
    "redis_errors": ("connections that failed, replies that were lost, and errors that Redis answered", ()),
    "outcomes_unknown": ("writes whose reply never came", ()),
    "holds_freed": ("reservations that expired and were freed", ("by",)),
    "entitlements": ("entitlements of features by where they were answered from", ("source",)),
    "entitlements_evicted": ("answers dropped to stay within the bound of memory", ()),
    "numbers_read_again": ("numbers of an allowed age that were read again", ()),
    "numbers_were_off": ("those of them that had changed unheard", ()),
    "usage_untold": ("counters that others were not told of, as too many waited", ()),
    "listener_deaf_seconds": ("time in which no updates were heard", ()),
    "wild_starts": ("counters that a wild clock had dated far ahead, and that were put right", ()),
}


class Metrics:
    """The series of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "headgate_http_request_duration_seconds",
            "time from a request's first byte to the last of its answer",
            ("method", "route"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._requests = Counter(
            "headgate_http_requests", "requests by what was answered", ("method", "route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._call_latency = Histogram(
            "headgate_grpc_request_duration_seconds",
            "time from a call's message to its answer",
            ("method",),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._calls = Counter(
            "headgate_grpc_requests", "calls by what was answered", ("method", "code"), registry=self._registry
        )
        self._fallbacks = Counter(
            "headgate_grpc_fallbacks", "answers by a fallback, as no data could be had", registry=self._registry
        )
        self._known_calls: dict[tuple[str, str], tuple[Histogram, Counter]] = {}
        self._counters = {
            name: Counter(f"headgate_{name}", meaning, labels, registry=self._registry)
            for name, (meaning, labels) in _MEANINGS.items()
        }
        self._gauges = {
            name: Gauge(f"headgate_{series}", meaning, registry=self._registry, multiprocess_mode="livesum")
            for name, (series, meaning) in GAUGES.items()
        }
        self._of_vendor = {
            name: Counter(name, meaning, registry=self._registry) for name, meaning in VENDOR_COUNTERS.items()
        }
        for name, labels in ENGINE_COUNTERS.values():
            self._series(name, labels)
        self._seen: dict[str, int] = {}
        self._known: dict[tuple[str, str, int], tuple[Histogram, Counter]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        known = self._known.get((method, route, status))
        if known is None:
            shown = method if method in _METHODS else "other"
            known = self._latency.labels(shown, route), self._requests.labels(shown, route, str(status))
            if shown == method:
                self._known[method, route, status] = known
        latency, requests = known
        latency.observe(seconds)
        requests.inc()
        if status == NO_ANSWER and route not in PROBES:
            self._of_vendor["sidecar_network_request_errors"].inc()
        elif status == UNAUTHENTICATED:
            self._of_vendor["sidecar_invalid_api_key_errors"].inc()

    def observe_call(self, method: str, code: str, seconds: float) -> None:
        """Count one gRPC call that was answered."""
        known = self._known_calls.get((method, code))
        if known is None:
            known = self._call_latency.labels(method), self._calls.labels(method, code)
            self._known_calls[method, code] = known
        latency, calls = known
        latency.observe(seconds)
        calls.inc()
        if code == "UNAVAILABLE":
            self._of_vendor["sidecar_network_request_errors"].inc()

    def fell_back(self) -> None:
        """Count an answer by a fallback."""
        self._fallbacks.inc()
        self._of_vendor["sidecar_network_request_errors"].inc()

    def started_without_redis(self) -> None:
        """Count that this process started and Redis gave no answer."""
        self._of_vendor["sidecar_initialization_errors"].inc()

    def take(self, counts: Mapping[str, int]) -> None:
        """Add what the engine has counted since it was last asked."""
        for name, count in counts.items():
            if name in self._gauges:
                self._gauges[name].set(count)
                continue
            more = count - self._seen.get(name, 0)
            if more:
                self._seen[name] = count
                self._series(*_series_of(name)).inc(more / 1000 if name in IN_MILLISECONDS else more)
                if name in OF_VENDOR:
                    self._of_vendor[OF_VENDOR[name]].inc(more)

    def show(self) -> bytes:
        """Write all series in Prometheus' text format; with several processes, those of all of them."""
        registry = self._registry
        if FOLDER_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _series(self, name: str, labels: Mapping[str, str]) -> Counter:
        counter = self._counters[name]
        return counter.labels(**labels) if labels else counter


def forget_dead_processes() -> None:
    """Let what a process that was killed had in use count no longer; what it has counted stays."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return
    for file in Path(folder).iterdir():
        of = _OF_A_LIVE_PROCESS.fullmatch(file.name)
        if of is not None and not _is_alive(int(of[1])):
            file.unlink(missing_ok=True)  # two that start at once find the same


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _series_of(name: str) -> tuple[str, Mapping[str, str]]:
    if name.startswith(REFUSED):
        return "decisions", {"outcome": "refused", "reason": name.removeprefix(REFUSED)}
    return ENGINE_COUNTERS[name]
