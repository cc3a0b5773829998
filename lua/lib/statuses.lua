-- What the first element of a reply says. One list for all scripts: a number means the same thing everywhere.

local STALE = 0
local GRANTED = 1
local REFUSED = 2
local MOVED_ON = 3
local SWEEP_FIRST = 4
local LATE = 5
local BLANK = 6
local OTHER_CLOCK = 7
local DONE = 8
local REPEATED = 9
local CONFLICT = 10
local ABSENT = 11
local OTHER_GENERATION = 12
