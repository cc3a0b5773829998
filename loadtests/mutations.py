"""The list of mutants: one line of the Lua each, what to put in its place, and what would go wrong with it."""

from __future__ import annotations

from mutation import NOTHING, Mutant
from mutations_of_holds import MUTANTS_OF_HOLDS
from mutations_of_keys import MUTANTS_OF_KEYS

GUARD, DECISION, CARE = "lua/lib/guard.lua", "lua/lib/decision.lua", "lua/lib/with_care.lua"
COUNTERS, AMOUNTS, CONSUME, TALLY = (
    "lua/lib/counters.lua",
    "lua/lib/amounts.lua",
    "lua/consume.lua",
    "lua/lib/tally.lua",
)
WALLET, SPENDING, CREDITS = "lua/lib/wallet.lua", "lua/lib/spending.lua", "lua/consume_credits.lua"
CONFIGURE, RAISE, CATALOG = "lua/configure.lua", "lua/raise_partition.lua", "lua/write_catalog.lua"

STAMP = "if catalog_token ~= argv[1] or (values[1] or '') ~= argv[2] then return STALE, now_ms end"
WINDOW = "if now_ms < from_ms or now_ms >= until_ms then return MOVED_ON, now_ms end"
ROLL = "if start < start_ms then return start_ms, 0, held, 0 end"
WILD = "if start > now_ms + length_ms then return start_ms, used, held, 1 end"
SATISFIED = "elseif not (total <= limit) then"
CONFIGURED = (
    "if current ~= catalog_token or (call('HGET', usage, '@v') or '') ~= version then return { STALE, now_ms } end"
)
VERSION_WRITTEN = "call('HSET', usage, '@v', new_version, '@n', next_number)"
NEWER = "if current_high > high or (current_high == high and current_low >= low) then return { STALE, current } end"
STEPS = "local sum = (math.floor(a * 100000 + 0.5) + math.floor(b * 100000 + 0.5)) / 100000"

