"""Which cluster a request goes to: the split by sticky key, and what no longer fits.

Envoy's own weighted clusters know the split but not the load: a request that exceeds a
cluster's circuit breaker is answered 503, and such an answer is never retried, not even at
another priority. So a script of the route chooses: the version by the split, and in its
place the version's overflow cluster, the popularity list, while the version has as many
requests under way as it may.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlg.mesh.sources import Resource

_SCRIPT: Final = r"""
local bit = require("bit")
local band, bxor, lshift, rshift, tobit = bit.band, bit.bxor, bit.lshift, bit.rshift, bit.tobit

-- Product modulo 2^32; a double holds 53 bits, so one factor goes in halves.
local function mul(a, b)
  local unsigned = b % 4294967296
  local high = band(rshift(a, 16) * (unsigned % 65536), 65535)
  return tobit(lshift(high, 16) + (band(a, 65535) * unsigned) % 4294967296)
end

-- FNV-1a over the key, then the finish of MurmurHash3, so that its remainders are even.
local function place_of(key)
  local h = tobit(2166136261)
  for i = 1, #key do h = mul(bxor(h, key:byte(i)), 16777619) end
  h = mul(bxor(h, rshift(h, 16)), 2246822507)
  h = mul(bxor(h, rshift(h, 13)), 3266489909)
  return bxor(h, rshift(h, 16)) % 4294967296 % 10000
end

local LAYERS = {
@LAYERS@
}

local function way_of(handle, ways, place)
  for _, share in ipairs(ways) do
    if place < share.below then
      if share.overflow then
        local cluster = handle:getCluster(share.name)
        if not cluster then return share.overflow end
        local busy = cluster:numRequests() + cluster:numPendingRequests()
        if busy >= share.limit then return share.overflow end
      end
      return share.name
    end
  end
end

function envoy_on_route(handle)
  local headers = handle:headers()
  local key = headers:get("@STICKY@") or headers:get("x-request-id") or ""
  for _, layer in ipairs(LAYERS) do
    local name = way_of(handle, layer.ways, place_of(layer.salt .. key))
    if name then return name end
  end
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One version's part of a service's split."""

    cluster: str
    weight: int
    """Out of 10,000."""
    overflow: str = ""
    """The cluster that answers while `limit` requests are under way; empty: none."""
    limit: int = 0
    salt: str = ""
    """Of the layer that it is of; empty: of the split itself, which comes last."""
    begin: int | None = None
    """Place of its layer's hash at which it begins; None: where the one before ends."""
    deal: str = ""
    """Goes into the hash of the split itself, of which it then is; empty: nothing does."""


def split_plugin(ways: Sequence[Way], sticky_header: str) -> Resource:
    """Return the cluster specifier of a service's routes.

    Args:
        ways: The parts in the order in which they share the hash space, layer by layer; the
            weights of the split itself sum to 10,000.
        sticky_header: Header whose value decides; without it the request id does.
    """
    salts = [*dict.fromkeys(way.salt for way in ways if way.salt), ""]
    layers = "\n".join(_layer(salt, [w for w in ways if w.salt == salt]) for salt in salts)
    script = _SCRIPT.replace("@LAYERS@", layers).replace("@STICKY@", sticky_header)
    own = [way for way in ways if not way.salt]
    return {
        "extension": {
            "name": "envoy.router.cluster_specifier_plugin.lua",
            "typed_config": {
                "@type": (
                    "type.googleapis.com/"
                    "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig"
                ),
                "source_code": {"inline_string": script.strip()},
                # where the script fails; the largest share carries it best
                "default_cluster": max(own, key=lambda way: way.weight).cluster,
            },
        }
    }


def _layer(salt: str, ways: Sequence[Way]) -> str:
    """Return one layer as Lua text; a colon ends its salt, so no two read alike."""
    salt = salt or f"={ways[0].deal}" * bool(ways[0].deal)
    rows: list[str] = []
    below = 0
    for way in ways:
        if way.begin is not None and way.begin > below:
            rows.append(f"  {{below = {way.begin}}},")  # the next layer is asked
            below = way.begin
        below += way.weight
        row = f"  {{below = {below}, name = {_text(way.cluster)}"
        if way.overflow:
            row += f", overflow = {_text(way.overflow)}, limit = {way.limit}"
        rows.append(row + "},")
    before = _text(f"{salt}:" if salt else "")
    return "\n".join([f" {{salt = {before}, ways = {{", *rows, " }},"])


def _text(name: str) -> str:
    """Return a name as Lua text; names are ASCII, where Lua reads what JSON writes."""
    name.encode("ascii")
    return json.dumps(name)
