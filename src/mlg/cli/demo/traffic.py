"""The demo's viewers: real held-out events, replayed so that event time never runs back."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from mlg.cli.instance import err
from mlg.client.client import Client
from mlg.client.replay_plan import Emphasis, Replay, ReplayPlan
from mlg.core.clock import parse_time
from mlg.manifest.load import load_manifest
from mlg.manifest.specs_pipelines import InteractionsRole, TrainStep

VALUE_RANGE = {"movies": (1.0, 5.0), "fashion": (0.0, 1.0)}
"""Values that mean watched not at all and to the end; see docs/limits.md."""

_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.fields[facts]}"),
)


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Plays viewers against the gateway and remembers how far event time has come."""

    client: Client
    home: Path
    work: Path
    example: str
    service: str
    newest_us: int = 0
    requests: int = 0
    failed: int = 0
    last: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the newest replay returned."""

    def plan(
        self,
        run: dict[str, Any],
        passes: int = 1,
        emphasis: Emphasis | None = None,
        skip: float = 0.0,
        bootstrap: int | None = None,
    ) -> ReplayPlan:
        """Return a replay of what the model of a run had not seen.

        Args:
            run: The finished run.
            passes: How often it is replayed.
            emphasis: Viewers who ask more often than they did.
            skip: Share of these events, from the first on, that is left out.
            bootstrap: Seed with which each pass draws its viewers anew.
        """
        from mlg.adapters.artifacts_local import LocalArtifacts
        from mlg.app.heldout import replay_plan

        role = self.train_step(run).roles.interactions
        artifacts = LocalArtifacts(self.home / "artifacts")
        return replay_plan(
            artifacts.open(self._snapshot("feature_snapshot", role)),
            artifacts.open(run["artifact"]),
            role,
            Replay(
                passes=passes,
                value_range=VALUE_RANGE[self.example],
                hit_at_least=None if role.viewer else 1.0,
                emphasis=emphasis,
                bootstrap=bootstrap,
            ),
            skip=skip,
        )

    def train_step(self, run: dict[str, Any]) -> TrainStep:
        """Return the train step of the run's pipeline."""
        steps = load_manifest(self.work / "mlg.yaml").spec.pipelines[run["pipeline"]].steps
        return next(step for step in steps.values() if isinstance(step, TrainStep))

    def _snapshot(self, kind: str, role: InteractionsRole) -> Any:
        nodes = self.client.nodes(kinds=[kind])["nodes"]
        return next(n["digest"] for n in nodes if n["attrs"]["dataset"] == role.table)

    def viewers(self, run: dict[str, Any], column: str, value: str) -> frozenset[Any]:
        """Return the viewers whose declared feature has a value."""
        import pyarrow.parquet as pq

        from mlg.adapters.artifacts_local import LocalArtifacts

        role = self.train_step(run).roles.viewers
        if role is None:
            return frozenset()
        nodes = self.client.nodes(kinds=["dataset_version"], limit=1_000)["nodes"]
        digest = next(n["digest"] for n in nodes if n["attrs"].get("dataset") == role.table)
        path = LocalArtifacts(self.home / "artifacts").open(digest)
        table: Any = pq.read_table(path, columns=[role.key, column])
        return frozenset(r[role.key] for r in table.to_pylist() if r[column] == value)

    def play(
        self,
        plan: ReplayPlan,
        *,
        per_second: float | None = None,
        said: Callable[[], str] = lambda: "",
        kill: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Play a plan from where event time stands; return what came back.

        Args:
            plan: What to play; its passes are shifted on.
            per_second: Requests a second at most.
            said: A word for the progress line.
            kill: A replica's process that is killed half way.
        """
        from mlg.app.replay import Progress, Target, replay

        port = self.client.status()["ports"]["gateway"]
        target = Target(
            host="127.0.0.1", port=port, service=self.service, per_second=per_second
        )
        plan = plan.after(self.newest_us)
        quiet = not err.is_terminal  # a log would hold an empty line for each play
        with Bars(*_COLUMNS, console=err, transient=True, disable=quiet) as bars:
            task = bars.add_task("viewers", total=len(plan), facts="")
            victim = kill

            def show(done: Progress) -> None:
                nonlocal victim
                if victim is not None and done.done * 2 > done.total:
                    psutil.Process(victim["pid"]).kill()
                    err.print(f"  {victim['id']} was killed (pid {victim['pid']})")
                    victim = None
                facts = f"{done.per_second:.0f}/s  {done.failed} failed  {said()}"
                bars.update(task, completed=done.done, facts=facts)

            summary = replay(plan, target, show)
        self.requests += summary["requests"]
        self.failed += summary["failed"]
        if summary["last_event_time"]:
            newest = parse_time(summary["last_event_time"]).timestamp()
            self.newest_us = max(self.newest_us, math.ceil(newest * 1e6))
        self.last = summary
        return summary