MUTANTS = (
    Mutant("no stamp", GUARD, STAMP, NOTHING, "a changed limit is served until somebody says so"),
    Mutant(
        "stamp without version",
        GUARD,
        STAMP,
        "if catalog_token ~= argv[1] then return STALE, now_ms end",
        "a customer who was erased and made again keeps the limit of the first life",
    ),
    Mutant(
        "stamp without catalog",
        GUARD,
        STAMP,
        "if (values[1] or '') ~= argv[2] then return STALE, now_ms end",
        "instances decide by different catalogs",
    ),
    Mutant(
        "window without end",
        GUARD,
        WINDOW,
        "if now_ms < from_ms then return MOVED_ON, now_ms end",
        "usage of today is counted in yesterday's period",
    ),
    Mutant(
        "window without start",
        GUARD,
        WINDOW,
        "if now_ms >= until_ms then return MOVED_ON, now_ms end",
        "a client whose clock is an hour fast opens the next hour's budget",
    ),
    Mutant(
        "window with its end inside",
        GUARD,
        WINDOW,
        "if now_ms < from_ms or now_ms > until_ms then return MOVED_ON, now_ms end",
        "the first millisecond of a period belongs to the one before",
    ),
    Mutant(
        "late calls run",
        GUARD,
        "if now_ms > not_after_ms then return LATE, now_ms end",
        NOTHING,
        "a paused server counts what its callers gave up",
    ),
    Mutant(
        "any clock",
        GUARD,
        "if catalog_token:byte(-1) ~= CLOCK then return OTHER_CLOCK, now_ms end",
        NOTHING,
        "a client that brings its own time decides in an environment of the server's clock",
    ),
    Mutant("limit is out of reach", DECISION, SATISFIED, "elseif not (total < limit) then", "the last unit is refused"),
    Mutant(
        "not a number fits", DECISION, SATISFIED, "elseif total > limit then", "a damaged counter grants everything"
    ),
    Mutant(
        "last constraints only watch",
        DECISION,
        "satisfied = false",
        "satisfied = index == #counts and satisfied",
        "the budgets in the last hash do not refuse",
    ),
    Mutant(
        "last constraint is skipped",
        DECISION,
        "for place = skip + 1, skip + count do",
        "for place = skip + 1, skip + count - (index == #counts and index > 1 and 1 or 0) do",
        "one budget is neither asked nor counted",
    ),
    Mutant(
        "sums out of range are written",
        DECISION,
        "elseif total > whole_max then",
        "elseif false then",
        "a counter beyond 2^53 loses units",
    ),
    Mutant(
        "held is not decided over",
        CARE,
        "if sum and held ~= 0 then total = add(sum, held) end",
        NOTHING,
        "what is held is given away a second time",
    ),
    Mutant(
        "period goes back",
        COUNTERS,
        ROLL,
        "if start ~= start_ms then return start_ms, 0, held, 0 end",
        "a clock that steps back gives every budget twice",
    ),
    Mutant(
        "roll drops held", COUNTERS, ROLL, "if start < start_ms then return start_ms, 0, 0, 0 end", "a hold is lost"
    ),
    Mutant(
        "roll keeps used",
        COUNTERS,
        ROLL,
        "if start < start_ms then return start_ms, used, held, 0 end",
        "a budget is never given again",
    ),
    Mutant("wild starts stay", COUNTERS, WILD, NOTHING, "a counter of a wild clock stays in the far future for years"),
    Mutant(
        "wild starts forget",
        COUNTERS,
        WILD,
        "if start > now_ms + length_ms then return start_ms, 0, held, 1 end",
        "a wild clock gives a budget twice",
    ),
    Mutant(
        "fractions are rounded after adding",
        AMOUNTS,
        STEPS,
        "local sum = math.floor((a + b) * 100000 + 0.5) / 100000",
        "4 % of the sums near 2^34 are wrong",
    ),
    Mutant(
        "whole numbers are rounded",
        AMOUNTS,
        "if a % 1 == 0 and b % 1 == 0 then return a + b end",
        NOTHING,
        "whole numbers end at 2^35 instead of 2^53",
    ),
    Mutant(
        "fractions without end",
        AMOUNTS,
        "if sum >= FRACTION_BELOW or sum <= -FRACTION_BELOW then return nil end",
        NOTHING,
        "a sum of fractions leaves the range in which it is exact",
    ),
    Mutant(
        "refused and counted",
        CONSUME,
        "if not satisfied then",
        "if not satisfied then call('HSET', KEYS[2], ARGV[fields], reply[3])",
        "a refusal uses up the account",
    ),
    Mutant(
        "one of two is written",
        CONSUME,
        "call('HSET', key, ARGV[field], reply[element], ARGV[field + 1], reply[element + 1])",
        "call('HSET', key, ARGV[field], reply[element])",
        "a budget is asked and not counted",
    ),
    Mutant(
        "corrections go below 0",
        TALLY,
        "if amount < 0 and -amount >= used then return 0, add(0, -used) end",
        NOTHING,
        "a correction gives away more than was used",
    ),
    Mutant(
        "set counts all on entities",
        TALLY,
        "amounts[section] = change",
        NOTHING,
        "the entities count what the account had already",
    ),
    Mutant(
        "old corrections count today",
        TALLY,
        "if amount < 0 and dated_ms < start_ms then return used, 0 end",
        NOTHING,
        "a correction of yesterday gives 500 extra today",
    ),
    Mutant(
        "reports out of range are written",
        TALLY,
        "if not (after and change and after <= WHOLE_MAX and change == change) then return nil end",
        "if not (after and change) then return nil end",
        "a counter beyond 2^53 loses units",
    ),
    Mutant(
        "changes do not name a version",
        CONFIGURE,
        CONFIGURED,
        "if current ~= catalog_token then return { STALE, now_ms } end",
        "two valid changes make a cycle",
    ),
    Mutant(
        "changes do not name a catalog",
        CONFIGURE,
        CONFIGURED,
        "if (call('HGET', usage, '@v') or '') ~= version then return { STALE, now_ms } end",
        "a budget is written for what the catalog no longer has",
    ),
    Mutant(
        "late changes are written",
        CONFIGURE,
        "if now_ms > not_after_ms then return { LATE, now_ms } end",
        NOTHING,
        "a change that was given up comes about",
    ),
    Mutant(
        "told after the first write",
        CONFIGURE,
        "call('PUBLISH', channel, message)",
        "call('HSET', usage, '@v', new_version) call('PUBLISH', channel, message)",
        "an ACL that refuses the channel leaves half a change behind",
    ),
    Mutant(
        "numbers are given twice",
        CONFIGURE,
        VERSION_WRITTEN,
        "call('HSET', usage, '@v', new_version)",
        "two budgets share a counter",
    ),
    Mutant(
        "the version stays", CONFIGURE, VERSION_WRITTEN, "call('HSET', usage, '@n', next_number)", "no call is stale"
    ),
    Mutant("partitions are lowered", RAISE, NEWER, NOTHING, "two clients move a partition to and fro"),
    Mutant(
        "partitions compare low bytes",
        RAISE,
        NEWER,
        "if current_low >= low then return { STALE, current } end",
        "once in 49 days no catalog can be written",
    ),
    Mutant(
        "lost partitions come back empty",
        RAISE,
        "if not current and blank ~= '1' then return { BLANK } end",
        NOTHING,
        "a lost customer is a clean 'not found'",
    ),
    Mutant(
        "catalogs overwrite each other",
        CATALOG,
        "if current ~= token then return { STALE, current } end",
        NOTHING,
        "a catalog that was made from another one wins",
    ),
    Mutant(
        "catalogs go by the clock",
        CATALOG,
        "number = math.max(number, high * 4294967296 + low + 1)",
        NOTHING,
        "after a clock stepped back, no partition takes the new catalog",
    ),
    Mutant(
        "ancestors are not loaded",
        "lua/load.lua",
        "level = parents",
        "level = {}",
        "the budgets of the organisation do not decide",
    ),
    Mutant(
        "an empty wallet pays",
        WALLET,
        "return wallet.is_soft and wallet.balance == wallet.balance or amount <= wallet.balance",
        "return true",
        "credits are spent that nobody has",
    ),
    Mutant(
        "the last credit is refused",
        WALLET,
        "return wallet.is_soft and wallet.balance == wallet.balance or amount <= wallet.balance",
        "return wallet.is_soft or amount < wallet.balance",
        "a wallet cannot be used up",
    ),
    Mutant(
        "soft wallets refuse",
        WALLET,
        "return wallet.is_soft and wallet.balance == wallet.balance or amount <= wallet.balance",
        "return amount <= wallet.balance",
        "a soft limit stops a customer",
    ),
    Mutant(
        "overdraft is forgotten",
        WALLET,
        "if stored then overdraft = unpack_bytes('<d', stored, 9) end",
        NOTHING,
        "what is owed is never paid",
    ),
    Mutant(
        "held credits are spent",
        WALLET,
        "local left = rest and add(rest, -held)",
        "local left = rest",
        "a hold is no hold",
    ),
    Mutant(
        "what is held of whole credits is spent",
        WALLET,
        "if used % 1 == 0 and amount % 1 == 0 and balance % 1 == 0 and not (value and #value == 24) then",
        "if used % 1 == 0 and amount % 1 == 0 and balance % 1 == 0 then",
        "a hold is no hold",
    ),
    Mutant(
        "wallets beyond the exact range decide",
        WALLET,
        "if not in_range or balance > WHOLE_MAX then balance = nil end",
        "if not in_range then balance = nil end",
        "a balance that no number holds grants",
    ),
    Mutant(
        "grants of the second bucket count as the first",
        WALLET,
        "local field = fields + place",
        "local field = fields",
        "a counter is read in the place of another",
    ),
    Mutant(
        "overdraft is not paid first",
        SPENDING,
        "wallet.overdraft = take(wallet, order, wallet.overdraft)",
        "wallet.overdraft = wallet.overdraft + 0",
        "a new grant is spent while something is owed",
    ),
    Mutant(
        "grants are burnt in the order of their places",
        SPENDING,
        "local left = wallet.left[place]",
        "place = rank; local left = wallet.left[place]",
        "what expires soon is left to expire",
    ),
    Mutant(
        "a grant is taken twice",
        SPENDING,
        "if not (amount and use(wallet, place, part)) then return nil end",
        "if not (amount and use(wallet, place, part)) then return nil end amount = amount + part",
        "each grant pays the whole",
    ),
    Mutant(
        "what the grants have not is free",
        SPENDING,
        "wallet.overdraft = rest and add(wallet.overdraft, rest)",
        NOTHING,
        "usage beyond the balance is never paid",
    ),
    Mutant(
        "credits go back in burn order",
        SPENDING,
        "for rank = #order, 1, -1 do",
        "for rank = 1, #order do",
        "credits come back to what expires first",
    ),
    Mutant(
        "more goes back than was used",
        SPENDING,
        "local part = used < amount and used or amount",
        "local part = amount",
        "a correction makes credits",
    ),
    Mutant(
        "what is given back leaves overdraft",
        SPENDING,
        "local owed = wallet.overdraft < amount and wallet.overdraft or amount",
        "local owed = 0",
        "credits are handed out while something is owed",
    ),
    Mutant(
        "overdraft is not written",
        SPENDING,
        "if wallet.overdraft ~= wallet.owed then",
        "if false then",
        "usage beyond the balance is forgotten",
    ),
    Mutant(
        "the hold of a grant is dropped",
        SPENDING,
        "wallet.counters[place] = write_counter(wallet.numbers[place * 2], used, held)",
        "wallet.counters[place] = write_counter(wallet.numbers[place * 2], used, 0)",
        "a settle takes from nothing",
    ),
    Mutant(
        "the wallet decides alone",
        CREDITS,
        "if wallet.balance and not (satisfied and has(wallet, amount)) then",
        "if wallet.balance and not has(wallet, amount) then",
        "a budget in credits never refuses",
    ),
    Mutant(
        "the wallet does not decide",
        CREDITS,
        "if wallet.balance and not (satisfied and has(wallet, amount)) then",
        "if wallet.balance and not satisfied then",
        "an empty wallet pays",
    ),
    Mutant(
        "the wallet pays the units",
        CREDITS,
        "local amount = wallet.section == 1 and first_amount or wallet.section == 2 and second_amount or 0",
        "local amount = wallet.section == 0 and 0 or first_amount",
        "the rate is left out",
    ),
    Mutant(
        "budgets are asked and not counted",
        CREDITS,
        "count_all(call, keys, ARGV, counts, fields, reply)",
        NOTHING,
        "only the wallet counts",
    ),
    *MUTANTS_OF_HOLDS,
    *MUTANTS_OF_KEYS,
)
