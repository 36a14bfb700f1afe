"""A version and what it needs, as the services of a Compose file (compose-spec.io).

Everything runs without a right: no capability, no account of the host, a read-only root,
ports on loopback only. What is asked for is what Compose 1.27 and later, 2 and 5 take alike,
on Docker and on podman, so there is no `version`, and no health check, which podman runs by
systemd only.
"""

from dataclasses import dataclass
from typing import Any, Final

from mlg.render.inputs import Object

PORT: Final = 8_080
USER: Final = "65532:65532"
"""No account of the host; the usual number of images without root."""
OPEN_FILES: Final = 1_024
PROCESSES: Final = 512
"""Bounds that are always told: an engine's own may exceed what this host allows."""
_LOG_BYTES: Final = 256 * 1024 * 1024
_TMP_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A file or folder that a container reads."""

    source: str
    """Absolute, or under the Compose file's folder, as `./keys`."""
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackService:
    """One container."""

    name: str
    image: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    binds: tuple[Bind, ...] = ()
    home: str = ""
    """Folder that it writes its log to, in memory; empty: none."""
    working_dir: str = ""
    published: bool = True
    """Whether a free port on loopback leads to `PORT`."""
    inside: str = ""
    """Service whose network it shares, which starts before and publishes its port: for
    servers that listen on 127.0.0.1 only, and for who asks them."""
    needs: tuple[str, ...] = ()
    """Services that start before."""
    memory_bytes: int | None = None
    cpu: float | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The containers of one version under test."""

    services: tuple[StackService, ...]
    labels: tuple[tuple[str, str], ...] = ()
    """On every container, by which it is found again."""

    def __post_init__(self) -> None:
        names = [one.name for one in self.services]
        told = {need for one in self.services for need in (*one.needs, one.inside) if need}
        if len(set(names)) != len(names) or not told <= set(names):
            raise ValueError(f"services must be named once, and be there: {names}, {told}")


def compose(stack: Stack) -> Object:
    """Return the Compose file as a JSON value; equal stacks give equal values."""
    labels = dict(stack.labels)
    publish = {one.inside or one.name for one in stack.services if one.published}
    return {
        "services": {
            one.name: _service(one, labels, publishes=one.name in publish)
            for one in stack.services
        }
    }


def _service(one: StackService, labels: dict[str, str], *, publishes: bool) -> Object:
    made: Object = {
        "image": one.image,
        "entrypoint": list(one.entrypoint),
        "command": list(one.command),
        "environment": dict(one.env),
        "labels": labels,
        "user": USER,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "no",
        "stop_grace_period": "5s",
        "tmpfs": [
            *([f"{one.home}:mode=1777,size={_LOG_BYTES}"] if one.home else []),
            f"/tmp:mode=1777,size={_TMP_BYTES}",  # noqa: S108 - a file system of its own
        ],
        "ulimits": {
            "nofile": _both(one.open_files or OPEN_FILES),
            "nproc": _both(PROCESSES),
        },
        "volumes": [
            {"type": "bind", "source": b.source, "target": b.target, "read_only": True}
            for b in one.binds
        ],
    }
    if one.inside:
        made["network_mode"] = f"service:{one.inside}"
    elif publishes:
        made["ports"] = [f"127.0.0.1::{PORT}"]
    needs = tuple(dict.fromkeys((*one.needs, *([one.inside] if one.inside else []))))
    if needs:
        made["depends_on"] = list(needs)
    if one.working_dir:
        made["working_dir"] = one.working_dir
    if one.memory_bytes is not None:
        made["mem_limit"] = one.memory_bytes
    if one.cpu is not None:
        made["cpus"] = one.cpu
    return {key: _literal(value) for key, value in made.items() if value not in ([], {})}


def _both(most: int) -> Object:
    return {"soft": most, "hard": most}


def _literal(value: Any) -> Any:
    """Return the value with `$` doubled in texts: Compose would take it for a variable."""
    if isinstance(value, dict):
        return {str(key): _literal(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_literal(part) for part in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
