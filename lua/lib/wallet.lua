-- Wallets: the live grants of a currency in burn order, then overdraft, which is what was used beyond them.
--
-- A wallet has what its grants have left, less the overdraft. A grant's counter counts for as long as the grant is
-- there: it has no periods.
-- @include lib/amounts
-- @include lib/counters

-- Reads a wallet; its `balance` is nil where a number is out of range.
--   grants     section and softness (bytes), then of each grant: amount, effective instant (doubles), by place
--   layout     bytes: how many grants have their counters in each of the keys from the third on
--   fields     the place of the first grant's field in `argv`
local function read_wallet(call, keys, argv, grants, layout, overdraft_field, fields)
  local wallet = { amounts = {}, starts = {}, used = {}, held = {}, left = {}, changes = {}, touched = {}, overdraft = 0 }
  local section, soft, position = struct.unpack('BB', grants)
  wallet.section, wallet.is_soft = section, soft == 1
  local stored = call('HGET', keys[2], overdraft_field)
  if stored then wallet.overdraft = struct.unpack('<d', stored, 9) end
  wallet.owed = wallet.overdraft

  local field, place, balance = fields, 0, 0
  for index = 1, #layout do
    local count = layout:byte(index)
    local values = count > 0 and call('HMGET', keys[index + 2], unpack(argv, field, field + count - 1))
    for offset = 1, count do
      place = place + 1
      local amount, start_ms
      amount, start_ms, position = struct.unpack('<dd', grants, position)
      local value, used, held = values[offset], 0, 0
      if value then used = struct.unpack('<d', value, 9) end
      if value and #value == 24 then held = struct.unpack('<d', value, 17) end
      local rest = add(amount, -used)
      local left = rest and add(rest, -held)
      balance = balance and left and add(balance, left)
      wallet.amounts[place], wallet.starts[place], wallet.used[place] = amount, start_ms, used
      wallet.held[place], wallet.left[place], wallet.changes[place] = held, left, 0
    end
    field = field + count
  end
  -- NaN is none of both, and refuses.
  if balance and balance > WHOLE_MAX then balance = nil end
  balance = balance and add(balance, -wallet.overdraft)
  if balance and balance < -WHOLE_MAX then balance = nil end
  wallet.balance = balance
  return wallet
end

-- Whether a wallet has an amount. Phrased so that NaN refuses.
local function has(wallet, amount)
  return wallet.is_soft or amount <= wallet.balance
end

-- Puts into `reply`: what the call took from overdraft's and each grant's side (doubles), then their counters.
local function tell_wallet(reply, wallet)
  local changes = { struct.pack('<d', add(wallet.overdraft, -wallet.owed) or 0) }
  for place = 1, #wallet.changes do changes[place + 1] = struct.pack('<d', wallet.changes[place]) end
  reply[#reply + 1] = table.concat(changes)
  reply[#reply + 1] = write_counter(0, wallet.overdraft, 0)
  for place = 1, #wallet.changes do
    reply[#reply + 1] = write_counter(wallet.starts[place], wallet.used[place], wallet.held[place])
  end
  return reply
end
