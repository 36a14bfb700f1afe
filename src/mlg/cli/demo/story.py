"""The demo's closing table: each step is confirmed by asking the graph."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from mlg.core.errors import BackendError


@dataclass(slots=True, kw_only=True)
class StoryStep:
    """One line of the closing table."""

    name: str
    happened: str = ""
    evidence: str = ""
    seconds: float = 0.0
    confirmed: bool = False


@dataclass(slots=True, kw_only=True)
class Story:
    """What the demo did, in order."""

    console: Console
    steps: list[StoryStep] = field(default_factory=list[StoryStep])

    @contextmanager
    def step(self, name: str) -> Generator[StoryStep]:
        """Time one step; it counts only once `confirmed` was set from a fact."""
        line = StoryStep(name=name)
        self.steps.append(line)
        self.console.rule(f"[bold]{len(self.steps)}. {name}", align="left")
        began = time.monotonic()
        try:
            yield line
        finally:
            line.seconds = time.monotonic() - began

    @property
    def confirmed(self) -> bool:
        """Whether there are steps and the graph confirmed each of them."""
        return bool(self.steps) and all(step.confirmed for step in self.steps)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return the lines as JSON objects."""
        return [asdict(step) for step in self.steps]

    def close(self) -> None:
        """Print the closing table."""
        grid = Table(title="what happened", title_justify="left", show_lines=True)
        for column in ("step", "what happened", "evidence", "seconds", "confirmed"):
            grid.add_column(column, overflow="fold")
        for number, step in enumerate(self.steps, 1):
            grid.add_row(
                f"{number}. {step.name}",
                step.happened,
                step.evidence,
                f"{step.seconds:.1f}",
                "yes" if step.confirmed else "NO",
            )
        self.console.print(grid)


def expect(fact: bool, what: str, *, where: str, hint: str) -> None:
    """Stop the story when the graph does not say what should have happened.

    Raises:
        BackendError: `fact` is false.
    """
    if not fact:
        raise BackendError(what, where=where, hint=hint)


def wait_for(fact: Callable[[], bool], what: str, *, deadline_s: float, where: str) -> None:
    """Return once the fact holds.

    Raises:
        BackendError: It did not hold in time.
    """
    until = time.monotonic() + deadline_s
    while not fact():
        if time.monotonic() > until:
            raise BackendError(
                f"{what}: not within {deadline_s:g} s",
                where=where,
                hint="read the logs in run/.",
            )
        time.sleep(0.2)
