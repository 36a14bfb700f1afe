"""The sticky key out of the body: a filter that runs before the split is looked at.

Only the gateway knows the split, so only it can keep a viewer with one version. A request
that brings no `mlg-sticky-key` gets it from a top-level field of its JSON body; which
field is said by the route, so that it changes without a restart of the gateway.
"""

from typing import Final

from mlg.mesh.resources import STICKY_FIELD, STICKY_FILTER, STICKY_HEADER
from mlg.mesh.sources import Resource

MAX_BODY_BYTES: Final = 64 * 1024
"""Longer bodies are not looked into; replicas refuse them."""
MAX_KEY_BYTES: Final = 1024
"""A longer value is no key."""

_SCRIPT: Final = r"""
local find, sub, byte, char = string.find, string.sub, string.byte, string.char
local ESCAPES = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local function utf8(code)
  if code < 128 then return char(code) end
  if code < 2048 then return char(192 + math.floor(code / 64), 128 + code % 64) end
  local last = char(128 + math.floor(code / 64) % 64, 128 + code % 64)
  if code < 65536 then return char(224 + math.floor(code / 4096)) .. last end
  return char(240 + math.floor(code / 262144), 128 + math.floor(code / 4096) % 64) .. last
end

local function unescaped(text)
  if not find(text, "\\", 1, true) then return text end
  local parts, i = {}, 1
  while true do
    local at = find(text, "\\", i, true)
    if not at then break end
    parts[#parts + 1] = sub(text, i, at - 1)
    local letter = sub(text, at + 1, at + 1)
    i = at + 2
    if letter == "u" then
      local code = tonumber(sub(text, i, i + 3), 16) or 65533
      i = i + 4
      if code >= 55296 and code < 56320 then
        local low = tonumber(text:match("^\\u([dD][c-fC-F]%x%x)", i) or "", 16)
        if low then
          code, i = 65536 + (code - 55296) * 1024 + low - 56320, i + 6
        end
      end
      parts[#parts + 1] = utf8(code)
    else
      parts[#parts + 1] = ESCAPES[letter] or letter
    end
  end
  parts[#parts + 1] = sub(text, i)
  return table.concat(parts)
end

-- Place of the quote that ends the string whose first quote is at `at`.
local function string_end(text, at)
  local i, n = at + 1, #text
  while i <= n do
    local c = byte(text, i)
    if c == 34 then return i end
    i = i + (c == 92 and 2 or 1)
  end
end

-- Place of the last byte of the value that begins at `i`.
local function value_end(text, i)
  local c = byte(text, i)
  if c == 34 then return string_end(text, i) end
  if c ~= 123 and c ~= 91 then
    local _, last = find(text, "^[%w%.%+%-]+", i)
    return last
  end
  local depth, n = 0, #text
  while i <= n do
    c = byte(text, i)
    if c == 34 then
      i = string_end(text, i)
      if not i then return nil end
    elseif c == 123 or c == 91 then
      depth = depth + 1
    elseif c == 125 or c == 93 then
      depth = depth - 1
      if depth == 0 then return i end
    end
    i = i + 1
  end
end

-- Text of the first top-level field of that name if it is a string or a number.
local function field_of(text, name)
  local _, i = find(text, "^[ \t\r\n]*{")
  while i do
    local _, open = find(text, '^[ \t\r\n]*"', i + 1)
    local close = open and string_end(text, open)
    if not close then return nil end
    local _, colon = find(text, "^[ \t\r\n]*:[ \t\r\n]*", close + 1)
    local last = colon and value_end(text, colon + 1)
    if not last then return nil end
    if unescaped(sub(text, open + 1, close - 1)) == name then
      if byte(text, colon + 1) == 34 then return unescaped(sub(text, colon + 2, last - 1)) end
      return sub(text, colon + 1, last):match("^%-?%d[%d%.eE%+%-]*$")
    end
    _, i = find(text, "^[ \t\r\n]*,", last + 1)
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("@HEADER@") or headers:get(":method") ~= "POST" then return end
  local name = handle:metadata():get("@FIELD@")
  if not name then return end
  local length = tonumber(headers:get("content-length") or "")
  if length and (length == 0 or length > @MAX_BODY@) then return end
  local body = handle:body()
  if not body or body:length() > @MAX_BODY@ then return end
  local key = field_of(body:getBytes(0, body:length()), name)
  if not key or key == "" or #key > @MAX_KEY@ then return end
  -- a header holds visible ASCII only: line breaks in it would be headers of their own
  key = key:gsub("[^\33-\36\38-\126]", function(c) return string.format("%%%02X", byte(c)) end)
  handle:headers():add("@HEADER@", key)
  handle:clearRouteCache()
end
"""


def sticky_filter() -> Resource:
    """Return the HTTP filter; it acts where a route names a field."""
    script = _SCRIPT
    for mark, value in (
        ("@HEADER@", STICKY_HEADER),
        ("@FIELD@", STICKY_FIELD),
        ("@MAX_BODY@", str(MAX_BODY_BYTES)),
        ("@MAX_KEY@", str(MAX_KEY_BYTES)),
    ):
        script = script.replace(mark, value)
    return {
        "name": STICKY_FILTER,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": script.strip()},
        },
    }
