"""How much memory answers take: many customers through a bound, the growth of the process, and whether what was evicted
is read again as Redis has it.

    python loadtests/memory.py --customers 100000 --bound 67108864

It starts a server of its own. Exit code 1: the process grew by twice the bound or more, or an answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from headgate import AsyncHeadgate, keys, wire
from headgate.model.customer import Customer, PromotionalEntitlement
from servers import RedisServer, available_binaries

SSO, REGIONS, TOKENS = "feature-sso", "feature-regions", "feature-tokens"
EVICTED_READ: Final = 1_000
IN_FLIGHT: Final = 64
WARMED_BY: Final = 500
PARTITIONS: Final = 16


def resident_bytes() -> int:
    """What this process has of memory now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def plant(engine: AsyncHeadgate, server: RedisServer, count: int) -> list[str]:
    """Write a catalog, and so many customers with three entitlements each, as their documents are stored."""
    await engine.catalog.put_features(
        [
            {"id": SSO, "feature_type": "BOOLEAN"},
            {"id": REGIONS, "feature_type": "ENUM", "enum_values": ["eu", "us"]},
            {"id": TOKENS, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
        ]
    )
    space = keys.Keyspace(engine.environment, PARTITIONS)
    names = [f"customer-{number:06}" for number in range(count)]
    promised = [
        PromotionalEntitlement(feature=SSO),
        PromotionalEntitlement(feature=REGIONS, enum_values=("eu",)),
        PromotionalEntitlement(feature=TOKENS, usage_limit=100.0),
    ]
    documents = {keys.entitlement_field(each.feature): wire.pack_document(each) for each in promised}
    with server.client() as client:
        for first in range(0, count, 2_000):
            pipeline: Any = client.pipeline(transaction=False)
            for name in names[first : first + 2_000]:
                own = space.customer(name)
                pipeline.hset(
                    own.config,
                    mapping={
                        keys.CUSTOMER: wire.pack_document(Customer(id=name, created_at_ms=1, updated_at_ms=1)),
                        **documents,
                    },
                )
                pipeline.hset(own.usage, mapping={b"@v": os.urandom(8), b"@n": b"1"})
            pipeline.execute()
    return names


async def ask(engine: AsyncHeadgate, customer: str) -> list[dict[str, Any]]:
    """All that is asked of a customer, but for the instant at which it was read."""
    found = [
        await engine.boolean_entitlement(customer, SSO),
        await engine.enum_entitlement(customer, REGIONS, requested_values=["eu"]),
        await engine.metered_entitlement(customer, TOKENS, requested_usage=1),
    ]
    return [{**each.as_dict(), "read_at": None} for each in found]


async def ask_all(engine: AsyncHeadgate, customers: list[str]) -> None:
    """Ask of each customer once, some at a time."""
    waiting = iter(customers)

    async def work() -> None:
        for customer in waiting:
            await ask(engine, customer)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def measure(customers: int, bound: int) -> dict[str, Any]:
    """Put the customers through the bound, and compare."""
    settings = {"partitions": PARTITIONS, "deadline_ms": 30_000, "setup_deadline_ms": 60_000}
    with RedisServer(list(available_binaries().values())[-1]) as server:
        async with (
            AsyncHeadgate.connect(server.url, settings={**settings, "listen": False, "prepared_max": 16}) as plain,
            AsyncHeadgate.connect(server.url, settings={**settings, "cache_max_bytes": bound}) as keeping,
        ):
            names = await plant(plain, server, customers)
            await keeping.catalog.features()
            listener: Any = keeping._listener
            await asyncio.wait_for(listener.subscribed.wait(), 30)
            await ask_all(keeping, names[:WARMED_BY])
            before = resident_bytes()
            await ask_all(keeping, names[WARMED_BY:])
            grown = resident_bytes() - before
            kept = keeping._state.entitlements
            evicted = [name for name in names if name not in kept._customers]
            sample = random.Random(1).sample(evicted, min(EVICTED_READ, len(evicted)))
            wrong = [name for name in sample if await ask(keeping, name) != await ask(plain, name)]
            return {
                "customers": customers,
                "bound_bytes": bound,
                "grown_bytes": grown,
                "grown_by_bound": round(grown / bound, 2),
                "kept_bytes": kept.bytes,
                "kept_answers": len(kept),
                "evicted_customers": len(evicted),
                "read_again": len(sample),
                "wrong": wrong,
            }


def main() -> int:
    """Measure, print what was found as JSON, and say by the exit code whether it is as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--bound", type=int, default=64 << 20, help="bytes")
    options = parser.parse_args()
    found = asyncio.run(measure(options.customers, options.bound))
    print(json.dumps(found, indent=2))
    return int(found["grown_bytes"] >= 2 * options.bound or bool(found["wrong"]) or not found["read_again"])


if __name__ == "__main__":
    sys.exit(main())
