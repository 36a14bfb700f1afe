"""`experiments:` versions of a model compared on viewers, beside what serves."""

from typing import Annotated, Literal

from msgspec import Meta, field

from mlg.manifest.specs_base import Bp, Name, Probability, Seconds, Spec

_SOME_BP = Meta(ge=1, le=9_999, extra={"unit": "bp"})

MetricName = Literal["ctr", "watch_through"]


class ExperimentCell(Spec, frozen=True, kw_only=True):
    """One variant."""

    version: Annotated[
        str,
        Meta(
            pattern=r"^(serving|previous|[0-9a-f]{12,64})$",
            extra={"expected": "serving, previous, or the 12 characters of a version"},
        ),
    ]
    """What its viewers get: `serving` and `previous` are those of the moment at which the
    experiment is started; else a packaged version of the service's model."""
    share_bp: Annotated[int, _SOME_BP] = field(name="share")
    """Share of the viewers who are not held out."""


class ExperimentMetric(Spec, frozen=True, kw_only=True):
    """What is compared, one value a viewer."""

    min_effect_bp: Annotated[int, _SOME_BP] = field(name="min_effect")
    """Smallest difference that matters, in points of the value: `1%` is 0.30 against 0.31."""


class ExperimentSpec(Spec, frozen=True, kw_only=True):
    """A named A/B on one service; it begins when a person starts it."""

    service: Name
    """Whose viewers."""
    cells: Annotated[dict[Name, ExperimentCell], Meta(min_length=1)]
    """Variants by name; whoever is in none is the control."""
    metrics: Annotated[dict[MetricName, ExperimentMetric], Meta(min_length=1)]
    """`ctr`: share of a viewer's answers of which he took an item. `watch_through`: what part
    he watched of what he was shown."""
    holdout_bp: Bp = field(name="holdout", default=0)
    """Share of the viewers who stay on one version, over this experiment and later ones that
    ask for it too, and over releases."""
    alpha: Probability = 0.05
    """Chance that any verdict of any cell is wrong."""
    min_viewers: Annotated[int, Meta(ge=100)] = 1_000
    """Viewers that each cell must have before it is decided."""
    max_run_s: Seconds = field(name="max_run", default=2_592_000.0)
    """Event time after which it ends without a verdict."""
