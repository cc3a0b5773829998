"""Mutants of the idempotency keys: one line of the Lua each, found by tests/scenarios/test_keys.py."""

from __future__ import annotations

from mutation import NOTHING, Mutant

CREDITS, REPORT_CREDITS = "lua/consume_credits.lua", "lua/report_credits.lua"
SEEN, FIND_SEEN = "lua/lib/seen.lua", "lua/find_seen.lua"

REMEMBERED = (
    "return call('HGET', seen, identity) or call('HGET', seen_before, identity) or call('HGET', seen_after, identity)"
)
FOUND = (
    "local known = call('HGET', seen, identity) or call('HGET', seen_before, identity) or "
    "call('HGET', seen_after, identity)"
)
IS_FIRST = "local is_first = CLOCK == 115 and call('HLEN', seen) == 0"
REMEMBER = "if identity ~= '' then remember(call, seen, identity, fingerprint, over_ms) end"
OVER = "over_ms = (number + 2) * lasts_ms"
IN_GENERATION = "if math.floor(instant_ms / lasts_ms) ~= number then return { OTHER_GENERATION, instant_ms } end"
IN_CONFLICT = "if known and known ~= fingerprint then return { CONFLICT, instant_ms } end"
ONE_IS_KNOWN = "if known then reply[1], amounts, behaviour = REPEATED, { 0, 0 }, 'DELTA' end"
SPENT = "if not applied or not known and not spend(wallet, burn_order, amounts[wallet.section] or 0, dated_ms) then"

MUTANTS_OF_KEYS = (
    Mutant(
        "keys of the generation before forgotten",
        SEEN,
        REMEMBERED,
        "return call('HGET', seen, identity) or call('HGET', seen_after, identity)",
        "a repeat a minute later is counted again, if a generation has ended in between",
    ),
    Mutant(
        "keys of the generation after forgotten",
        SEEN,
        REMEMBERED,
        "return call('HGET', seen, identity) or call('HGET', seen_before, identity)",
        "a repeat is counted again after a failover to a server whose clock is behind",
    ),
    Mutant(
        "keys of the present generation forgotten",
        SEEN,
        REMEMBERED,
        "return call('HGET', seen_before, identity) or call('HGET', seen_after, identity)",
        "every repeat is counted again",
    ),
    Mutant(
        "keys that simulated environments forget",
        SEEN,
        IS_FIRST,
        "local is_first = call('HLEN', seen) == 0",
        "a replay of the past forgets its keys at once: their end by the real clock is over",
    ),
    Mutant(
        "key written before what an ACL can refuse",
        SEEN,
        "if is_first then call('PEXPIREAT', seen, over_ms) end -- does nothing yet; what an ACL can refuse comes first",
        NOTHING,
        "where an ACL refuses PEXPIREAT, a key is burnt and nothing counted",
    ),
    Mutant(
        "keys that never go",
        SEEN,
        "if is_first then call('PEXPIREAT', seen, over_ms) end",
        NOTHING,
        "memory fills with keys",
    ),
    Mutant("keys that are not kept", SEEN, "call('HSET', seen, identity, fingerprint)", NOTHING, "nothing is once"),
    Mutant(
        "a key without its request",
        SEEN,
        "call('HSET', seen, identity, fingerprint)",
        "call('HSET', seen, identity, identity:sub(1, 8))",
        "a repeat is taken for another request",
    ),
    Mutant(
        "done before, but not in the generation before",
        FIND_SEEN,
        FOUND,
        "local known = call('HGET', seen, identity) or call('HGET', seen_after, identity)",
        "an archived customer's repeat is denied, though it was carried out",
    ),
    Mutant(
        "done before, but not in the generation after",
        FIND_SEEN,
        FOUND,
        "local known = call('HGET', seen, identity) or call('HGET', seen_before, identity)",
        "the same after a failover to a server whose clock is behind",
    ),
    Mutant(
        "done before, but not in the present generation",
        FIND_SEEN,
        FOUND,
        "local known = call('HGET', seen_before, identity) or call('HGET', seen_after, identity)",
        "an archived customer's repeat is denied, though it was carried out",
    ),
    Mutant(
        "done before, in whatever generation",
        FIND_SEEN,
        "if math.floor(now_ms / lasts_ms) ~= number then return { OTHER_GENERATION, now_ms } end",
        NOTHING,
        "a client that just started does not find what was done",
    ),
    *(
        mutant
        for verb, file in (("consume", CREDITS), ("report", REPORT_CREDITS))
        for mutant in (
            Mutant(
                f"{verb}: keys of whatever generation",
                file,
                IN_GENERATION,
                NOTHING,
                "a client that just started neither finds keys nor leaves them where others look",
            ),
            Mutant(
                f"{verb}: any request has the key",
                file,
                IN_CONFLICT,
                NOTHING,
                "another request is told that it was carried out",
            ),
            Mutant(f"{verb}: a key that is not kept", file, REMEMBER, NOTHING, "a repeat is counted again"),
            Mutant(
                f"{verb}: keys that go too early",
                file,
                OVER,
                "over_ms = (number + 1) * lasts_ms",
                "a key is forgotten with its generation, a minute after it was given",
            ),
        )
    ),
    Mutant(
        "consume: a known key is carried out again",
        CREDITS,
        "if wallet.balance and known then",
        "if wallet.balance and known and false then",
        "a repeat is counted again",
    ),
    Mutant(
        "report: a known key is counted again",
        REPORT_CREDITS,
        ONE_IS_KNOWN,
        "if known then reply[1] = REPEATED end",
        "a repeat is told numbers that nobody wrote",
    ),
    Mutant(
        "report: a known SET is set again",
        REPORT_CREDITS,
        ONE_IS_KNOWN,
        "if known then reply[1], amounts = REPEATED, { 0, 0 } end",
        "a repeated SET is told that the counter stands at 0",
    ),
    Mutant(
        "report: a known key is told as new",
        REPORT_CREDITS,
        ONE_IS_KNOWN,
        "if known then amounts, behaviour = { 0, 0 }, 'DELTA' end",
        "a receipt says that it counted, and names nothing",
    ),
    Mutant(
        "report: a known key pays overdraft",
        REPORT_CREDITS,
        SPENT,
        "if not applied or not spend(wallet, burn_order, amounts[wallet.section] or 0, dated_ms) then",
        "a repeat is told of charges that nobody wrote",
    ),
    Mutant(
        "report: a known key writes",
        REPORT_CREDITS,
        "if known then return tell_wallet(reply, wallet) end",
        NOTHING,
        "a repeat opens a period, and writes its key once more",
    ),
)
