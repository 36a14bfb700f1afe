"""`services:` who answers, with what, and how a new version takes over."""

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from mlg.manifest.specs_base import (
    AnyBp,
    Bp,
    Bytes,
    ColumnName,
    Milliseconds,
    Name,
    Owner,
    Probability,
    Ratio,
    Seconds,
    Spec,
    Tags,
    Text,
)


class ResourcesSpec(Spec, frozen=True, kw_only=True):
    """What one replica may use."""

    cpu: Annotated[float, Meta(gt=0)] | None = None
    """Processor cores: bound to so many, rounded up; a part of one weighs less."""
    memory_bytes: Bytes | None = field(name="memory", default=None)
    """Memory that it may write to; a replica that wants more dies and is started again."""
    open_files: Annotated[int, Meta(ge=32)] | None = None
    """File descriptors, sockets among them."""


class ConfidenceSpec(Spec, frozen=True, kw_only=True):
    """When the model steps back for the popularity list."""

    abstain_below: Ratio = 0.0
    """Raw confidence under which the popularity list answers."""
    explore_bp: Bp = field(name="explore", default=100)
    """Share of would-be abstentions that the model answers all the same."""


class BiasSpec(Spec, frozen=True, kw_only=True):
    """Groups of viewers that must be served alike."""

    groups: Annotated[tuple[ColumnName, ...], Meta(min_length=1)]
    """Text features of viewers, named in the train step's roles; each splits them anew."""


class LoadSpec(Spec, frozen=True, kw_only=True):
    """How hard the test `load` asks."""

    rate_hz: Annotated[float, Meta(gt=0, le=10_000)] | None = field(name="rate", default=None)
    """Requests a second; if left out, one replica's part of the busiest minute of late."""
    seconds: Annotated[Seconds, Meta(le=600)] = field(name="for", default=4.0)
    """How long."""


class BudgetSpec(Spec, frozen=True, kw_only=True):
    """What a version may take in staging."""

    p99_ms: Milliseconds | None = field(name="p99", default=None)
    """Time in which 99 of 100 answers come under load; if left out, that of `rollback`."""
    memory_bytes: Bytes | None = field(name="memory", default=None)
    """Most that its replica may hold; if left out, `resources.memory`."""


class RobustnessSpec(Spec, frozen=True, kw_only=True):
    """What may become of an answer when a field of the request is missing."""

    min_overlap: Ratio = 0.0
    """Least part of the recommended items that must stay, averaged over requests, for each
    missing field; 0 asks for an answer that keeps the contract."""


class CompareSpec(Spec, frozen=True, kw_only=True):
    """How far the version may differ from the one that serves; left out is not limited."""

    min_overlap: Ratio | None = None
    """Least part of the recommended items that both name, averaged over requests."""
    max_top_changed: Ratio | None = None
    """Largest share of requests of which the first item is another."""
    max_confidence_shift: Ratio | None = None
    """Largest change of the mean confidence, up or down."""


StagingTest = Literal["contract", "golden", "load", "memory", "robustness", "compare", "bias"]


class StagingSpec(Spec, frozen=True, kw_only=True):
    """What a version must pass before it sees a viewer."""

    window: Annotated[
        str,
        Meta(
            pattern=r"^(always|([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9])$",
            extra={"expected": '"always" or a daily span, like "01:00-05:00"'},
        ),
    ] = "always"
    """When staging may run: `always`, or a daily span, which may go over midnight. Wall time,
    also with `clock: request`."""
    timezone: Text = "UTC"
    """Whose clocks `window` means: an IANA name, like Europe/Berlin."""
    compose: bool = False
    """Test the version's image in containers, beside its popularity server and what the
    service depends on, in place of a process."""
    tests: tuple[StagingTest, ...] = ("contract", "golden")
    """Batteries to run."""
    load: LoadSpec = field(default_factory=LoadSpec)
    """How hard the test `load` asks."""
    budget: BudgetSpec | None = None
    """What the tests `load` and `memory` allow."""
    robustness: RobustnessSpec | None = None
    """What the test `robustness` allows."""
    compare: CompareSpec | None = None
    """What the test `compare` allows."""
    bias: BiasSpec | None = None
    """What the test `bias` compares."""
    deadline_s: Seconds = field(name="deadline", default=60.0)
    """How long they may take together; what has no result by then is an ERROR."""


class CanarySpec(Spec, frozen=True, kw_only=True):
    """How a new version's share of the traffic grows."""

    steps_bp: Annotated[tuple[Bp, ...], Meta(min_length=1)] = field(
        name="steps", default=(50, 500, 2_500, 10_000)
    )
    """Ascending shares, the last 100%; a step ends on evidence, not on a clock."""
    min_units: Annotated[int, Meta(ge=1)] = 200
    """Sticky units that a step must have seen at least."""
    max_hold_s: Seconds = field(name="max_hold", default=86_400.0)
    """Event time after which an inconclusive step pauses and calls."""
    sticky: Text = "user_id"
    """Field of the request by which a viewer stays with one version."""


