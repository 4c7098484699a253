"""What Redis does in one step with a budget of calls. Times are Redis' own, in milliseconds.

    minute   sorted set: each call of the last minute by when it ended; one that runs, by when its lease ends at the
             latest. It can have reached the books at any moment until then, so no minute of theirs sees more than ours.
    leases   sorted set: calls that run, by the end of their lease
    day      hash: calls by hour since 1970. The last 25 hours hold any 24, wherever the books begin their day.
    blocked  hash: until when nothing may be sent, and the limit of theirs that said so

All four carry the tenant as hash tag, so they live in one slot of a cluster.
"""

from __future__ import annotations

from typing import Final

_READ: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local hour = math.floor(now / 3600000)
local spent, oldest = 0, hour
local hours = redis.call('HGETALL', KEYS[3])
for i = 1, #hours, 2 do
    local at = tonumber(hours[i])
    if at >= hour - 24 then
        spent = spent + tonumber(hours[i + 1])
        oldest = math.min(oldest, at)
    end
end
local day_free = (oldest + 25) * 3600000 - now
local blocked = redis.call('HMGET', KEYS[4], 'until', 'limit')
local blocked_for = math.max(0, tonumber(blocked[1] or '0') - now)
"""

TAKE: Final = (
    _READ
    + """
local token, per_minute, per_day = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local at_once, lease = tonumber(ARGV[4]), tonumber(ARGV[5])
if blocked_for > 0 then return {0, blocked_for, blocked[2]} end
if spent >= per_day then return {0, day_free, 'day'} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= at_once then
    local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
    return {0, first[2] and math.min(250, math.max(1, first[2] - now)) or 60000, 'concurrent'}
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60000)
if redis.call('ZCARD', KEYS[1]) >= per_minute then
    local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return {0, first[2] and math.max(1, first[2] + 60000 - now) or 60000, 'minute'}
end
redis.call('ZADD', KEYS[1], now + lease, token)
redis.call('ZADD', KEYS[2], now + lease, token)
redis.call('PEXPIRE', KEYS[1], lease + 61000)
redis.call('PEXPIRE', KEYS[2], lease + 1000)
redis.call('HINCRBY', KEYS[3], hour, 1)
for i = 1, #hours, 2 do
    if tonumber(hours[i]) < hour - 24 then redis.call('HDEL', KEYS[3], hours[i]) end
end
redis.call('EXPIRE', KEYS[3], 26 * 3600)
return {1, 0, ''}
"""
)
"""ARGV: token, calls a minute, calls a day for this lane, calls at once, ms of a lease.
Returns {1, 0, ''}, or {0, ms to wait, which limit}."""

GIVE_BACK: Final = (
    _READ
    + """
local token, sent = ARGV[1], ARGV[2] == '1'
local minute_left, day_left = tonumber(ARGV[3]), tonumber(ARGV[4])
local per_minute, per_day = tonumber(ARGV[5]), tonumber(ARGV[6])
local block, limit = tonumber(ARGV[7]), ARGV[8]
redis.call('ZREM', KEYS[2], token)
if sent then
    redis.call('ZADD', KEYS[1], 'XX', now, token)
elseif redis.call('ZREM', KEYS[1], token) == 1 and tonumber(redis.call('HGET', KEYS[3], hour) or '0') > 0 then
    redis.call('HINCRBY', KEYS[3], hour, -1)
end
if minute_left >= 0 then
    local used = redis.call('ZCOUNT', KEYS[1], '(' .. (now - 60000), '+inf')
    for i = 1, math.min(per_minute, per_minute - used - minute_left) do
        redis.call('ZADD', KEYS[1], now, token .. ':' .. i)
    end
    redis.call('PEXPIRE', KEYS[1], math.max(61000, redis.call('PTTL', KEYS[1])))
end
if day_left >= 0 and per_day - spent > day_left then
    redis.call('HINCRBY', KEYS[3], hour, per_day - spent - day_left)
    redis.call('EXPIRE', KEYS[3], 26 * 3600)
end
if block > blocked_for then
    redis.call('HSET', KEYS[4], 'until', string.format('%.0f', now + block), 'limit', limit)
    redis.call('PEXPIRE', KEYS[4], block)
end
return 1
"""
)
"""ARGV: token, 1 when it was sent, what their headers leave of our minute and day (-1: not said), our calls a minute
and a day, ms for which they want nothing, which limit says so. What others used up is counted as if it were ours."""

PEEK: Final = (
    _READ
    + """
local first = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now - 60000), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {
    redis.call('ZCOUNT', KEYS[1], '(' .. (now - 60000), '+inf'),
    spent,
    redis.call('ZCOUNT', KEYS[2], '(' .. now, '+inf'),
    blocked_for,
    first[2] and first[2] + 60000 - now or 0,
    day_free,
}
"""
)
"""Returns calls in the last minute, in the last day, running; ms of a block, ms until the minute and the day free
one."""
