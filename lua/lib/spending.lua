-- Spending: what a call takes from a wallet, or gives back, worked out before anything is written.
--
-- Every call that writes first pays the overdraft out of the grants. What is used is then taken from them in burn order,
-- and what they have not is overdraft.
-- @include lib/wallet

-- Adds to what was used of a grant. Returns whether the numbers are in range.
local function use(wallet, place, amount)
  local used = add(wallet.used[place], amount)
  local left = add(wallet.left[place], -amount)
  local change = add(wallet.changes[place], amount)
  if not (used and left and change) then return false end
  wallet.used[place], wallet.left[place], wallet.changes[place] = used, left, change
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
-- had used is not given. Returns whether the numbers are in range.
local function give_back(wallet, order, amount)
  local owed = wallet.overdraft < amount and wallet.overdraft or amount
  wallet.overdraft, amount = add(wallet.overdraft, -owed), add(amount, -owed)
  for rank = #order, 1, -1 do
    if not (wallet.overdraft and amount and amount > 0) then break end
    local place = order:byte(rank)
    local used = wallet.used[place]
    if used > 0 then
      local part = used < amount and used or amount
      amount = add(amount, -part)
      if not use(wallet, place, -part) then return false end
    end
  end
  return wallet.overdraft and amount and true or false
end

-- Pays the overdraft, then uses an amount, or gives it back where it is negative. Returns whether all numbers are in
-- range; nothing is written.
local function spend(wallet, order, amount)
  if not wallet.balance then return false end
  wallet.overdraft = take(wallet, order, wallet.overdraft)
  if not wallet.overdraft then return false end
  if amount < 0 then return give_back(wallet, order, -amount) end
  local rest = take(wallet, order, amount)
  wallet.overdraft = rest and add(wallet.overdraft, rest)
  return wallet.overdraft ~= nil and wallet.overdraft <= WHOLE_MAX
end

-- Writes what `spend` changed, and what else was touched.
local function write_wallet(call, keys, argv, wallet, layout, overdraft_field, fields)
  if wallet.overdraft ~= wallet.owed then
    call('HSET', keys[2], overdraft_field, write_counter(0, wallet.overdraft, 0))
  end
  local place = 0
  for index = 1, #layout do
    local changed = {}
    for _ = 1, layout:byte(index) do
      place = place + 1
      if wallet.changes[place] ~= 0 or wallet.touched[place] then
        changed[#changed + 1] = argv[fields + place - 1]
        changed[#changed + 1] = write_counter(wallet.starts[place], wallet.used[place], wallet.held[place])
      end
    end
    if changed[1] then call('HSET', keys[index + 2], unpack(changed)) end
  end
end