class InterleaveSpec(Spec, frozen=True, kw_only=True):
    """Lists of both versions' items, shown to a share of the viewers before the canary."""

    share_bp: Annotated[int, Meta(ge=1, le=5_000, extra={"unit": "bp"})] = field(
        name="share", default=500
    )
    """Share of the traffic that gets them, at most 50%."""
    min_viewers: Annotated[int, Meta(ge=1)] = 100
    """Votes that a PASS needs at least; a viewer's vote is the first item that he takes."""
    max_hold_s: Seconds = field(name="max_hold", default=3_600.0)
    """Event time after which it goes on to the canary without a verdict."""
    alpha: Probability | None = None
    """Chance of stopping a good version; at most a quarter of the rollout's own."""
    margin_bp: Annotated[int, Meta(ge=1, le=4_900, extra={"unit": "bp"})] = field(
        name="margin", default=1_000
    )
    """How far under half of the votes the version may stay for a PASS: 10% is 40% of them."""
    required: bool = False
    """Without a verdict it pauses and calls instead of going on."""


class RolloutGate(Spec, frozen=True, kw_only=True):
    """What one measure must show during a canary; the keys depend on the measure."""

    alpha: Probability | None = None
    """Chance of stopping a good version."""
    from_bp: Bp | None = field(name="from", default=None)
    """Share of the traffic from which on the gate is read."""
    max_increase_bp: AnyBp | None = field(name="max_increase", default=None)
    """Relative rise over the control that is still accepted."""
    max_drop_bp: AnyBp | None = field(name="max_drop", default=None)
    """Relative fall under the control that is still accepted."""
    max_bp: Bp | None = field(name="max", default=None)
    """Largest value accepted."""
    min_bp: Bp | None = field(name="min", default=None)
    """Smallest value accepted."""


GateName = Literal[
    "errors",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "cpu",
    "cache_hits",
    "ctr",
    "watch_through",
    "abstention",
    "rescue",
    "fallback",
]


class ApprovalSpec(Spec, frozen=True, kw_only=True):
    """A person who must say yes to a new version; without an answer it pauses and calls."""

    by: Annotated[tuple[Text, ...], Meta(min_length=1)]
    """Who may: account names, subjects like `local:ada`, or the roles `viewer`, `operator`,
    `admin`."""
    before: Literal["canary", "promote"] = "promote"
    """Asked before the version sees a viewer, or before it has all of the traffic."""


class RolloutSpec(Spec, frozen=True, kw_only=True):
    """How a new version takes over."""

    staging: StagingSpec | None = None
    """What it must pass before."""
    interleave: InterleaveSpec | None = None
    """Shows lists of both versions to a few first, and asks whose items are taken."""
    canary: CanarySpec | None = None
    """How its share grows."""
    gates: dict[GateName, RolloutGate] = field(default_factory=dict[GateName, RolloutGate])
    """Measure -> what it must show."""
    approval: ApprovalSpec | None = None
    """Who must say yes, and before what; nobody if left out. It waits for `max_hold`."""
    swaps_per_hour: Annotated[int, Meta(ge=1)] | None = None
    """Most changes of the version at 100% in any hour; more than 9 counts as 9."""
    swap_back_s: Seconds | None = field(name="swap_back", default=None)
    """How long the former version stays warm at 0%."""
    max_pause_s: Seconds | None = field(name="max_pause", default=None)
    """How long a rollout that called a person waits for an answer, before it is taken back; a
    day if left out."""


class ShareObjective(Spec, frozen=True, kw_only=True):
    """An objective of a share that must stay low."""

    max_bp: Bp = field(name="max")
    """Largest share over the objective's period."""


class LatencyObjective(Spec, frozen=True, kw_only=True):
    """An objective of a latency that must stay low."""

    max_ms: Milliseconds = field(name="max")
    """Largest latency, in milliseconds."""


class AvailabilityObjective(Spec, frozen=True, kw_only=True):
    """An objective of a share that must stay high."""

    min_bp: Bp = field(name="min")
    """Smallest share over the objective's period."""


class CpuObjective(Spec, frozen=True, kw_only=True):
    """An objective of what a request costs, beside what it cost the version before."""

    max_increase_bp: AnyBp = field(name="max_increase")
    """Largest relative rise of the CPU seconds a request over the former version's."""


class CacheObjective(Spec, frozen=True, kw_only=True):
    """An objective of the cache of answers."""

    min_bp: Bp = field(name="min")
    """Least share of lookups that the cache answers, once it had a `ttl` to fill."""


class RollbackSpec(Spec, frozen=True, kw_only=True):
    """Objectives of the service; burning them too fast reverses a release."""

    error_rate: ShareObjective | None = None
    """Share of failed attempts."""
    latency_p99: LatencyObjective | None = None
    """Time in which 99 of 100 answers are given."""
    availability: AvailabilityObjective | None = None
    """Share of requests that were answered."""
    cpu: CpuObjective | None = None
    """CPU seconds that a request costs the replicas."""
    cache_hits: CacheObjective | None = None
    """Share of lookups that the replicas' caches answer; needs `cache:`."""


