"""`experiments:` what loads, and each mistake with its place and one thing to do."""

import pytest

from mlg.core.errors import ManifestError
from mlg.manifest.load import parse_manifest
from mlg.manifest.plan import plan

SERVED = """\
version: 1
project: films
datasets:
  ratings:
    source: {uri: ratings.csv}
    columns: {user: {type: int64}, film: {type: int64}, at: {type: int64}}
pipelines:
  ranker:
    steps:
      train:
        model: two_stage
        in: [ratings]
        roles: {interactions: {table: ratings, item: film, at: at, viewer: user}}
services:
  home: {model: ranker}
  plain: {command: [python3, -m, http.server, "{port}"]}
"""
# the name of the experiment stands at line 18
GOOD = """\
experiments:
  rows:
    service: home
    cells: {A: {version: previous, share: 10%}, B: {version: 3f2a4b5c6d7e, share: 5%}}
    metrics: {ctr: {min_effect: 1%}}
    holdout: 0.5%
    max_run: 14d
"""


def test_an_experiment_is_read_in_its_units_and_is_planned() -> None:
    manifest = parse_manifest(SERVED + GOOD, "mlg.yaml")
    one = manifest.spec.experiments["rows"]
    assert [(n, c.version, c.share_bp) for n, c in one.cells.items()] == [
        ("A", "previous", 1_000),
        ("B", "3f2a4b5c6d7e", 500),
    ]
    assert (one.holdout_bp, one.max_run_s, one.min_viewers) == (50, 14 * 86_400.0, 1_000)
    assert one.metrics["ctr"].min_effect_bp == 100
    changes = plan(parse_manifest(SERVED, "mlg.yaml"), manifest)
    assert [(c.action, c.kind, c.name) for c in changes] == [("create", "experiment", "rows")]


@pytest.mark.parametrize(
    ("good", "bad", "place", "what", "hint"),
    [
        ("service: home", "service: hom", "19:14", "'hom'", "did you mean home?"),
        ("service: home", "service: plain", "19:14", "a service with a model", "mlg serves"),
        ("A: {version: p", "holdout: {version: p", "20:13", "a name of its own", "control"),
        ("share: 10%", "share: 95%", "20:5", "less than 100% together, got 100%", "lower"),
        ("holdout: 0.5%", "holdout: 85%", "22:14", "less than 85% beside the cells", "lower"),
        ("share: 10%", "share: 0%", "20:43", "", ""),
        ("version: previous", "version: newest", "20:26", "serving, previous", ""),
        ("ctr: {min", "cpu: {min", "21:15", "ctr", ""),
        ("{ctr: {min_effect: 1%}}", "{}", "21:14", "", ""),
    ],
)
def test_a_mistake_is_told_with_its_place(
    good: str, bad: str, place: str, what: str, hint: str
) -> None:
    assert good in GOOD
    with pytest.raises(ManifestError) as caught:
        parse_manifest(SERVED + GOOD.replace(good, bad, 1), "mlg.yaml")
    assert caught.value.where == f"mlg.yaml:{place}"
    assert what in str(caught.value)
    assert hint in caught.value.hint
