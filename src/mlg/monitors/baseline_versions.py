"""When what is usual is worth keeping as a version of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mlg.monitors.alert import Command
from mlg.monitors.baseline import Baseline
from mlg.monitors.evaluate import QUALITY, MonitorState, StreamState

Reason = Literal["learned", "season", "incident"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineVersion:
    """A baseline past phase I as one window left it."""

    stream: str
    """`requests`, a model version, or `quality:` and a model version."""
    reason: Reason
    """Phase I ended, the season's columns in use changed, or an incident opened."""
    baseline: Baseline
    incident: str = ""
    """Key of the one that opened; empty: none did."""


def known_baselines(state: MonitorState) -> dict[str, Baseline]:
    """Return each baseline past phase I by stream, those of quality under `quality:`."""
    return {
        name: baseline
        for stream, one in state.streams.items()
        for name, baseline in _of(stream, one)
        if baseline.usual is not None
    }


def versions_to_keep(
    before: MonitorState, after: MonitorState, commands: Sequence[Command]
) -> tuple[BaselineVersion, ...]:
    """Return the versions that one window brought, those of an opened incident last.

    An incident is compared with baselines that learn nothing while it is open: as they are at
    its opening they stay for all that joins it. What differs from the version kept last is for
    the caller to see.

    Args:
        before: Baselines before the window.
        after: And after it.
        commands: What the window made the monitor say.
    """
    then, now = known_baselines(before), known_baselines(after)
    found = [
        BaselineVersion(stream=stream, reason=reason, baseline=baseline)
        for stream, baseline in now.items()
        if (reason := _reason(then.get(stream), baseline))
    ]
    found += [
        BaselineVersion(
            stream=stream,
            reason="incident",
            baseline=baseline,
            incident=command.incident.key,
        )
        for command in commands
        if command.kind == "open"
        for stream, baseline in now.items()
    ]
    return tuple(found)


def _reason(before: Baseline | None, after: Baseline) -> Reason | None:
    if before is None or before.usual is None or after.usual is None:
        return "learned"
    return "season" if before.usual.columns != after.usual.columns else None


def _of(name: str, stream: StreamState) -> Iterator[tuple[str, Baseline]]:
    yield name, stream.baseline
    yield f"{QUALITY}{name}", stream.quality_base
