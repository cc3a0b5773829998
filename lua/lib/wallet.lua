-- Wallets: the live grants of a currency in burn order, then overdraft, which is what was used beyond them.
--
-- A wallet has what its grants have left, less the overdraft. A grant's counter counts for as long as the grant is
-- there: it has no periods.
--
-- Most grants of a wallet are only looked at: their counters stay the bytes that were read, and whole numbers are added
-- without a call of ours. For fifty grants, that and one `unpack` for all amounts save a third of the script.
-- @include lib/amounts
-- @include lib/counters

-- What is left of a grant by all the rules (nil: out of range), and its counter: something may be held, and numbers may
-- be fractions.
local function left_with_care(amount, start_ms, used, value)
  local held = 0
  if value and #value == 24 then held = struct.unpack('<d', value, 17) end
  local rest = add(amount, -used)
  local left = rest and add(rest, -held)
  if left and left < 0 then left = 0 end
  return left, write_counter(start_ms, used, held)
end

-- Reads a wallet; its `balance` is nil where a number is out of range.
--   grants     section and softness (bytes), then of each grant: amount, effective instant (doubles), by place
--   layout     bytes: how many grants have their counters in each of the keys from the third on
--   fields     the place of the first grant's field in `argv`
local function read_wallet(call, keys, argv, grants, layout, overdraft_field, fields)
  local unpack_bytes, section, soft = struct.unpack, grants:byte(1, 2)
  -- All in one: a call for each grant would cost more than the table.
  local numbers = { unpack_bytes('<' .. ('d'):rep((#grants - 2) / 8), grants, 3) }
  local stored, overdraft = call('HGET', keys[2], overdraft_field), 0
  if stored then overdraft = unpack_bytes('<d', stored, 9) end

  local counters, lefts, changes, place, balance, in_range = {}, {}, {}, 0, 0, true
  for index = 1, #layout do
    local count = layout:byte(index)
    local field = fields + place
    local values = count > 0 and call('HMGET', keys[index + 2], unpack(argv, field, field + count - 1))
    for offset = 1, count do
      place = place + 1
      local value, amount, used, left = values[offset], numbers[place * 2 - 1], 0
      if value then used = unpack_bytes('<d', value, 9) end
      if used % 1 == 0 and amount % 1 == 0 and balance % 1 == 0 and not (value and #value == 24) then
        left = amount - used
        if left < 0 then left = 0 end -- more was used than is said of it now: that was there, and is nobody's debt
        balance = balance + left
      else
        left, value = left_with_care(amount, numbers[place * 2], used, value)
        local sum = left and add(balance, left)
        balance, in_range = sum or balance, in_range and sum ~= nil
      end
      counters[place], lefts[place], changes[place] = value, left, 0
    end
  end
  -- NaN is none of both, and refuses.
  if not in_range or balance > WHOLE_MAX then balance = nil end
  balance = balance and add(balance, -overdraft)
  if balance and balance < -WHOLE_MAX then balance = nil end
  return {
    section = section, is_soft = soft == 1, numbers = numbers, counters = counters, left = lefts, changes = changes,
    overdraft = overdraft, owed = overdraft, balance = balance, is_held = {},
  }
end

-- Whether a wallet has an amount. Phrased so that NaN refuses.
local function has(wallet, amount)
  return wallet.is_soft and wallet.balance == wallet.balance or amount <= wallet.balance
end

-- Puts into `reply`: what the call took from overdraft's and each grant's side (doubles), then their counters.
local function tell_wallet(reply, wallet)
  local unused = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
  local counters, changes, element = wallet.counters, wallet.changes, #reply + 2
  local of_overdraft = add(wallet.overdraft, -wallet.owed) or 0
  reply[element - 1] = struct.pack('<d' .. ('d'):rep(#changes), of_overdraft, unpack(changes))
  reply[element] = write_counter(0, wallet.overdraft, 0)
  for place = 1, #changes do reply[element + place] = counters[place] or unused end
  return reply
end
