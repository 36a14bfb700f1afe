"""One aggregated discovery stream as a pure machine: what was asked, what is to be sent.

State of the world: a message holds all resources of its kind that the gateway asked for.
A kind is sent only after the gateway asked for it (earlier ones are ignored), again when
its content changed, and never again because it was refused: the gateway keeps what it has
until something else comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from mlg.mesh.snapshot import discovery_file
from mlg.mesh.sources import Resource

_TYPE: Final = "type.googleapis.com/envoy.config"
CLUSTERS: Final = f"{_TYPE}.cluster.v3.Cluster"
ENDPOINTS: Final = f"{_TYPE}.endpoint.v3.ClusterLoadAssignment"
ROUTES: Final = f"{_TYPE}.route.v3.RouteConfiguration"

World = Mapping[str, Mapping[str, Resource]]
"""Kind, by its type URL -> name -> resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of a gateway."""

    kind: str
    names: tuple[str, ...]
    """Empty: all there are."""
    nonce: str
    """Of the message that is answered; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One message to a gateway."""

    kind: str
    version: str
    nonce: str
    resources: tuple[Resource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a gateway asked for of one kind, and what it was sent."""

    names: tuple[str, ...] = ()
    sent: str = ""
    """What the last message was about: its version and, of endpoints, that of the clusters."""
    nonce: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """All that is remembered of one gateway's stream."""

    clusters: Subscription | None = None
    endpoints: Subscription | None = None
    routes: Subscription | None = None
    messages: int = 0


_FIELDS: Final = ((CLUSTERS, "clusters"), (ENDPOINTS, "endpoints"), (ROUTES, "routes"))
"""In the order in which they must be sent: no route before its cluster, which is warm only
once its endpoints came."""


def asked(stream: Stream, request: Asked) -> Stream:
    """Return the stream with what a gateway asked for.

    An answer to an older message than the last one says nothing new and is left out; so are
    kinds that we do not have.
    """
    field = dict(_FIELDS).get(request.kind)
    if field is None:
        return stream
    former: Subscription = getattr(stream, field) or Subscription()
    if request.nonce and request.nonce != former.nonce:
        return stream
    return replace(stream, **{field: replace(former, names=tuple(sorted(request.names)))})


def due(stream: Stream, world: World) -> tuple[Stream, tuple[Told, ...]]:
    """Return what a gateway must be sent now, in order.

    Endpoints are sent again after every change of the clusters: a cluster that changed
    waits for its endpoints once more, even if they are the same.

    Args:
        stream: What it asked for and was sent.
        world: What is in force.
    """
    messages: list[Told] = []
    clusters = version_of(world.get(CLUSTERS, {}))
    for kind, field in _FIELDS:
        subscription: Subscription | None = getattr(stream, field)
        # a server that has just started has nothing to say: an empty world would be taken
        if subscription is None or kind not in world:
            continue
        resources = world[kind]
        if subscription.names:
            resources = {n: resources[n] for n in subscription.names if n in resources}
        version = version_of(resources)
        about = f"{clusters} {version}" if kind == ENDPOINTS else version
        if about == subscription.sent or (kind != CLUSTERS and not resources):
            continue
        nonce = str(stream.messages + 1)
        messages.append(
            Told(
                kind=kind,
                version=version,
                nonce=nonce,
                resources=tuple(resources[name] for name in sorted(resources)),
            )
        )
        sent = replace(subscription, sent=about, nonce=nonce)
        stream = replace(stream, messages=stream.messages + 1, **{field: sent})
    return stream, tuple(messages)


def version_of(resources: Mapping[str, Resource]) -> str:
    """Return the version of resources; the same as in a file that holds them."""
    return discovery_file([resources[name] for name in sorted(resources)])[0]
