"""Script time: what consume costs the server, beside its own bare commands and beside a script that does nothing.

The commands sent are those that the library sends: prepared requests, loaded through it, bound to an amount and a
moment. The bare script of a request issues the same commands on the same keys and arguments, writes back the values
that it read, and answers with as many bytes; it is straight-line code, without a loop or a decision. Of a wallet it
reads overdraft and every grant, and writes the grant that pays. The least that a script can do is `return 1`: once
without keys and arguments, and once with those of the consume. The four run in turn, forwards and backwards, and the
server's own statistics say how long each took.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from bench_customers import BenchCustomer, load_request
from redis.connection import Connection

from headgate import Headgate
from headgate.calls import Call
from headgate.prepare import PreparedRequest, PreparedWallet
from headgate.scripts import Script, load_scripts
from headgate.wire import MOMENT, Status

SHAPES = 300
"""How many different prepared requests of a customer take turns."""

WINDOW = 30
"""How many commands a round sends at once: so few that a round is over before the kernel gives others a turn."""

HOUR_MS = 3_600_000
FIELDS_FROM, FIELDS_FROM_WITH_WALLET, OVERDRAFT = 5, 12, 7
"""The argument from which on the fields of the counters stand, without a wallet and with one; the overdraft's field."""

BUCKETS_FROM, BUCKETS_FROM_WITH_WALLET = 3, 6
"""The key from which on the buckets stand: with a wallet, the idempotency keys' three come before."""

NUMBER_BYTES, COUNTER_BYTES = 8, 16
CONSTRAINTS = 4


@dataclass(frozen=True, slots=True)
class ScriptTimes:
    """Microseconds a call, one figure a round; the rounds of the lists belong together."""

    consume_us: list[float]
    bare_us: list[float]
    nothing_us: list[float]
    nothing_with_arguments_us: list[float]

    @property
    def cost(self) -> float:
        """Consume against its own bare commands: the median over the rounds."""
        return median_ratio(self.consume_us, self.bare_us)

    @property
    def ratio(self) -> float:
        """Consume against `return 1`: the median over the rounds."""
        return median_ratio(self.consume_us, self.nothing_us)

    @property
    def ratio_with_arguments(self) -> float:
        """Consume against `return 1` that is sent the same keys and arguments: the median over the rounds."""
        return median_ratio(self.consume_us, self.nothing_with_arguments_us)


def median_ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """The median of the ratios of pairs that were measured one after the other."""
    return statistics.median(this / that for this, that in zip(these, those, strict=True))


def bare_script(shape: PreparedRequest) -> str:
    """Write the commands of a consume whose counters lie like this, with no logic around them."""
    reads = ["local call = redis.call", "call('GET', KEYS[1])", "call('TIME')"]
    writes, values = [], []
    argument = FIELDS_FROM if shape.wallet is None else FIELDS_FROM_WITH_WALLET
    first_bucket = BUCKETS_FROM if shape.wallet is None else BUCKETS_FROM_WITH_WALLET
    for key, count in zip((2, *range(first_bucket, first_bucket + len(shape.layout))), shape.layout, strict=False):
        fields = [f"ARGV[{number}]" for number in range(argument, argument + count)]
        wanted = ["'@v'", *fields] if key == 2 else fields
        found = [f"read{key}[{place + (key == 2)}]" for place in range(1, count + 1)]
        reads.append(f"local read{key} = call('HMGET', KEYS[{key}], {', '.join(wanted)})")
        pairs = [part for pair in zip(fields, found, strict=True) for part in pair]
        writes.append(f"call('HSET', KEYS[{key}], {', '.join(pairs)})")
        argument += count
        values += found
    if shape.wallet is not None:
        of_wallet, payment, told = _bare_wallet(shape.wallet, argument)
        reads, writes, values = reads + of_wallet, [*writes, payment], values + told
    answer = f"return {{ {Status.GRANTED:d}, {HOUR_MS}, {', '.join(values)} }}"
    return "\n".join([*reads, *writes, answer])


def _bare_wallet(wallet: PreparedWallet, argument: int) -> tuple[list[str], str, list[str]]:
    """The commands that read a wallet, the one that writes the grant that pays, and what is answered of it."""
    reads, found, fields = [f"call('HGET', KEYS[2], ARGV[{OVERDRAFT}])"], [], []
    _, counts, _ = wallet.args
    for key, count in enumerate(counts, start=BUCKETS_FROM_WITH_WALLET):
        if count:
            wanted = [f"ARGV[{number}]" for number in range(argument, argument + count)]
            reads.append(f"local grants{key} = call('HMGET', KEYS[{key}], {', '.join(wanted)})")
            found += [(key, f"grants{key}[{place}]") for place in range(1, count + 1)]
            fields += wanted
            argument += count
    paying = wallet.places[0] - 1
    key, value = found[paying]
    payment = f"call('HSET', KEYS[{key}], {fields[paying]}, {value})"
    taken = f"'{'-' * NUMBER_BYTES * (1 + len(found))}'"
    return reads, payment, [taken, f"'{'-' * COUNTER_BYTES}'", *(value for _, value in found)]


