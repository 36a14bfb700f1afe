"""Limits of a process, as the kernel enforces them; where it cannot, nothing is limited.

Linux has all three. Elsewhere the calls are missing and a limit is stored only.
"""

import os
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from math import ceil, log
from typing import Final

import psutil

from mlg.core.errors import BackendError
from mlg.core.processes import ProcessSpec

_WEIGHT: Final = 1.25
"""What one step of nice is worth: the scheduler's weights fall by a quarter a step."""
_LOWEST: Final = 19


def cores_for(
    cpu: float, available: Iterable[int], taken: Iterable[int] = ()
) -> tuple[int, ...]:
    """Return the cores that a process is bound to, ascending: those bound least often.

    Args:
        cpu: Cores that it may use, > 0; rounded up.
        available: Cores that there are.
        taken: Cores of the processes that are bound already, one entry each.

    Examples:
        >>> cores_for(2, (0, 1, 2, 3)), cores_for(2, (0, 1, 2, 3), (0, 1))
        ((0, 1), (2, 3))
        >>> cores_for(1.5, (4, 5, 6), (4,)), cores_for(8, (4, 5))
        ((5, 6), (4, 5))
    """
    bound = Counter(taken)
    ranked = sorted(available, key=lambda core: (bound[core], core))
    return tuple(sorted(ranked[: ceil(cpu)]))


def nice_for(cpu: float) -> int:
    r"""Return the nice level by which a part of a core weighs its part against a whole one.

    The scheduler's weight falls by a factor of 1.25 a step, so a part :math:`f` of a core
    is :math:`\log(1/f) / \log 1.25` steps, 0 from one core on and at most 19. It tells only
    while others want the same core: an idle core is used whole.

    Args:
        cpu: Cores that it may use, > 0.

    Source:
        Linux, kernel/sched/core.c, `sched_prio_to_weight`: 1024 at nice 0, 335 at nice 5.

    Examples:
        >>> nice_for(0.5), nice_for(1.0), nice_for(0.001)
        (3, 0, 19)
    """
    return min(_LOWEST, max(0, round(log(1.0 / cpu) / log(_WEIGHT))))


@contextmanager
def bound_to(cores: Sequence[int]) -> Generator[None]:
    """Bind this thread to the cores meanwhile: a process that it starts inherits them.

    So no thread of the new process was ever elsewhere. Cores that may not be had leave
    everything as it is.

    Args:
        cores: Numbers of cores; empty binds nothing.
    """
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    with suppress(OSError):
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores_of(spec: ProcessSpec, taken: Iterable[int]) -> tuple[int, ...]:
    """Return the cores that a process is bound to; empty: all, as nothing limits it.

    Args:
        spec: What it may use.
        taken: As `cores_for` takes them.
    """
    if spec.cpu is None or not hasattr(os, "sched_getaffinity"):
        return ()
    return cores_for(spec.cpu, os.sched_getaffinity(0), taken)


def limit(pid: int, spec: ProcessSpec) -> None:
    """Bound a process that was just started: what it may write to, its files, its weight.

    Memory is RLIMIT_DATA: reserved addresses and mapped files are not counted.

    Raises:
        BackendError: A limit was refused.
    """
    if spec.memory_bytes is not None:
        _rlimit(pid, "RLIMIT_DATA", spec.memory_bytes, "memory", "bytes")
    if spec.open_files is not None:
        _rlimit(pid, "RLIMIT_NOFILE", spec.open_files, "open files", "files")
    if spec.cpu is not None and (level := nice_for(spec.cpu)):
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + level)


def _rlimit(pid: int, name: str, value: int, noun: str, unit: str) -> None:
    if not hasattr(psutil, name):
        return
    try:
        psutil.Process(pid).rlimit(getattr(psutil, name), (value, value))
    except psutil.NoSuchProcess:
        return
    except (psutil.Error, OSError, ValueError) as error:
        raise BackendError(
            f"{noun} could not be limited to {value} {unit}: {error}",
            where=f"pid {pid}",
            hint="ask for less than the limit that the control plane itself has.",
        ) from error
