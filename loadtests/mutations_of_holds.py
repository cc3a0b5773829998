"""The mutants of reserving, settling, extending and freeing."""

from __future__ import annotations

from mutation import NOTHING, Mutant

RESERVE, SETTLE, EXTEND, FREE = "lua/reserve.lua", "lua/settle.lua", "lua/extend.lua", "lua/free.lua"
HOLDS, DUE, SPENDING = "lua/lib/holds.lua", "lua/lib/due.lua", "lua/lib/spending.lua"

REPEATED = "local same = state == outcome and first_settled == used_first and second_settled == used_second"
IN_ITS_PERIOD = (
    "if start_ms == struct.unpack('<d', starts, place * 8 - 7) then used = sum(used, used_amounts[section]) end"
)
GIVEN_BACK = "local start_ms, used, held = without_hold(value, is_held and held_amounts[section] or 0)"
CREDITS_GIVEN_BACK = (
    "local start_ms, used, held = without_hold(value, is_held and struct.unpack('<d', parts, rank * 8 - 7) or 0)"
)
OVERDRAFT = (
    "call('HSET', usage, overdraft, write_counter(0, sum(stored and struct.unpack('<d', stored, 9) or 0, owed), 0))"
)
IS_OPEN = "if record and record[1] == OPEN then"
RIGHTS = "ask_for_rights(call, usage, due, partition_due, ended)"
LATE = "if now_ms > not_after_ms then return { LATE, now_ms } end"
NEXT = "if gone and not (open and tonumber(open) <= tonumber(gone)) then next_ms = gone end"