class ScriptBench:
    """Runs consume, its bare commands and `return 1` in turn, on one server."""

    def __init__(self, engine: Headgate, client: redis.Redis) -> None:
        self._engine = engine
        self._client = client
        self._supports_flags = int(client.info("server")["redis_version"].split(".")[0]) >= 7
        self._connection: Connection = client.connection_pool.get_connection()

    def consume_script(self, name: str = "consume") -> Script:
        """The script as the library sends it to this server."""
        return load_scripts(server_supports_flags=self._supports_flags)[name]

    def measure(self, customer: BenchCustomer, *, rounds: int, advance: Callable[[], None]) -> ScriptTimes:
        """Measure one customer; `advance` is told of every round. Everything runs once before, to warm up."""
        chance = random.Random(customer.size)
        shapes = [load_request(self._engine, customer, customer.dimensions(chance)) for _ in range(SHAPES)]
        assert all(len(shape.constraints) == CONSTRAINTS for shape in shapes)
        moment = MOMENT.pack(self._server_now_ms() + HOUR_MS, 0.0)
        asked = [_moved(shape, moment) for shape in shapes]
        consume = self._client.script_load(self.consume_script(asked[0].script).source)
        nothing = self._client.script_load("return 1")
        bare = [bare_script(shape) for shape in shapes]
        loaded = {source: self._load_bare(source) for source in set(bare)}
        variants = [
            self._windows([_command(consume, call) for call in asked]),
            self._windows([_command(loaded[source], call) for source, call in zip(bare, asked, strict=True)]),
            self._windows([("EVALSHA", nothing, 0)] * SHAPES),
            self._windows([_command(nothing, call) for call in asked]),
        ]
        granted, answered, *_ = [
            [reply for window in windows for reply in self._exchange(window)] for windows in variants
        ]
        _require_alike(granted, answered)
        times: list[list[float]] = [[] for _ in variants]
        for number in range(rounds):
            # Forwards and backwards in turn: whoever comes first finds the memory of its counters cold.
            for variant in range(len(variants))[:: 1 if number % 2 else -1]:
                windows = variants[variant]
                times[variant].append(self._time_us(windows[number // 2 % len(windows)]))
            advance()
        return ScriptTimes(*times)

    def close(self) -> None:
        """Give the connection back."""
        self._client.connection_pool.release(self._connection)

    def _load_bare(self, source: str) -> str:
        first_line = "#!lua\n" if self._supports_flags else ""
        sha1: str = self._client.script_load(first_line + source)
        return sha1

    def _server_now_ms(self) -> int:
        seconds, microseconds = self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _windows(self, commands: Sequence[tuple[Any, ...]]) -> list[bytes]:
        packed = [b"".join(self._connection.pack_command(*command)) for command in commands]
        return [b"".join(packed[first : first + WINDOW]) for first in range(0, len(packed), WINDOW)]

    def _exchange(self, window: bytes) -> list[Any]:
        self._connection.send_packed_command([window], check_health=False)
        return [self._connection.read_response() for _ in range(WINDOW)]

    def _time_us(self, window: bytes) -> float:
        """Script time of one call: the difference of two clock readings a call, summed by the server."""
        self._client.config_resetstat()
        self._exchange(window)
        spent = self._client.info("commandstats")["cmdstat_evalsha"]
        assert int(spent["calls"]) == WINDOW, spent
        return float(spent["usec"]) / WINDOW


def _moved(shape: PreparedRequest, moment: bytes) -> Call:
    """The call as the driver sends it: the moment stands in front of the timed argument."""
    call = shape.ask("consume", 1.0, writes=True)
    assert call.timed is not None
    args = list(call.args)
    args[call.timed] = moment + args[call.timed]
    return Call(call.script, call.keys, tuple(args))


def _command(sha1: str, call: Call) -> tuple[Any, ...]:
    return ("EVALSHA", sha1, len(call.keys), *call.keys, *call.args)


def _require_alike(granted: Sequence[Any], bare: Sequence[Any]) -> None:
    """Both must have answered with a grant and as many bytes, else the two were not compared on the same work."""
    for ours, theirs in zip(granted, bare, strict=True):
        assert ours[0] == Status.GRANTED, f"a consume answered {ours!r}"
        assert [len(value) for value in ours[2:]] == [len(value) for value in theirs[2:]], (ours, theirs)
