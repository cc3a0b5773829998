-- Spending: what a call takes from a wallet, or gives back, worked out before anything is written.
--
-- Every call that writes first pays the overdraft out of the grants. What is used is then taken from them in burn
-- order, and what they have not is overdraft.
-- @include lib/wallet

-- Adds to what was used of a grant. Returns whether the numbers are in range.
local function use(wallet, place, amount)
  local value, used, held = wallet.counters[place], 0, 0
  if value then used = struct.unpack('<d', value, 9) end
  if value and #value == 24 then held = struct.unpack('<d', value, 17) end
  used = add(used, amount)
  local left = add(wallet.left[place], -amount)
  local change = add(wallet.changes[place], amount)
  if not (used and left and change) then return false end
  wallet.left[place], wallet.changes[place] = left, change
  wallet.counters[place] = write_counter(wallet.numbers[place * 2], used, held)
  return true
end

-- Takes an amount from the grants in burn order. Returns what they had not, or nil where a number is out of range.
local function take(wallet, order, amount)
  for rank = 1, #order do
    if not (amount > 0) then break end
    local place = order:byte(rank)
    local left = wallet.left[place]
    if left > 0 then
      local part = left < amount and left or amount
      amount = add(amount, -part)
      if not (amount and use(wallet, place, part)) then return nil end
    end
  end
  return amount
end

-- Gives an amount back: overdraft becomes less, then what was used of the grants, in reverse burn order. What nobody
-- had used is not given, and what is dated before a grant was effective was not used of it. Returns whether the numbers
-- are in range.
local function give_back(wallet, order, amount, dated_ms)
  local owed = wallet.overdraft < amount and wallet.overdraft or amount
  wallet.overdraft, amount = add(wallet.overdraft, -owed), add(amount, -owed)
  for rank = #order, 1, -1 do
    if not (wallet.overdraft and amount and amount > 0) then break end
    local place = order:byte(rank)
    local value, used = wallet.counters[place], 0
    if value then used = struct.unpack('<d', value, 9) end
    if used > 0 and not (dated_ms < wallet.numbers[place * 2]) then
      local part = used < amount and used or amount
      amount = add(amount, -part)
      if not use(wallet, place, -part) then return false end
    end
  end
  return wallet.overdraft and amount and true or false
end

-- Pays the overdraft, then uses an amount, or gives it back where it is negative. Returns whether all numbers are in
-- range; nothing is written.
local function spend(wallet, order, amount, dated_ms)
  if not wallet.balance then return false end
  wallet.overdraft = take(wallet, order, wallet.overdraft)
  if not wallet.overdraft then return false end
  if amount < 0 then return give_back(wallet, order, -amount, dated_ms) end
  local rest = take(wallet, order, amount)
  wallet.overdraft = rest and add(wallet.overdraft, rest)
  return wallet.overdraft ~= nil and wallet.overdraft <= WHOLE_MAX
end

-- Holds an amount of what the grants have left, in burn order. Returns what is held of each, by rank, and whether all
-- numbers are in range. What they have not (the wallet is soft) is not held.
local function hold_credits(wallet, order, amount)
  local parts = {}
  for rank = 1, #order do
    local place = order:byte(rank)
    local left, value, used, held = wallet.left[place], wallet.counters[place], 0, 0
    local part = left > 0 and (left < amount and left or amount) or 0
    if value then used = struct.unpack('<d', value, 9) end
    if value and #value == 24 then held = struct.unpack('<d', value, 17) end
    parts[rank] = part
    if part > 0 then
      local more = add(held, part)
      left, amount = add(left, -part), add(amount, -part)
      if not (more and left and amount) then return parts, false end
      wallet.counters[place] = write_counter(wallet.numbers[place * 2], used, more)
      wallet.left[place], wallet.is_held[place] = left, true
    end
  end
  return parts, true
end

-- Writes what `spend` and `hold_credits` changed.
local function write_wallet(call, keys, argv, wallet, layout, overdraft_field, fields)
  if wallet.overdraft ~= wallet.owed then
    call('HSET', keys[2], overdraft_field, write_counter(0, wallet.overdraft, 0))
  end
  local place, changes = 0, wallet.changes
  for index = 1, #layout do
    local changed
    for _ = 1, layout:byte(index) do
      place = place + 1
      if changes[place] ~= 0 or wallet.is_held[place] then
        changed = changed or {}
        changed[#changed + 1] = argv[fields + place - 1]
        changed[#changed + 1] = wallet.counters[place]
      end
    end
    if changed then call('HSET', keys[index + 2], unpack(changed)) end
  end
end
