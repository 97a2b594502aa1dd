//! What Redis must do in one step.

use redis::Script;

/// `KEYS[1]` is the roster, `ARGV` the revision that must be there (empty: none), the next roster and the channel. Where
/// telling is forbidden, the change holds all the same: nodes poll.
const REPLACE: &str = r"
local found = redis.call('GET', KEYS[1])
if ARGV[1] == '' then
  if found then return 0 end
else
  if not found then return 0 end
  local is_json, roster = pcall(cjson.decode, found)
  if not is_json or type(roster) ~= 'table' or type(roster.revision) ~= 'number' then return 0 end
  if string.format('%.0f', roster.revision) ~= ARGV[1] then return 0 end
end
redis.call('SET', KEYS[1], ARGV[2])
redis.pcall('PUBLISH', ARGV[3], '')
return 1
";

/// `KEYS[1]` is the lease, `ARGV` the life and how long it has, in ms. Lives are compared as text, for Lua's numbers have 53
/// bits. What is no life at all makes way.
const RENEW: &str = r"
local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'string' and #holder <= 20 and string.match(holder, '^%d+$') then
  if #holder > #ARGV[1] or (#holder == #ARGV[1] and holder > ARGV[1]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
";

/// `KEYS[1]` is the lease, `ARGV[1]` the life.
const RELEASE: &str = r"
if redis.pcall('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
";

/// The scripts, each hashed once.
pub(super) struct Scripts {
    pub(super) replace: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self { replace: Script::new(REPLACE), renew: Script::new(RENEW), release: Script::new(RELEASE) }
    }
}
