"""The test build of the scripts: each runs behind a small `redis` that refuses every key that was not declared.

A cluster of one node refuses other slots only, and Redis 6.2 nothing at all; a key of the same partition that a script
does not declare would break first when its slot is moved. Commands that this table does not know are refused, too.
"""

from __future__ import annotations

from headgate.client.sync_transport import RedisTransport
from headgate.client.urls import read_url
from headgate.scripts import Clock, ScriptSet, load_scripts

UNDECLARED = "UNDECLARED"

GUARD = """\
local redis = (function(real)
  local declared = {}
  for _, key in ipairs(KEYS) do declared[key] = true end
  local keys_of = { TIME = 'none', PUBLISH = 'none', EXISTS = 'all', DEL = 'all', UNLINK = 'all' }
  local one_key = 'GET SET HGET HMGET HSET HDEL HGETALL HSCAN HEXISTS HLEN ZADD ZREM ZRANGE ZRANGEBYSCORE PEXPIREAT'
  for command in one_key:gmatch('%u+') do keys_of[command] = 'first' end
  local function call(command, ...)
    local which, arguments = keys_of[command], { ... }
    if not which then error('UNDECLARED command ' .. tostring(command)) end
    local last = which == 'none' and 0 or which == 'first' and 1 or #arguments
    for index = 1, last do
      if not declared[arguments[index]] then error('UNDECLARED key ' .. tostring(arguments[index])) end
    end
    return real.call(command, ...)
  end
  return { call = call, error_reply = real.error_reply }
end)(redis)
"""


def load_guarded(*, clock: Clock = "server", server_supports_flags: bool = False) -> ScriptSet:
    """Load every script behind the guard."""
    return load_scripts(clock=clock, server_supports_flags=server_supports_flags, prelude=GUARD)


def guarded_transport(url: str, *, clock: Clock = "server", server_supports_flags: bool = False) -> RedisTransport:
    """Make a transport that sends the guarded build; close it."""
    transport = RedisTransport(read_url(url), clock=clock, connections_max=4, connect_timeout_ms=30_000)
    transport._scripts = load_guarded(clock=clock, server_supports_flags=server_supports_flags)
    return transport
