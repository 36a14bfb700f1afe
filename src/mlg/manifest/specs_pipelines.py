"""`pipelines:` steps from tables to a model."""

from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, field

from mlg.manifest.specs_base import (
    AnyBp,
    ColumnName,
    Columns,
    Identifier,
    Json,
    Name,
    Owner,
    Spec,
    Tags,
    Text,
)

Inputs = Annotated[
    tuple[Identifier, ...],
    Meta(min_length=1, extra={"expected": "a list of datasets and step outputs"}),
]
Features = tuple[ColumnName, ...]
Params = dict[str, Json]
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
References = Annotated[
    tuple[Text, ...],
    Meta(min_length=1, extra={"one_or_many": True, "expected": "a name or a list of names"}),
]


class PointInTimeSpec(Spec, frozen=True, kw_only=True):
    """What the leak test changes: labels at or after a time must not reach rows before it."""

    at: ColumnName
    """Time column of the step's output: the row is about this time."""
    label: Columns
    """Label columns in the inputs; the test changes them from some time on."""
    source_at: ColumnName
    """Time column of the inputs that carry the label."""


class SqlStep(Spec, frozen=True, kw_only=True, tag_field="kind", tag="sql"):
    """A table made by a SQL file."""

    sql: Text
    """Path of the SQL file beside the manifest; its last statement is a SELECT."""
    inputs: Inputs = field(name="in")
    """Datasets and outputs of other steps; SQL sees them as tables by these names."""
    out: Identifier | None = None
    """Name of the table made; the step's own name if left out."""
    point_in_time: PointInTimeSpec | None = None
    """Declares what the leak test changes."""


class PythonStep(Spec, frozen=True, kw_only=True, tag_field="kind", tag="python"):
    """A table made by a function of Ibis tables."""

    python: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
            extra={"expected": 'a function as "module:function"'},
        ),
    ]
    """`module:function`, found beside the manifest; called with the inputs and `params`."""
    inputs: Inputs = field(name="in")
    """Datasets and outputs of other steps, handed to the function by these names."""
    out: Identifier | None = None
    """Name of the table made; the step's own name if left out."""
    params: Params = field(default_factory=dict[str, Json])
    """Handed to the function as its second argument."""
    point_in_time: PointInTimeSpec | None = None
    """Declares what the leak test changes."""


class InteractionsRole(Spec, frozen=True, kw_only=True):
    """The table of what viewers did with items, and what its columns mean."""

    table: Identifier
    """One of the step's inputs."""
    item: ColumnName
    """Column with the item's key."""
    at: ColumnName
    """Column with the time of the interaction."""
    value: ColumnName | None = None
    """Column with the label: a rating, a click, seconds watched; without one, rows count 1."""
    viewer: ColumnName | None = None
    """Column with the viewer's key; left out where viewers are not known."""
    position: ColumnName | None = None
    """Column with the place in which the item was shown, 1 first."""
    propensity: ColumnName | None = None
    """Column with the probability that the logging policy showed the item."""
    context: Features = ()
    """Viewer features of each row, for data without viewer keys."""


class ViewersRole(Spec, frozen=True, kw_only=True):
    """The table of viewers."""

    table: Identifier
    """One of the step's inputs."""
    key: ColumnName
    """Column with the viewer's key."""
    features: Features = ()
    """Columns that the model may use."""


class ItemsRole(Spec, frozen=True, kw_only=True):
    """The table of items: the catalogue."""

    table: Identifier
    """One of the step's inputs."""
    key: ColumnName
    """Column with the item's key."""
    title: ColumnName | None = None
    """Column with a name for people."""
    features: Features = ()
    """Columns that the model may use."""


class ItemStatsRole(Spec, frozen=True, kw_only=True):
    """The table of what was known of an item from some time on."""

    table: Identifier
    """One of the step's inputs."""
    key: ColumnName
    """Column with the item's key."""
    available_at: ColumnName
    """Column with a time: the row may be used later than that. Other columns are features."""


class RolesSpec(Spec, frozen=True, kw_only=True):
    """What the train step's tables are."""

    interactions: InteractionsRole
    """What viewers did with items."""
    items: ItemsRole | None = None
    """The catalogue, where there is one."""
    viewers: ViewersRole | None = None
    """Viewers, where they are known."""
    item_stats: ItemStatsRole | None = None
    """What was known of each item, and when."""


