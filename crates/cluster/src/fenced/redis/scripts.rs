//! What Redis must do in one step. Each script looks first and writes last, so that an error writes nothing.
//!
//! Numbers stay below 2^53, where Lua's are exact: they follow the milliseconds since 1970.

use redis::Script;

/// Milliseconds since the Unix epoch, and a number as Redis keeps it.
const COMMON: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
";

/// `KEYS` are the lease and its token; `ARGV` the holder and the term. Ends the script with `refused` unless they match.
const FENCE: &str = r"
local function is_fenced_out()
  return redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2]
end
";

/// `KEYS`: lease, token. `ARGV`: who asks, the highest token that it knows, how long, in ms.
const ACQUIRE: &str = r"
local holder = redis.call('GET', KEYS[1])
local stored = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
if holder and holder ~= ARGV[1] then
  return {0, math.max(redis.call('PTTL', KEYS[1]), 0)}
end
local token = math.max(stored + 1, tonumber(ARGV[2]) + 1, now)
if holder then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[3])
end
redis.call('SET', KEYS[2], text(token))
return {1, token}
";

/// `ARGV[3]`: how long, in ms.
const RENEW: &str = r"
if is_fenced_out() then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
";

/// `KEYS`: lease. `ARGV`: the holder.
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
";

/// `KEYS[3]`, `[4]`: where the data is put aside, and where that of the attempt before was. `ARGV[3]` on: a piece of it, how many
/// bytes stand before it, how long it stays aside, in ms. 2: something else stands before it.
const STAGE: &str = r"
if is_fenced_out() then return 0 end
if redis.call('STRLEN', KEYS[3]) ~= tonumber(ARGV[4]) then return 2 end
redis.call('UNLINK', KEYS[4])
redis.call('APPEND', KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
return 1
";

/// `KEYS[3]` to `[5]`: head, data, and where data was put aside. `ARGV[3]` on: the data, or what follows what was put aside; note,
/// TTL in ms, the revision to be above, channel, dataset, how many bytes were put aside. Where telling is forbidden the
/// publication holds all the same: followers ask besides. 2: what was put aside is not there.
const PUBLISH: &str = r"
if is_fenced_out() then return {0, 0, 0} end
local aside = tonumber(ARGV[9])
if redis.call('STRLEN', KEYS[5]) ~= aside then return {2, 0, 0} end
local head = redis.call('HMGET', KEYS[3], 'revision', 'floor')
local below = math.max(tonumber(head[1] or '0') or 0, tonumber(head[2] or '0') or 0, tonumber(ARGV[6]))
local revision = math.max(below + 1, now)
if aside > 0 then
  redis.call('APPEND', KEYS[5], ARGV[3])
  redis.call('PEXPIRE', KEYS[5], ARGV[5])
  redis.call('RENAME', KEYS[5], KEYS[4])
else
  redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[5])
end
redis.call('HSET', KEYS[3], 'revision', text(revision), 'token', ARGV[2], 'floor', text(revision),
  'updated_ms', text(now), 'checked_ms', text(now), 'note', ARGV[4])
redis.pcall('PUBLISH', ARGV[7], ARGV[8] .. '_updated:' .. text(revision) .. ':' .. time[1])
return {1, revision, now}
";

/// `KEYS[3]`, `[4]`: head and data. `ARGV[3]` on: the revision, TTL in ms. 1: done; 2: there is something else, or less.
const CONFIRM: &str = r"
if is_fenced_out() then return 0 end
local head = redis.call('HMGET', KEYS[3], 'revision', 'floor')
if head[1] ~= ARGV[3] or redis.call('EXISTS', KEYS[4]) == 0 then return 2 end
if (tonumber(head[2] or '0') or 0) > tonumber(ARGV[3]) then return 2 end
redis.call('PEXPIRE', KEYS[4], ARGV[4])
redis.call('HSET', KEYS[3], 'checked_ms', text(now))
return 1
";

/// `KEYS[3]`: head. `ARGV[3]`: the revision.
const MARK_CACHED: &str = r"
if is_fenced_out() then return 0 end
redis.call('HSET', KEYS[3], 'cached', ARGV[3])
return 1
";

/// `KEYS`: head, data. `ARGV`: the revision that the caller has, and its term. Where it is newer, or the same of another term,
/// that is kept as the floor.
const HEAD: &str = r"
local head = redis.call('HMGET', KEYS[1],
  'revision', 'token', 'floor', 'updated_ms', 'checked_ms', 'cached', 'note')
for at = 1, 7 do head[at] = head[at] or '' end
local revision = tonumber(head[1]) or 0
local floor = tonumber(head[3]) or 0
local known = tonumber(ARGV[1])
local told = 0
if known > revision then told = known
elseif known > 0 and known == revision and head[2] ~= ARGV[2] then told = known + 1 end
local bytes = redis.call('STRLEN', KEYS[2])
if told > floor then
  head[3] = text(told)
  redis.call('HSET', KEYS[1], 'floor', head[3])
end
return {text(now), text(bytes), head[1], head[2], head[3], head[4], head[5], head[6], head[7]}
";

/// `KEYS`: head, data. `ARGV`: the revision, the first and the last byte.
const READ: &str = r"
if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[1] then return false end
if redis.call('EXISTS', KEYS[2]) == 0 then return false end
return redis.call('GETRANGE', KEYS[2], ARGV[2], ARGV[3])
";

/// The scripts, each hashed once.
pub(super) struct Scripts {
    pub(super) acquire: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
    pub(super) stage: Script,
    pub(super) publish: Script,
    pub(super) confirm: Script,
    pub(super) mark_cached: Script,
    pub(super) head: Script,
    pub(super) read: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |parts: &[&str]| Script::new(&parts.concat());
        Self {
            acquire: script(&[COMMON, ACQUIRE]),
            renew: script(&[FENCE, RENEW]),
            release: script(&[RELEASE]),
            stage: script(&[FENCE, STAGE]),
            publish: script(&[COMMON, FENCE, PUBLISH]),
            confirm: script(&[COMMON, FENCE, CONFIRM]),
            mark_cached: script(&[FENCE, MARK_CACHED]),
            head: script(&[COMMON, HEAD]),
            read: script(&[READ]),
        }
    }
}
