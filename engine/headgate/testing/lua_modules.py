"""`struct` and `cmsgpack` as Redis gives them to its scripts, in Lua 5.1: what a fake server's Lua goes without.

Both take and give the same bytes, the same numbers and as many results as the C libraries of Redis 6.2 and 7.0
(lua_struct 0.2, lua-cmsgpack 0.4.0); a test holds them against these servers. What differs, and no script does:

- a whole number that 64 bits do not hold, and a signed format of more than 8 bytes, are undefined in C: errors here;
- a NaN keeps its sign (where the C library prints it), and nothing else that its bytes may have carried;
- the messages of errors are our own.

`INSTALL` is one chunk of Lua. Run once in an interpreter, it makes `require('struct')` and `require('cmsgpack')` work
there, and leaves no global behind; `PRELUDE`, put in front of a script, gives that script the two names.
"""

from __future__ import annotations

from typing import Final

from headgate.testing.lua_cmsgpack import CMSGPACK
from headgate.testing.lua_struct import STRUCT

INSTALL: Final = f"""
if _VERSION ~= 'Lua 5.1' then error('Redis has Lua 5.1, and this is ' .. _VERSION, 0) end
local struct = (function()
{STRUCT}
return struct
end)()
local cmsgpack = (function()
{CMSGPACK}
return cmsgpack
end)()
package.loaded.struct, package.loaded.cmsgpack = struct, cmsgpack
"""

PRELUDE: Final = "local struct, cmsgpack = require('struct'), require('cmsgpack') "
"""Stands on a script's first line, in front of its comment: line numbers stay what they are."""