class TrainStep(Spec, frozen=True, kw_only=True, tag_field="kind", tag="train"):
    """A model fitted to tables."""

    model: Text
    """`two_stage`, `context_ranker`, `popularity`, or one's own as `module:Class`."""
    inputs: Inputs = field(name="in")
    """Datasets and outputs of other steps."""
    roles: RolesSpec
    """What each table is to the model."""
    params: Params = field(default_factory=dict[str, Json])
    """Settings of the model."""
    seed: Seed = 0
    """Where all randomness of the step starts."""


class GateSpec(Spec, frozen=True, kw_only=True):
    """What an evaluation must show of one metric before the model may go on."""

    better_than: References | None = None
    """Baselines that the metric must beat: `popularity_7d`, `production`, `anchor`, …"""
    not_worse_than: References | None = None
    """Baselines that the metric may fall short of by no more than `margin`."""
    margin_bp: AnyBp = field(name="margin", default=0)
    """Relative shortfall allowed for `not_worse_than`, in basis points of the baseline."""
    min: float | None = None
    """Smallest value allowed."""
    max: float | None = None
    """Largest value allowed."""


class EvaluateStep(Spec, frozen=True, kw_only=True, tag_field="kind", tag="evaluate"):
    """A model measured on held-out events, with gates."""

    gates: dict[
        Annotated[
            str,
            Meta(
                pattern=r"^[a-z][a-z0-9_]*(@[1-9][0-9]*)?$",
                extra={"expected": "a metric, like ndcg@10"},
            ),
        ],
        GateSpec,
    ]
    """Metric -> what it must show; `{}` measures without a gate."""
    inputs: Inputs = field(name="in")
    """The train step and the table that it is measured on."""
    params: Params = field(default_factory=dict[str, Json])
    """Settings of the evaluation."""


class PackageStep(Spec, frozen=True, kw_only=True, tag_field="kind", tag="package"):
    """An accepted model made into something that can be deployed."""

    image: Name
    """Name of the image."""
    inputs: tuple[Identifier, ...] = field(name="in", default=())
    """The train and evaluate steps; all of the pipeline's if left out."""


StepSpec = SqlStep | PythonStep | TrainStep | EvaluateStep | PackageStep

STEP_KEYS: Final[dict[str, type[StepSpec]]] = {
    "sql": SqlStep,
    "python": PythonStep,
    "model": TrainStep,
    "gates": EvaluateStep,
    "image": PackageStep,
}
"""The key that tells a step's kind."""


class PipelineOnSpec(Spec, frozen=True, kw_only=True):
    """Events that start a pipeline."""

    EXACTLY_ONE: ClassVar = ("commit",)

    commit: Text | None = None
    """Branch whose commits start a run once their tests passed and they change a file of it:
    the manifest, its SQL, its Python with what that imports, its data files."""
    paths: tuple[Text, ...] = ()
    """Further files whose change starts a run, like `prices/*.csv`, from the manifest's folder;
    `*` also stands for `/`."""


class PipelineSpec(Spec, frozen=True, kw_only=True):
    """Steps that make one model, run in the order of their inputs."""

    engine: Literal["duckdb", "spark"] = "duckdb"
    """What runs the table steps."""
    schedule: (
        Annotated[
            str,
            Meta(
                pattern=r"^(@(hourly|daily|weekly|monthly|yearly)"
                r"|[0-9*/,-]+( [0-9A-Za-z*/,?#-]+){4})$",
                extra={"expected": 'five cron fields, like "0 3 * * *"'},
            ),
        ]
        | None
    ) = None
    """When to run, as five cron fields, UTC."""
    on: PipelineOnSpec | None = None
    """Events that start a run."""
    steps: Annotated[dict[Identifier, StepSpec], Meta(min_length=1)]
    """Step name -> step; its kind is told by `sql`, `python`, `model`, `gates` or `image`."""
    description: str = ""
    """What the pipeline makes, for readers and for the graph; its model has the same."""
    owner: Owner | None = None
    """Who answers for it: `team:NAME`, or a person."""
    tags: Tags = ()
    """Words to find and group it by, kept on the graph."""