class RateLimitSpec(Spec, frozen=True, kw_only=True):
    """How many requests the service takes; what exceeds them is refused with 429."""

    requests_per_second: Annotated[float, Meta(gt=0, le=1_000_000)]
    """Requests in a second, over all gateways; each of them lets through its equal part."""
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Requests that may come at once after a quiet time; those of one second if left out."""


class TrafficSpec(Spec, frozen=True, kw_only=True):
    """How the gateways treat the service's requests."""

    in_flight: Annotated[int, Meta(ge=1, le=10_000)] = 32
    """Requests that one gateway has under way with one replica at most; the popularity list
    answers what exceeds them."""
    rate_limit: RateLimitSpec | None = None
    """How many requests the service takes; any number if left out."""
    shadow_bp: Bp = field(name="shadow", default=0)
    """Share of the requests of which versions that are warm without a share of their own get a
    copy; nobody sees or logs their answers."""


HALF_A_YEAR_S: Final = 183 * 86_400.0


class RetentionSpec(Spec, frozen=True, kw_only=True):
    """How long the rows of the prediction log are kept; hashes and roots stay for good."""

    predictions_s: Seconds = field(name="predictions", default=HALF_A_YEAR_S)
    """Age since it was received at which a sealed answer is erased; six months by default."""
    log_s: Seconds | None = field(name="log", default=None)
    """Age at which a log file, with its feedback, goes once sealed and read by everyone; as
    `predictions` if left out."""


class CacheSpec(Spec, frozen=True, kw_only=True):
    """Answers of the model that are kept for requests that ask the same again."""

    entries: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Most answers that a replica keeps; the one asked for longest ago goes first."""
    ttl_s: Seconds = field(name="ttl", default=60.0)
    """Event time for which an answer stands for later equal requests."""


class BatchSpec(Spec, frozen=True, kw_only=True):
    """Requests that a replica ranks together."""

    most: Annotated[int, Meta(ge=2, le=256)] = field(name="max", default=16)
    """Most requests of a batch."""
    deadline_ms: Milliseconds = field(name="deadline", default=2.0)
    """How long the first of them waits for others, while others are in hand."""


class ServiceSpec(Spec, frozen=True, kw_only=True):
    """One recommender that viewers ask, or one server that recommenders ask."""

    model: Name | None = None
    """The pipeline whose newest accepted model answers; or else `adopt` or `command`."""
    command: Annotated[tuple[Text, ...], Meta(min_length=1)] | None = None
    """A server of one's own, started in the manifest's folder: it listens on 127.0.0.1 at the
    port in MLG_PORT; `{port}` in a word is that port, a first word `python` mlg's own."""
    health: Annotated[
        str, Meta(pattern=r"^/[^\s?#]*$", extra={"expected": "a path, like /health"})
    ] = "/health"
    """Path at which a `command` answers 200 when it is well."""
    replicas: Annotated[int, Meta(ge=1, le=1_000)] = 1
    """Processes that answer."""
    depends_on: tuple[Name, ...] = ()
    """Services that must be healthy first."""
    resources: ResourcesSpec | None = None
    """What one replica may use."""
    fallback: Literal["popularity"] = "popularity"
    """What answers when the model does not."""
    fallback_list: Text | None = None
    """File with the popularity list of an adopted recommender: item ids, best first. A
    released model brings its own."""
    confidence: ConfidenceSpec | None = None
    """When the model steps back."""
    clock: Literal["system", "request"] = "system"
    """`request`: the time in `context.at` is the event time (replays); else the machine's."""
    adopt: (
        Annotated[
            str,
            Meta(
                pattern=r"^https?://[^\s/]+\S*$",
                extra={"expected": "an address, like http://existing:8000"},
            ),
        ]
        | None
    ) = None
    """Address of a recommender that mlg did not train: asked at `/recommend`, at the path
    given, or by the Open Inference Protocol if that is `/v2/models/NAME/infer`. Beside
    `model` it serves until that pipeline's first version takes over."""
    rollout: RolloutSpec | None = None
    """How a new version takes over."""
    rollback: RollbackSpec | None = None
    """Objectives that reverse a release."""
    traffic: TrafficSpec = field(default_factory=TrafficSpec)
    """How the gateways treat its requests."""
    description: str = ""
    """What the service is for, for readers and for the graph."""
    owner: Owner | None = None
    """Who answers for it: `team:NAME`, or a person."""
    tags: Tags = ()
    """Words to find and group it by, kept on the graph."""
    retention: RetentionSpec = field(default_factory=RetentionSpec)
    """How long answers and feedback are kept."""
    cache: CacheSpec | None = None
    """Keeps answers of the model; each is decided and logged anew. Off if left out."""
    batch: BatchSpec | None = None
    """Ranks requests together that wait together. Off if left out."""
