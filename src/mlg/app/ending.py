"""Ends every process of a home, in the order that viewers notice least."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mlg.core.ports import Launcher
from mlg.core.processes import ProcessKind

_STOP_ORDER: Final[tuple[tuple[ProcessKind, ...], ...]] = (
    ("gateway",),
    ("replica", "fallback"),
    ("control",),
)


def end_all(launcher: Launcher, *, grace_s: float = 5.0) -> tuple[str, ...]:
    """End every recorded process, gateways first, and return the ids.

    Works without a control plane: all it needs is the records of the home.
    """
    states = launcher.state()
    ended: list[str] = []
    for kinds in _STOP_ORDER:
        names = [p.id for p in states if p.kind in kinds]
        with ThreadPoolExecutor(max_workers=8) as pool:
            for stopped in [pool.submit(launcher.stop, n, grace_s=grace_s) for n in names]:
                stopped.result()
        ended.extend(names)
    return tuple(ended)
