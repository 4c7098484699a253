"""What Redis does in one step with the model's limits. Times are Redis' own, in microseconds.

    requests, tokens   each one number: when the bucket will be full again (GCRA, as in interceptors/buckets.py)
    blocked            until when nothing may be sent
    waiting            hash: how many calls wait in each process, and until when that is believed

All four carry the model as hash tag, so they live in one slot of a cluster.
"""

from __future__ import annotations

from typing import Final

_NOW: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function put(key, at)
    redis.call('SET', key, string.format('%.0f', at), 'PX', math.ceil(math.max(0, at - now) / 1000) + 1000)
end
"""

TAKE: Final = (
    _NOW
    + """
local period, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local token_period, token_burst, tokens = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local process, waiting = ARGV[6], tonumber(ARGV[7])
local elsewhere = 0
local counts = redis.call('HGETALL', KEYS[4])
for i = 1, #counts, 2 do
    local count, until_ = string.match(counts[i + 1], '(%d+) (%d+)')
    if tonumber(until_) < now then redis.call('HDEL', KEYS[4], counts[i])
    elseif counts[i] ~= process then elsewhere = elsewhere + tonumber(count) end
end
if waiting > 0 then
    redis.call('HSET', KEYS[4], process, waiting .. ' ' .. string.format('%.0f', now + 3000000))
    redis.call('PEXPIRE', KEYS[4], 10000)
else
    redis.call('HDEL', KEYS[4], process)
end
local wait = math.max(0, tonumber(redis.call('GET', KEYS[3]) or '0') - now)
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + period
wait = math.max(wait, full - now - burst * period)
local token_full = 0
if token_period > 0 then
    token_full = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), now)
        + math.min(tokens, token_burst) * token_period
    wait = math.max(wait, token_full - now - token_burst * token_period)
end
if wait > 0 then return {0, math.ceil(wait), elsewhere} end
put(KEYS[1], full)
if token_period > 0 then put(KEYS[2], token_full) end
return {1, 0, elsewhere}
"""
)
"""ARGV: µs per request, burst, µs per token (0: not limited), burst, tokens, this process, how many wait in it.
Returns {1, 0, how many wait elsewhere}, or {0, µs to wait, how many wait elsewhere}."""

LOWER: Final = (
    _NOW
    + """
for i = 1, 2 do
    local period, burst, left = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3])
    if period > 0 and left >= 0 and left < burst then
        local full = now + (burst - left) * period
        if full > tonumber(redis.call('GET', KEYS[i]) or '0') then put(KEYS[i], full) end
    end
end
local block = tonumber(ARGV[7])
if block > 0 then
    if now + block > tonumber(redis.call('GET', KEYS[3]) or '0') then put(KEYS[3], now + block) end
    local period, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
    local full = now + block + (burst - 1) * period
    if full > tonumber(redis.call('GET', KEYS[1]) or '0') then put(KEYS[1], full) end
end
return 1
"""
)
"""ARGV: for requests and for tokens: µs per one, burst, how many the provider says are left (-1: nothing said); µs for
which it wants nothing at all. After a block calls begin one by one."""
