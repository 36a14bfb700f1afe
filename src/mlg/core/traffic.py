"""How a service's traffic is split, and where its versions listen.

A version is a model version's name, or a label of it: `3f2a9c~control` is another group of
replicas of version `3f2a9c`, with a cluster, a share and counters of its own.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

FULL_BP: Final = 10_000
"""All traffic, in basis points (1 bp = 0.01 %), so half a percent is exactly 50."""
HOLDOUT: Final = "holdout"
"""Layer, and group, of the viewers who stay on a version over experiments and releases."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Share:
    """The part of a service's requests that one version receives."""

    version: str
    bp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Viewers chosen by a hash of their own, before the shares of a split are looked at.

    Whom a layer takes depends on its salt and on its own shares alone, so it keeps its viewers
    whatever the split does.
    """

    salt: str
    """Goes into the hash before the sticky key: another salt, an independent choice."""
    shares: tuple[Share, ...]
    """Of the viewers whom no earlier layer took; together below 10,000."""
    begins: tuple[int, ...] = ()
    """Place of the hash at which each share's part begins, ascending: so that a part that ends
    leaves the others their viewers, and its own go on to what comes next. Empty: each begins
    where the one before ends."""

    @property
    def parts(self) -> tuple[tuple[int, Share], ...]:
        """Shares with the place at which each begins, out of 10,000."""
        if self.begins:
            return tuple(zip(self.begins, self.shares, strict=True))
        ends = accumulate((share.bp for share in self.shares), initial=0)
        return tuple(zip(ends, self.shares, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficSplit:
    """Share of one service's requests that each model version receives.

    Whole basis points, so a 0.5 % canary is 50 and a split always adds up
    exactly. A value is immutable: a rollout step makes a new one.
    """

    service: str
    shares: tuple[Share, ...]
    """One share a version, sorted by version, so equal splits are equal values."""
    layers: tuple[Layer, ...] = ()
    """Asked in order; the shares are of the viewers whom none of them takes."""
    salt: str = ""
    """Goes into the hash of the split itself: with another one chance deals its viewers anew,
    so that nobody is in every canary."""

    @property
    def everything(self) -> tuple[Share, ...]:
        """Shares of the layers and of the split, each of what it is asked for."""
        return (*(share for layer in self.layers for share in layer.shares), *self.shares)

    def __post_init__(self) -> None:
        total = sum(share.bp for share in self.shares)
        versions = {share.version for share in self.shares}
        in_range = all(0 <= share.bp <= FULL_BP for share in self.shares)
        if total != FULL_BP or not in_range or len(versions) != len(self.shares):
            raise ValueError(
                f"shares of {self.service!r} must be 0..{FULL_BP} bp, one a version, "
                f"with sum {FULL_BP}; got {self.shares} (sum {total})"
            )
        object.__setattr__(self, "shares", tuple(sorted(self.shares)))
        for layer in self.layers:
            taken = sum(share.bp for share in layer.shares)
            if not layer.salt or any(s.bp < 1 for s in layer.shares) or taken >= FULL_BP:
                raise ValueError(
                    f"layer {layer.salt!r} of {self.service!r} needs a salt and shares above "
                    f"0, together below {FULL_BP} bp; got {layer.shares}"
                )
            ends = [0, *layer.begins, FULL_BP]
            sizes = [0, *(share.bp for share in layer.shares)]
            if layer.begins and (
                len(layer.begins) != len(layer.shares)
                or any(b - a < bp for (a, b), bp in zip(pairwise(ends), sizes, strict=True))
            ):
                raise ValueError(
                    f"parts of layer {layer.salt!r} of {self.service!r} overlap: {layer}"
                )
        labels = [share.version for share in self.everything]
        salts = {layer.salt for layer in self.layers}
        if len({*labels}) != len(labels) or len(salts) != len(self.layers):
            raise ValueError(f"{self.service!r} names a version or a salt twice: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address that answers; loopback in the embedded form."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEndpoints:
    """The replicas of one version of a service."""

    version: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Requests that a service takes; the gateways refuse what exceeds them."""

    per_s: float
    """Requests per second over all gateways; > 0."""
    burst: int
    """Requests that may come at once after a quiet time, over all gateways; at least 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPolicy:
    """How the gateways treat a service's requests, whichever version answers them."""

    timeout_ms: int = 2_000
    """What a viewer waits at most, all attempts together."""
    per_try_timeout_ms: int = 500
    """What one attempt may take before another replica, or the popularity list, is asked."""
    in_flight: int = 32
    """Requests that one gateway has under way with one replica at most; the popularity list
    answers what exceeds them."""
    rate_limit: RateLimit | None = None
    """None: no limit."""
    shadow_bp: int = 0
    """Share of the requests that versions without a share of their own get a copy of."""


DEFAULT_TRAFFIC: Final = TrafficPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEndpoints:
    """Everything that can answer for one service: versions, stable one, popularity list."""

    service: str
    versions: tuple[VersionEndpoints, ...]
    stable: str | None
    """The version whose replicas rescue the others' failures."""
    fallback: tuple[Endpoint, ...]
    """Popularity servers: the last rescue, and the answer while no version exists."""
    traffic: TrafficPolicy = DEFAULT_TRAFFIC
    """How its requests are treated."""
    model: str = ""
    """The Open Inference Protocol's name of what it serves; empty: the service's own name."""
    sticky: str = "user_id"
    """Top-level field of the body that keeps a viewer with one version, without the header."""
    health_path: str = ""
    """Path by which a server that is not mlg's says that it is well; its requests come without
    the service's prefix, and it speaks no Open Inference Protocol. Empty: mlg's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What the gateways saw of one version's replicas, retries counted one by one."""

    service: str
    version: str
    """The version or label that the share was given to."""
    total: int
    """Attempts that ended, well or not; one that the viewer gave up is no attempt."""
    errors: int
    """Of them those that failed: 5xx, late, reset, refused."""
    rescued: int = 0
    """Requests given to this version that other replicas, or the popularity list, answered."""
    shadowed: int = 0
    """Copies of others' requests that its replicas answered, well or not, for nobody."""
    shadow_errors: int = 0
    """Of them those that failed."""


def arm_of(version: str, group: str) -> str:
    """Return the label of another group of replicas of a version.

    Examples:
        >>> arm_of("3f2a9c", "control")
        '3f2a9c~control'
    """
    return f"{version}~{group}"


def version_of(label: str) -> str:
    """Return the model version that a label's replicas serve.

    Examples:
        >>> version_of("3f2a9c~control"), version_of("3f2a9c")
        ('3f2a9c', '3f2a9c')
    """
    return label.partition("~")[0]
