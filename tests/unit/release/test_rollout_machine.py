"""A rollout under any facts in any order: what may never happen, and that it ends.

Its control plane may die at any command: what was stored goes through JSON, and what was
decided is done again from its beginning.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlg.core.traffic import Share, TrafficSplit
from mlg.release.rollout import begin, step
from mlg.release.rollout_types import (
    ENDED,
    ApprovalPlan,
    Fallen,
    GatePlan,
    InterleavePlan,
    Next,
    OperatorAct,
    Promote,
    RollBack,
    RolloutCommand,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
    SetShares,
    StartStaging,
    interleaved_label,
)
from mlg.release.staging_window import Opening, StagingWindow
from mlg.release.verdicts import GateResult

T0 = datetime(2026, 3, 1, tzinfo=UTC)
LIMIT = 1
GATES = (
    GatePlan(name="errors", alpha=0.005, margin=0.005),
    GatePlan(name="ctr", alpha=0.005, margin=0.1, from_bp=500, engagement=True),
)
DRAFT = InterleavePlan(
    share_bp=500, min_viewers=10, max_hold_s=3_600.0, alpha=0.0025, margin=0.1
)
DRAFTS = (None, DRAFT, replace(DRAFT, required=True), DRAFT)
VERDICTS = st.sampled_from(("PASS", "PASS", "PASS", "INCONCLUSIVE", "FAIL", "ERROR"))


def opening(now: datetime, *, is_open: bool, ever: bool = True) -> Opening:
    """Return an opening that holds now, or the next one, which is of the next hour."""
    if is_open:
        return Opening(at=now, opens=now, closes=now + timedelta(hours=4))
    later = now.replace(minute=0) + timedelta(hours=1)
    return Opening(at=now, opens=later if ever else None, why="later")


class Rollouts(RuleBasedStateMachine):
    """One service, rollout after rollout, with a gateway that may lag behind."""

    def __init__(self) -> None:
        super().__init__()
        self.facts = RolloutFacts(now=T0, swaps=())
        self.serving: str | None = "v0"
        self.count = 0
        self.keys: set[str] = set()
        self.swaps: dict[str, datetime] = {}
        self.dies_at: int | None = None
        self.asked: set[tuple[Share, ...]] = {(Share(version="v0", bp=10_000),), ()}
        self.wanted: tuple[Share, ...] = (Share(version="v0", bp=10_000),)
        self.next: str | None = None
        self.state: RolloutState = self._begun()

    def _begun(self) -> RolloutState:
        self.count += 1
        steps = ((50, 2_500, 10_000), (10_000,), (6_000, 10_000))[self.count % 3]
        plan = RolloutPlan(
            steps_bp=steps,
            min_units=10,
            max_hold_s=3_600.0,
            swaps_per_hour=LIMIT,
            swap_back_s=60.0,
            max_pause_s=1_800.0 if self.count % 2 else 86_400.0,
            staging=self.count % 2 == 0,
            window=StagingWindow(start="01:00", end="05:00") if self.count % 4 == 0 else None,
            gates=GATES,
            approval=(
                None,
                ApprovalPlan(before="canary", by=("ann",)),
                None,
                ApprovalPlan(before="promote", by=("ann",)),
            )[self.count % 4],
            interleave=DRAFTS[self.count % 4],
        )
        candidate = self.next or f"v{self.count}"
        self.next = None
        self.facts = RolloutFacts(
            now=self.facts.now,
            swaps=tuple(self.swaps.values()),
            shares=self.wanted,
            ready=(),
            fresh=True,
            window=self.facts.window,
        )
        name = f"r{self.count}"
        return begin(name, "home", candidate, self.serving, plan, self.facts.now)

    @initialize(first=st.booleans())
    def start(self, first: bool) -> None:
        if first:
            self.serving, self.wanted, self.count = None, (), 0
            self.state = self._begun()

    # what happens in the world

    @rule(seconds=st.sampled_from((1, 61, 1_000, 3_601)))
    def time_passes(self, seconds: int) -> None:
        self.facts = replace(self.facts, now=self.facts.now + timedelta(seconds=seconds))

    def _well(self) -> None:
        """Let everything that the rollout waits for be there."""
        self.facts = replace(
            self.facts,
            staging="PASS",
            staging_cut=False,
            window=opening(self.facts.now, is_open=True),
            ready=(
                self.state.candidate,
                f"{self.state.stable}~control",
                interleaved_label(self.state.candidate),
            ),
            shares=self.wanted,
            step=self.state.step,
            fresh=True,
            units=10,
            gates=tuple(GateResult(name=g.name, verdict="PASS") for g in GATES),
            watch=(),
            fallen=(),
            frozen=False,
        )

    @rule(looks=st.integers(1, 5), seconds=st.sampled_from((0, 61, 1_000)))
    def all_goes_well(self, looks: int, seconds: int) -> None:
        for _ in range(looks):
            self.time_passes(seconds)
            if self.state.phase in ENDED:
                self.state = self._begun()
            self._well()
            self._look()

    @rule(command=st.integers(0, 4))
    def the_control_plane_will_die(self, command: int) -> None:
        """At the next look, before its command of this number, or just after deciding."""
        self.dies_at = command

    @rule(seconds=st.sampled_from((1, 3_601, 90_000)))
    def nobody_answers(self, seconds: int) -> None:
        """Seconds pass on the machine's clock only."""
        self.facts = replace(self.facts, waited_s=float(seconds))
        self._look()
        self.facts = replace(self.facts, waited_s=0.0)

    @rule(looks=st.integers(1, 4))
    def the_same_facts_again(self, looks: int) -> None:
        for _ in range(looks):
            self._look()

    def _until(self, phase: str) -> None:
        """Let it go well until a phase, or for some looks."""
        for _ in range(10):
            if self.state.phase != phase:
                self.all_goes_well(1, 1_000)

    @rule(errors=VERDICTS, ctr=VERDICTS, supported=st.booleans(), at=st.integers(0, 2))
    def gates_speak(self, errors: Any, ctr: Any, supported: bool, at: int) -> None:
        self._until("canary")
        self._well()
        speaking = (
            GateResult(name="errors", verdict=errors),
            GateResult(name="ctr", verdict=ctr, engagement=True, supported=supported),
        )
        self.facts = replace(self.facts, gates=speaking, step=at)
        self._look()

    @rule(votes=VERDICTS, faults=VERDICTS, at=st.sampled_from((-1, 0)), late=st.booleans())
    def votes_speak(self, votes: Any, faults: Any, at: int, late: bool) -> None:
        self._until("interleaving")
        self._well()
        if late:
            self.time_passes(3_601)
        speaking = (
            GateResult(name="interleaving", verdict=votes, engagement=True),
            GateResult(name="interleaved_faults", verdict=faults),
        )
        self.facts = replace(self.facts, gates=speaking, step=at)
        self._look()

    @rule(
        change=st.sampled_from(
            (
                {"frozen": True},
                {"staging": None},
                {"staging": "FAIL"},
                {"staging": "ERROR"},
                {"staging": "INCONCLUSIVE", "staging_cut": True},
                {"window": None},
                {"ready": ()},
                {"watch": (GateResult(name="error_rate", verdict="FAIL"),)},
            )
        )
    )
    def one_fact_is_odd(self, change: dict[str, Any]) -> None:
        self._well()
        self.facts = replace(self.facts, **change)
        self._look()

    @rule(
        phase=st.sampled_from(("interleaving", "canary", "promoting")),
        change=st.sampled_from(
            (
                {"fresh": False},
                {"gates": ()},
                {"gates": (GateResult(name="ctr", verdict="PASS"),)},
                {"shares": None},
                {"step": None},
                {"units": 9},
            )
        ),
    )
    def metrics_go_missing(self, phase: str, change: dict[str, Any]) -> None:
        self._until(phase)
        self._well()
        self.facts = replace(self.facts, **change)
        self._look()

    @rule(days=st.integers(1, 4), ever=st.booleans())
    def its_window_is_shut(self, days: int, ever: bool) -> None:
        for _ in range(days):
            self.time_passes(3_601)
            self._well()
            shut = opening(self.facts.now, is_open=False, ever=ever)
            self.facts = replace(self.facts, window=shut)
            self._look()

    @rule(of=st.sampled_from(("candidate", "control", "interleaved")))
    def replicas_fall(self, of: str) -> None:
        labels = {
            "candidate": self.state.candidate,
            "control": f"{self.state.stable}~control",
            "interleaved": interleaved_label(self.state.candidate),
        }
        label = labels[of]
        self.facts = replace(self.facts, fallen=(Fallen(label=label, reason="crash loop"),))
        self._look()

    @rule(
        act=st.sampled_from(("pause", "resume", "promote", "approve", "rollback")),
        by=st.sampled_from(("ann", "ann", "bob")),
    )
    def a_person_acts(self, act: Any, by: str) -> None:
        acts = self.facts.acts
        told = OperatorAct(id=f"a{len(acts)}", act=act, by=by)
        self.facts = replace(self.facts, acts=(*acts, told))
        self._look()

    @rule()
    def another_version_arrives(self) -> None:
        self.count += 1
        self.facts = replace(self.facts, arrived=f"v{self.count}")
        self._look()

    @rule()
    def look_until_nothing_changes(self) -> None:
        for _ in range(12):
            before = self.state
            if not self._look() and self.state == before:
                return
        raise AssertionError(f"the same facts never come to rest: {self.state}")

    def _look(self) -> tuple[RolloutCommand, ...]:
        before, facts = self.state, self.facts
        self.state, commands = step(before, facts)
        for command in commands:
            assert command.key not in self.keys, f"twice: {command}"
            self.keys.add(command.key)
            if isinstance(command, SetShares):
                TrafficSplit(service="home", shares=command.shares)
                self.asked.add(command.shares)
            elif isinstance(command, Promote):
                self._may_swap(before, command)
        self._do(before, commands)
        self._never(before, facts, commands)
        self.facts = replace(self.facts, swaps=tuple(self.swaps.values()))
        return commands

    def _do(self, before: RolloutState, commands: tuple[RolloutCommand, ...]) -> None:
        """Do what was decided; a control plane that dies does it again from the stored look."""
        if self.dies_at is not None:
            for command in commands[: self.dies_at]:
                self._done(command)
            stored = msgspec.json.decode(msgspec.json.encode(self.state), type=RolloutState)
            again = msgspec.json.decode(
                msgspec.json.encode(commands), type=tuple[RolloutCommand, ...]
            )
            assert (stored, again) == (self.state, commands)
            if not commands:  # it died before the look was stored: the look is made again
                assert step(before, self.facts) == (stored, ())
            self.state, commands, self.dies_at = stored, again, None
        for command in commands:
            self._done(command)

    def _done(self, command: RolloutCommand) -> None:
        """Change the world as a command does; done twice it is done once."""
        if isinstance(command, SetShares):
            self.wanted = command.shares
        elif isinstance(command, Promote):
            self.serving = command.version
            self.swaps[command.key] = self.state.since
        elif isinstance(command, RollBack):
            assert self.wanted == (Share(version=command.to, bp=10_000),)
            if command.swap:
                self.swaps[command.key] = self.state.since
                self.serving = command.to
        elif isinstance(command, Next):
            self.next = command.version

    def _may_swap(self, before: RolloutState, command: Promote) -> None:
        now = self.facts.now
        assert self.serving == command.replaced != command.version, "a double swap"
        assert sum(now - at <= timedelta(hours=1) for at in self.swaps.values()) < LIMIT
        judged = before.share_bp > 0 and not before.forced
        assert self.facts.fresh or not judged, "promoted without metrics"
        assert before.approved or before.plan.approval is None, "promoted without approval"

    def _never(
        self, before: RolloutState, facts: RolloutFacts, commands: tuple[RolloutCommand, ...]
    ) -> None:
        after = self.state
        if any(isinstance(command, StartStaging) for command in commands):
            window = facts.window
            assert before.plan.window is None or after.waived or (window and window.is_open)
        if before.phase == "scheduled" and after.phase not in {"staging", "scheduled"}:
            assert after.phase in {"paused", "failed"}
            assert not after.share_bp
        grew = after.phase == "canary" and after.share_bp > before.share_bp
        if before.phase == "canary" and (grew or after.phase == "promoting"):
            person = after.forced
            assert person or (facts.fresh and facts.step == before.step)
            required = set(before.plan.required(before.share_bp))
            assert person or required <= {g.name for g in facts.gates}
        assert after.approved in {"", "ann"}, "approved by one who may not"
        plan = before.plan.approval
        if plan is not None and plan.before == "canary" and after.share_bp > 0:
            assert after.approved, "viewers see what nobody approved"
        if before.phase == "interleaving" and after.phase in {"canary", "promoting"}:
            fallen = {f.label for f in facts.fallen}
            seen = facts.fresh and facts.step == before.step and facts.gates
            acted = len(after.acts) > len(before.acts)
            assert seen or acted or interleaved_label(before.candidate) in fallen
        if after.phase in {"canary", "promoting", "swapped", *ENDED}:
            labels = {share.version for share in self.wanted}
            assert interleaved_label(before.candidate) not in labels or before.phase in ENDED
            assert not after.interleaved, "a group is left"
        moving = before.phase not in {"rolling_back", *ENDED}
        judged = facts.watch if before.phase == "swapped" else facts.gates
        failed = before.share_bp > 0 and any(g.verdict == "FAIL" for g in judged)
        if moving and failed and before.stable is not None:
            assert after.phase == "rolling_back"
            assert self.wanted == (Share(version=before.stable, bp=10_000),)
        if before.phase in ENDED:
            assert (after, commands) == (before, ())

    @invariant()
    def viewers_are_always_somewhere(self) -> None:
        if self.state.stable is not None:
            assert sum(share.bp for share in self.wanted) == 10_000
        assert self.wanted in self.asked, "traffic that no rollout asked for"
        versions = [share.version.partition("~")[0] for share in self.wanted if share.bp]
        if self.state.phase in ENDED and versions:
            assert set(versions) == {self.serving}

    def teardown(self) -> None:
        """Given verdicts, answers, and nobody who pauses it, every rollout ends."""
        for number in range(40):
            if self.state.phase in ENDED:
                return
            waits = self.state.awaiting is not None and not self.state.approved
            if self.state.phase == "paused" or waits:
                acts, word = self.facts.acts, "approve" if waits else "resume"
                told = OperatorAct(id=f"end{number}", act=word, by="ann")
                self.facts = replace(self.facts, acts=(*acts, told))
            self.time_passes(3_601)
            self._well()
            self._look()
        raise AssertionError(f"it does not end: {self.state}")


Rollouts.TestCase.settings = settings(
    max_examples=50, stateful_step_count=20, deadline=None, derandomize=True
)
TestRollouts = Rollouts.TestCase
