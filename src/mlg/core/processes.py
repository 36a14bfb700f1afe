"""Processes as values: what to start, and what is running."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

ProcessKind = Literal["gateway", "replica", "fallback", "control"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process to start; starting the same id with the same digest twice is one process."""

    id: str
    """`gateway-1`, `replica-home-3`, `fallback-home`."""
    kind: ProcessKind
    argv: tuple[str, ...]
    """`{nonce}` in an argument becomes the process' nonce, `{port}` its port."""
    env: tuple[tuple[str, str], ...] = ()
    service: str = ""
    version: str = ""
    digest: str = ""
    """Digest of all that the process was told; another one means it must be replaced."""
    listen: bool = True
    """Hand the process a listening loopback socket (its number in `MLG_LISTEN_FD`)."""
    port: int = 0
    """Port to listen on; 0 takes a free one."""
    memory_bytes: int | None = None
    """Bound of what it may write to; None: none."""
    cpu: float | None = None
    """Processor cores that it may use; None: all."""
    open_files: int | None = None
    """Bound of its file descriptors; None: the launcher's own."""
    health_path: str = ""
    """Path by which a server that is not mlg's says that it is well; empty: it is mlg's."""
    folder: str = ""
    """Working folder; empty: the instance's home."""
    handover: bool = False
    """Under another digest it takes over from the process that runs, which then ends itself;
    `{epoch}` in an argument counts such lives of one program, from 0. It is nobody's child, as
    such programs end with whoever started them, so its exit code is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """One process that was started here, as it is now."""

    id: str
    kind: ProcessKind
    service: str
    version: str
    digest: str
    pid: int
    port: int
    nonce: str
    started_at: datetime
    alive: bool
    """The pid exists, has the recorded start time, and is not a zombie."""
    ready: bool = False
    """It answered its nonce and says that it is ready."""
    exit_code: int | None = None
    health_path: str = ""
    """As it was started with."""
    handing_over: bool = False
    """The process from which it took over still runs."""
