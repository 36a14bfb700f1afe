"""A rollout under any facts in any order: what may never happen, and that it ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlg.core.traffic import Share, TrafficSplit
from mlg.release.rollout import begin, step
from mlg.release.rollout_types import (
    ENDED,
    Fallen,
    GatePlan,
    InterleavePlan,
    Next,
    OperatorAct,
    Promote,
    Retire,
    RollBack,
    RolloutCommand,
    RolloutFacts,
    RolloutPlan,
    RolloutState,
    SetShares,
    interleaved_label,
)
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


class Rollouts(RuleBasedStateMachine):
    """One service, rollout after rollout, with a gateway that may lag behind."""

    def __init__(self) -> None:
        super().__init__()
        self.facts = RolloutFacts(now=T0, swaps=())
        self.serving: str | None = "v0"
        self.count = 0
        self.keys: set[str] = set()
        self.swaps: list[datetime] = []
        self.forward: list[datetime] = []
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
            staging=self.count % 2 == 0,
            gates=GATES,
            interleave=DRAFTS[self.count % 4],
        )
        candidate = self.next or f"v{self.count}"
        self.next = None
        self.facts = RolloutFacts(
            now=self.facts.now,
            swaps=tuple(self.swaps),
            shares=self.wanted,
            ready=(),
            fresh=True,
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

    @rule(act=st.sampled_from(("pause", "resume", "promote", "approve", "rollback")))
    def a_person_acts(self, act: Any) -> None:
        acts = self.facts.acts
        told = OperatorAct(id=f"a{len(acts)}", act=act, by="ann")
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
                self.wanted = command.shares
            elif isinstance(command, Promote):
                self._swap(before, command)
            elif isinstance(command, RollBack):
                assert self.wanted == (Share(version=command.to, bp=10_000),)
                if command.swap:
                    self.swaps.append(facts.now)
                    self.serving = command.to
            elif isinstance(command, Retire):
                assert command.label not in {s.version for s in self.wanted}, "has viewers"
            elif isinstance(command, Next):
                self.next = command.version
        self._never(before, facts, commands)
        self.facts = replace(self.facts, swaps=tuple(self.swaps))
        return commands

    def _swap(self, before: RolloutState, command: Promote) -> None:
        now = self.facts.now
        assert self.serving == command.replaced != command.version, "a double swap"
        assert sum(now - at <= timedelta(hours=1) for at in self.swaps) < LIMIT
        judged = before.share_bp > 0 and not before.forced
        assert self.facts.fresh or not judged, "promoted without metrics"
        self.serving = command.version
        self.swaps.append(now)
        self.forward.append(now)

    def _never(
        self, before: RolloutState, facts: RolloutFacts, commands: tuple[RolloutCommand, ...]
    ) -> None:
        after = self.state
        grew = after.phase == "canary" and after.share_bp > before.share_bp
        if before.phase == "canary" and (grew or after.phase == "promoting"):
            person = after.forced
            assert person or (facts.fresh and facts.step == before.step)
            required = set(before.plan.required(before.share_bp))
            assert person or required <= {g.name for g in facts.gates}
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

    def teardown(self) -> None:
        """Given verdicts, and nobody who pauses it, every rollout ends."""
        for _ in range(40):
            if self.state.phase in ENDED:
                return
            if self.state.phase == "paused":
                acts = self.facts.acts
                told = OperatorAct(id=f"end{len(self.keys)}", act="resume", by="ann")
                self.facts = replace(self.facts, acts=(*acts, told))
            self.time_passes(3_601)
            self._well()
            self._look()
        raise AssertionError(f"it does not end: {self.state}")


Rollouts.TestCase.settings = settings(
    max_examples=50, stateful_step_count=20, deadline=None, derandomize=True
)
TestRollouts = Rollouts.TestCase
