"""What the gates of a rollout read: counters of candidate, control and stable, stage by stage.

Everything goes through JSON and back: `msgspec.to_builtins` and `msgspec.convert`.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSeen:
    """What one arm did in one stage, by the version that viewers were assigned to."""

    units: int = 0
    """Sticky units."""
    sample: int = 1
    """One unit of so many was told apart; the first-answer counts are of these."""
    at_risk: int = 0
    """Sticky units that had not failed in an earlier stage of the rollout."""
    failed: int = 0
    """Of these, units that failed in this one: another version or the popularity list had to
    answer at least once."""
    attempts: int = 0
    """Calls of the arm's replicas, as the gateways count them."""
    errors: int = 0
    """Attempts without a good answer: 5xx, none, or one that the sanity check refused."""
    insane: int = 0
    """Of these, refused by the sanity check (NaN, length, duplicates, unknown items)."""
    answers: int = 0
    """Viewer requests assigned to the arm that were answered, by whomever."""
    rescued: int = 0
    """Of these by another version."""
    fell_back: int = 0
    """Of these by the popularity list after a failure."""
    abstained: int = 0
    """Of these by the replica's own popularity list, for lack of confidence."""
    first_abstained: int = 0
    """Units of the sample whose first answer was an abstention."""
    first_fell_back: int = 0
    """Units of the sample whose first answer came from the popularity list after a failure."""
    first_slow: dict[str, int] = field(default_factory=dict[str, int])
    """Units of the sample whose first answer was slow, by gate."""
    viewers: int = 0
    """Viewers who gave feedback, or were shown something."""
    clicked: float = 0.0
    """Sum over these viewers of the share of what they were shown that they engaged with."""
    watchers: int = 0
    watched: float = 0.0
    """Sum over watchers of their mean watch-through, 0..1 each."""

    @property
    def sampled(self) -> int:
        """Units of the sample."""
        return self.units // self.sample

    @property
    def unlogged(self) -> int:
        """Failed attempts that no answer tells of: nobody could be asked instead."""
        return max(0, self.errors - self.rescued - self.fell_back)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeen:
    """One stage: a span in which the split did not change."""

    share_bp: int
    candidate: ArmSeen
    control: ArmSeen
    stable: ArmSeen
    """The rest of the stable traffic, without the control."""
    windows: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """By gate that compares the two groups moment by moment (latency, `cpu`, `cache_hits`):
    in how many windows the candidate was over the limit, and in how many it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """Everything that the gates read."""

    stages: tuple[StageSeen, ...]
    """In order; the last is the step that is judged."""
    limits_ms: dict[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    """From where on an answer is slow, by latency gate: of the candidate, of the control. Fixed
    from the control's latency before the rollout; a gate without one says so."""
    expected_viewers: float | None = None
    """Viewers that the candidate will have at this step until its time is over; None when
    nobody knows, and then no gate is excused."""
