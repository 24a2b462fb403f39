"""The Lua scripts: `resilient_llm.policy.fleet_book` and `fleet_window`, atomically, by the server's clock.

Times come and go as seconds, and are milliseconds within. A reply is JSON: what is known of the field now. What has
changed is published in the same words.
"""

from typing import Final

from resilient_llm.policy.fleet import MAX_RECORDS
from resilient_llm.policy.fleet_book import KEPT
from resilient_llm.policy.fleet_window import WINDOW

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

BOOK: Final = (
    _NOW
    + f"local KEPT, MOST = {KEPT * 1000:.0f}, {MAX_RECORDS}"
    + """
local book, channel = KEYS[1], ARGV[1]
local operation, field = ARGV[2], ARGV[3]
local a, b, c, d = ARGV[4], ARGV[5], ARGV[6], ARGV[7]

local function telling(field, r, word)
  local value = math.max(0, r.u - now) / 1000
  if r.w == 'spent' then value = r.a
  elseif r.w == 'open' and r.p > now then
    word = word or 'held'
    value = (r.p - now) / 1000
  end
  return cjson.encode({f = field, w = word or r.w, v = value, e = r.e, d = r.a, y = r.y})
end

local function living()
  local flat, told = redis.call('HGETALL', book), {}
  for i = 1, #flat, 2 do
    local r = cjson.decode(flat[i + 1])
    if r.x <= now then redis.call('HDEL', book, flat[i]) else told[#told + 1] = telling(flat[i], r) end
  end
  return told
end

if operation == 'read' then
  redis.call('SET', KEYS[2], 1, 'PX', 60000)
  local heard = redis.call('PUBSUB', 'NUMSUB', channel)
  local told = {}
  if a == 'all' then told = living() end
  return {heard[2], told}
end

local raw = redis.call('HGET', book, field)
local r = raw and cjson.decode(raw)
if not r or r.x <= now then r = {w = 'none', u = 0, e = 0, a = 0, y = '', p = 0, x = 0} end
local late = function(epoch) return epoch ~= 0 and r.w ~= 'none' and epoch ~= r.e end
local epoch = math.max(r.e + 1, now)

local function keep(new, silent)
  new.e = epoch
  if redis.call('HEXISTS', book, field) == 1 or redis.call('HLEN', book) < MOST or #living() < MOST then
    redis.call('HSET', book, field, cjson.encode(new))
    local ttl = redis.call('PTTL', book)
    if ttl < new.x - now then redis.call('PEXPIRE', book, new.x - now) end
  end
  r = new
  if not silent then redis.call('PUBLISH', channel, telling(field, new)) end
end

if operation == 'claim' then
  if r.w == 'closed' or math.max(r.u, r.p) > now then return telling(field, r) end
  local lease = math.floor(a * 1000)
  keep({w = 'open', u = math.min(r.u, now), a = r.a, y = r.y, p = now + lease, x = now + lease + KEPT}, true)
  return telling(field, r, 'granted')
elseif operation == 'open' then
  local mine = tonumber(c)
  local known = r.w == 'open' and math.max(r.u, r.p) > now
  if not (late(mine) or (mine == 0 and known)) then
    local till = now + math.floor(a * 1000)
    keep({w = 'open', u = till, a = tonumber(b), y = d, p = 0, x = till + KEPT})
  end
elseif operation == 'close' then
  if not late(tonumber(a)) then keep({w = 'closed', u = 0, a = 0, y = '', p = 0, x = now + KEPT}) end
elseif operation == 'return' then
  local mine = tonumber(a)
  if mine ~= 0 and mine == r.e then keep({w = r.w, u = r.u, a = r.a, y = r.y, p = 0, x = r.x}) end
elseif operation == 'cool' then
  local till = now + math.floor(a * 1000)
  if till > r.u then keep({w = 'cool', u = till, a = 0, y = '', p = 0, x = till}) end
elseif operation == 'spend' then
  local spent = math.min(tonumber(b), math.max(0, r.a + tonumber(a)))
  keep({w = 'spent', u = 0, a = spent, y = '', p = 0, x = now + KEPT})
end
return telling(field, r)
"""
)

LEASE: Final = (
    _NOW
    + f"local WINDOW = {WINDOW}"
    + """
local limits, books, longest = cjson.decode(ARGV[1]), {}, 0
for i, l in ipairs(limits) do
  local slot, slots, order, sum = l.s * 1000, {}, {}, 0
  local flat = redis.call('HGETALL', KEYS[i])
  for j = 1, #flat, 2 do
    local k, n = tonumber(flat[j]), tonumber(flat[j + 1])
    if now >= (k + WINDOW) * slot then redis.call('HDEL', KEYS[i], flat[j])
    else
      slots[k] = n
      order[#order + 1] = k
    end
  end
  for _, unused in ipairs(l.u) do
    local left, k = unused[1], math.floor((now - unused[2] * 1000) / slot)
    for place = k, k - 2, -1 do
      local cut = math.min(left, slots[place] or 0)
      if cut > 0 then
        slots[place] = slots[place] - cut
        left = left - cut
        redis.call('HSET', KEYS[i], place, tostring(slots[place]))
      end
    end
  end
  for _, n in pairs(slots) do sum = sum + n end
  local missing = sum + l.n - l.a
  if missing > 1e-6 then
    table.sort(order)
    local wait = 0
    for _, k in ipairs(order) do
      wait = (k + WINDOW) * slot - now
      missing = missing - slots[k]
      if missing <= 1e-6 then break end
    end
    longest = math.max(longest, wait, 1)
  end
  books[i] = {sum = sum, slot = slot}
end
if longest > 0 then return cjson.encode({w = longest / 1000}) end
local given = {}
for i, l in ipairs(limits) do
  local book = books[i]
  given[i] = l.n + math.max(0, math.min(l.m, l.a - book.sum - l.n))
  redis.call('HINCRBYFLOAT', KEYS[i], math.floor(now / book.slot), tostring(given[i]))
  redis.call('PEXPIRE', KEYS[i], math.ceil((WINDOW + 1) * book.slot))
end
return cjson.encode({w = 0, g = given})
"""
)
