"""Which of several hosts runs a monitor: decided by each host alone, from who is alive.

A host is alive while its beat changes. How long it has not is measured by the observer's own
steady clock, so that no two hosts' clocks are ever compared.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What was last seen of a host."""

    beat: int
    since_s: float
    """When it was first seen so, by the observer's steady clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The hosts as one observer knows them."""

    beats: dict[str, Beat] = field(default_factory=dict[str, Beat])


def observed(hosts: Hosts, beats: Mapping[str, int], now_s: float) -> Hosts:
    """Return what is known of the hosts after another look at their beats.

    Args:
        hosts: What was known.
        beats: Each host's beat as it is now; a host that is gone has none.
        now_s: The observer's steady clock.
    """
    after = {name: Beat(beat=beat, since_s=now_s) for name, beat in beats.items()}
    for name, known in hosts.beats.items():
        if name in after and after[name].beat == known.beat:
            after[name] = known
    return Hosts(beats=after)


def alive(hosts: Hosts, now_s: float, silent_s: float) -> frozenset[str]:
    """Return the hosts whose beat changed within the last `silent_s` seconds.

    One that was seen for the first time is alive: it is not known for how long it is silent.

    Examples:
        >>> known = observed(Hosts(), {"a": 1, "b": 1}, 0.0)
        >>> known = observed(known, {"a": 2, "b": 1}, 6.0)
        >>> sorted(alive(known, 11.0, 10.0))
        ['a']
    """
    return frozenset(
        name for name, beat in hosts.beats.items() if now_s - beat.since_s < silent_s
    )


def owner_of(name: str, hosts: Iterable[str]) -> str | None:
    """Return the host whose turn a name is; None without any host.

    When a host comes or goes, only the names change hands that it takes or had.

    Source:
        D. Thaler, C. Ravishankar (1998), IEEE/ACM Transactions on Networking 6(1):1-14
        (highest random weight).

    Examples:
        >>> names = [f"m{n}" for n in range(100)]
        >>> before = {name: owner_of(name, ["a", "b", "c"]) for name in names}
        >>> after = {name: owner_of(name, ["a", "c"]) for name in names}
        >>> {before[name] for name in names if before[name] != after[name]}
        {'b'}
    """
    return max(hosts, key=lambda host: (_weight(name, host), host), default=None)


def _weight(name: str, host: str) -> bytes:
    return blake2b(f"{host}\0{name}".encode(), digest_size=8).digest()