MUTANTS_OF_HOLDS = (
    Mutant("holds are not held", RESERVE, "held = add(held, amounts[section])", NOTHING, "a hold holds nothing"),
    Mutant(
        "each section holds the units",
        RESERVE,
        "held = add(held, amounts[section])",
        "held = add(held, first_amount)",
        "a budget in credits holds units",
    ),
    Mutant("a known hold is made again", RESERVE, "if known then", "if false then", "a repeat holds as much again"),
    Mutant(
        "another request is the same hold",
        RESERVE,
        "local same = cmsgpack.unpack(known)[4] == fingerprint",
        "local same = true",
        "who asks for more is told that it is held",
    ),
    Mutant(
        "holds are not found when they are due",
        RESERVE,
        "call('ZADD', due, expires_ms, hold)",
        NOTHING,
        "what a killed client held stays held",
    ),
    Mutant(
        "a later hold hides an earlier one",
        RESERVE,
        "if not earliest or expires_ms < struct.unpack('<d', earliest) then",
        "if true then",
        "what is due first is not looked for",
    ),
    Mutant(
        "an earlier hold is hidden by a later one",
        RESERVE,
        "if not earliest or expires_ms < struct.unpack('<d', earliest) then",
        "if not earliest then",
        "what is due first is not looked for",
    ),
    Mutant(
        "no sweep finds the customer",
        RESERVE,
        "call('ZADD', partition_due, 'LT', expires_ms, customer)",
        NOTHING,
        "holds of customers whom nobody calls stay",
    ),
    Mutant(
        "refused and due",
        RESERVE,
        "if holds_are_due(call, usage, now_ms) then return { SWEEP_FIRST, now_ms } end",
        NOTHING,
        "a reservation is refused for what nobody holds any more",
    ),
    Mutant(
        "a hold belongs to the period that was asked for",
        RESERVE,
        "reply[element], starts[#starts + 1] = write_counter(start, used, held), struct.pack('<d', start)",
        "reply[element], starts[#starts + 1] = write_counter(start, used, held), struct.pack('<d', start_ms)",
        "after a clock stepped back, what was used is not counted",
    ),
    Mutant(
        "credits are held in the order of their places",
        SPENDING,
        "local left, value, used, held = wallet.left[place], wallet.counters[place], 0, 0",
        "place = rank; local left, value, used, held = wallet.left[place], wallet.counters[place], 0, 0",
        "what expires soon is left to expire",
    ),
    Mutant(
        "each grant holds the whole",
        SPENDING,
        "left, amount = add(left, -part), add(amount, -part)",
        "left = add(left, -part)",
        "more is held than was asked for",
    ),
    Mutant(
        "nothing is due",
        DUE,
        "return earliest and struct.unpack('<d', earliest) <= now_ms",
        "return false",
        "what a killed client held stays held",
    ),
    Mutant(
        "due one instant late",
        DUE,
        "return earliest and struct.unpack('<d', earliest) <= now_ms",
        "return earliest and struct.unpack('<d', earliest) < now_ms",
        "a hold lasts longer than was said",
    ),
    Mutant(
        "a debt is not told",
        SETTLE,
        "return { DONE, now_ms, record, owed > 0 and 1 or 0 }",
        "return { DONE, now_ms, record, 0 }",
        "grants that could pay expire first",
    ),
    Mutant("settled twice", SETTLE, "if state == SETTLED or state == RELEASED then", "if false then", "it counts"),
    Mutant(
        "another amount is the same end",
        SETTLE,
        REPEATED,
        "local same = state == outcome",
        "who disagrees is not told",
    ),
    Mutant(
        "a release is a settle of nothing",
        SETTLE,
        REPEATED,
        "local same = first_settled == used_first and second_settled == used_second",
        "two who disagree are both told that they are right",
    ),
    Mutant("what was held stays held", SETTLE, GIVEN_BACK, GIVEN_BACK.replace("is_held", "false"), "it leaks"),
    Mutant(
        "an expired hold is taken back again",
        SETTLE,
        GIVEN_BACK,
        GIVEN_BACK.replace("is_held and held_amounts[section] or 0", "held_amounts[section]"),
        "a late settle takes from the holds of others",
    ),
    Mutant(
        "a hold is counted in the period of its end",
        SETTLE,
        IN_ITS_PERIOD,
        "used = sum(used, used_amounts[section])",
        "usage of yesterday is counted today",
    ),
    Mutant("settled and not counted", SETTLE, IN_ITS_PERIOD, NOTHING, "what was used is free"),
    Mutant(
        "credits that were held stay held",
        SETTLE,
        CREDITS_GIVEN_BACK,
        CREDITS_GIVEN_BACK.replace("is_held and ", "false and "),
        "a wallet leaks",
    ),
    Mutant(
        "credits of an expired hold are taken back again",
        SETTLE,
        CREDITS_GIVEN_BACK,
        CREDITS_GIVEN_BACK.replace("is_held and ", ""),
        "a late settle takes from the holds of others",
    ),
    Mutant(
        "a late settle takes what is no longer held",
        SETTLE,
        "local taken = is_held and (part < owed and part or owed) or 0",
        "local taken = part < owed and part or owed",
        "grants are used beyond their amounts",
    ),
    Mutant(
        "what was used beyond the hold is free",
        SETTLE,
        "if owed > 0 then",
        "if false then",
        "a wallet pays at most what was held",
    ),
    Mutant(
        "overdraft is forgotten by a settle",
        SETTLE,
        OVERDRAFT,
        "call('HSET', usage, overdraft, write_counter(0, owed, 0))",
        "what was owed before is never paid",
    ),
    Mutant(
        "a lost counter's credits are free",
        SETTLE,
        "wallet_used = sum(wallet_used, from_parts[rank]) -- its counter was lost: it is owed",
        NOTHING,
        "what was used is never paid",
    ),
    Mutant("ended holds stay due", SETTLE, "call('ZREM', due, hold)", NOTHING, "each sweep finds them again"),
    Mutant(
        "settled records stay",
        SETTLE,
        "call('ZADD', ended, now_ms + KEPT_MS, hold)",
        NOTHING,
        "memory fills with records",
    ),
    Mutant("late settles count", SETTLE, LATE, NOTHING, "a paused server counts what was given up"),
    Mutant(
        "a full Redis 6.2 settles nothing",
        SETTLE,
        RIGHTS,
        NOTHING,
        "a budget stays held, and a missing right half-ends a hold",
    ),
    Mutant("a full Redis 6.2 frees nothing", FREE, RIGHTS, NOTHING, "a missing right half-frees a hold"),
    Mutant("a full Redis 6.2 extends nothing", EXTEND, RIGHTS, NOTHING, "a missing right half-extends a hold"),
    Mutant(
        "what has ended is extended",
        EXTEND,
        "if record[1] ~= OPEN or record[2] <= now_ms then return { CONFLICT, now_ms, known } end",
        "if record[2] <= now_ms and record[1] == OPEN then return { CONFLICT, now_ms, known } end",
        "a settled hold is held again",
    ),
    Mutant(
        "what is due is extended",
        EXTEND,
        "if record[1] ~= OPEN or record[2] <= now_ms then return { CONFLICT, now_ms, known } end",
        "if record[1] ~= OPEN then return { CONFLICT, now_ms, known } end",
        "whether a hold is there depends on who came by",
    ),
    Mutant(
        "extended holds are found too early",
        EXTEND,
        "call('ZADD', due, record[2], hold)",
        NOTHING,
        "every call sweeps for what is not due",
    ),
    Mutant("freed twice", FREE, IS_OPEN, "if record and record[1] ~= SETTLED then", "two sweeps free one hold twice"),
    Mutant(
        "settled holds are freed",
        FREE,
        IS_OPEN,
        "if record and record[1] ~= EXPIRED then",
        "what was settled meanwhile is taken back again",
    ),
    Mutant(
        "open holds are freed",
        FREE,
        "if record and record[1] == OPEN and record[2] > now_ms then",
        "if false then",
        "what was extended meanwhile is not held",
    ),
    Mutant(
        "freed and still held",
        FREE,
        "changed[#changed + 1] = write_counter(without_hold(values[offset], taken[place]))",
        "changed[#changed + 1] = values[offset]",
        "what a killed client held stays held",
    ),
    Mutant(
        "each section frees the units",
        FREE,
        "local amount = amounts[sections[at]]",
        "local amount = amounts[1]",
        "a budget in credits gets back units",
    ),
    Mutant(
        "credits are not freed",
        FREE,
        "parts[rank] = add(parts[rank] or 0, part) or parts[rank]",
        NOTHING,
        "a wallet leaks",
    ),
    Mutant(
        "one of many is freed",
        FREE,
        "for section = 1, 2 do amounts[section] = add(amounts[section], record[4 + section]) or amounts[section] end",
        "amounts[1], amounts[2] = record[5], record[6]",
        "holds of one counter leak",
    ),
    Mutant(
        "one group of many is freed",
        FREE,
        "taken[place] = add(taken[place] or 0, amount) or taken[place]",
        "taken[place] = amount",
        "holds of one counter leak",
    ),
    Mutant(
        "one group's credits of many are freed",
        FREE,
        "taken[place] = add(taken[place] or 0, parts[rank] or 0) or taken[place]",
        "taken[place] = parts[rank] or 0",
        "holds of one grant leak",
    ),
    Mutant(
        "expired records stay",
        FREE,
        "call('ZADD', ended, unpack(ends))",
        NOTHING,
        "memory fills with records",
    ),
    Mutant("records go and their ids stay", FREE, "call('ZREM', ended, unpack(gone))", NOTHING, "memory fills"),
    Mutant(
        "late frees run",
        FREE,
        LATE,
        NOTHING,
        "a paused server frees what its callers gave up",
    ),
    Mutant(
        "records are kept for a minute",
        HOLDS,
        "local KEPT_MS = 86400000 -- how long a record stays after its end, for repeats",
        "local KEPT_MS = 60000",
        "a repeat an hour later is not found",
    ),
    Mutant("only holds are swept", HOLDS, NEXT, NOTHING, "records of customers who end their holds stay for ever"),
    Mutant("a record hides a hold", HOLDS, NEXT, "if gone then next_ms = gone end", "no sweep finds what is due"),
    Mutant(
        "what is held of one counter goes back",
        HOLDS,
        "if not (rest and rest > 0) then rest = 0 end",
        "rest = 0",
        "one who ends a hold ends those of all others",
    ),
)
