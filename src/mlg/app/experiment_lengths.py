"""How long an experiment will take, from what the service's log says of late."""

from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.stream_segments import SegmentStream, segment_paths
from mlg.app.experiment_counts import mean_of
from mlg.core.errors import BackendError
from mlg.core.ports import Cursor
from mlg.monitors.arms import Arm, Stage
from mlg.monitors.arrivals import DAY_S, Arrivals
from mlg.release.experiment_forecast import Spread, forecast_experiment
from mlg.release.experiment_types import ExperimentPlan
from mlg.serving.log import decode_feedback, decode_prediction
from mlg.stats.confidence_sequence import LEAST_UNITS

_BATCH: Final = 20_000
_FEW: Final = 1_000
"""Records of a read from which on there may be more; below it is what was written meanwhile."""
_MOST_BYTES: Final = 64 << 20
"""Of the log, newest files first: some hundred thousand answers, read in some seconds."""


def experiment_lengths(
    home: Path, plan: ExperimentPlan, min_effect: dict[str, float]
) -> dict[str, Any]:
    """Return viewers and time that an experiment needs, and what that was taken from.

    Returns:
        `{"cells", "seconds", "max_run_s", "power", "warnings", "log"}`: as
        `release.experiment_forecast` has them; of the log its `viewers`, `answers`, `days`
        of event time, and `new_per_day`, null where it is not known.

    Raises:
        BackendError: The log cannot be read.
    """
    arrivals, stage = Arrivals(), Stage()
    stream = SegmentStream(home / "segments" / plan.service)
    cursor = _newest(home / "segments" / plan.service)
    more = True
    while more:
        batch = stream.read(cursor, _BATCH)
        # one read is a part of each file, so less than a batch is not yet the end
        cursor, more = batch.cursor, len(batch.records) >= _FEW
        rows = [
            decode_prediction(one.payload) for one in batch.records if one.kind == "prediction"
        ]
        arrivals.add(rows)
        told = [decode_feedback(r.payload) for r in batch.records if r.kind == "feedback"]
        stage.add(rows, told)
    spreads = {m: s for m in plan.metrics if (s := _spread(stage, plan.control, m))}
    found = forecast_experiment(plan, min_effect, spreads, arrivals.seconds_until)
    per_day = arrivals.per_day
    return {
        **msgspec.to_builtins(found),
        "log": {
            "viewers": arrivals.viewers,
            "answers": arrivals.answers,
            "days": arrivals.span_s / DAY_S,
            "new_per_day": per_day,
        },
    }


def _spread(stage: Stage, control: str, metric: str) -> Spread | None:
    """Return what viewers of the control did, or of all arms where it had too few."""
    arms = [stage.arms.get(control, Arm()), *stage.arms.values()]
    for arm in (arms[0], max(arms, key=lambda one: len(one.viewers))):
        mean = mean_of(arm, metric)
        if mean.units >= LEAST_UNITS and mean.variance > 0:
            part = mean.units / len(arm.viewers)
            return Spread(variance=mean.variance, part=part, viewers=mean.units)
    return None


def _newest(folder: Path) -> Cursor:
    """Return a position that leaves out all but the newest files.

    Raises:
        BackendError: The folder cannot be read.
    """
    try:
        files = [(path.stat(), path.name) for path in segment_paths(folder)]
    except OSError as error:
        raise BackendError(
            f"the log cannot be read: {error.strerror}", where=f"segments/{folder.name}"
        ) from error
    left, read = _MOST_BYTES, list[tuple[str, int]]()
    for stat, name in sorted(files, key=lambda one: -one[0].st_mtime_ns):
        if left <= 0:
            read.append((name, stat.st_size))
        left -= stat.st_size
    return Cursor(consumer="forecast", positions=tuple(sorted(read)))
