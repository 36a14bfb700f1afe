import dataclasses
import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.core.errors import ManifestError
from mlg.manifest.inactive import INACTIVE, inactive_keys
from mlg.manifest.load import load_manifest, manifest_from_source, parse_manifest
from mlg.manifest.specs_pipelines import EvaluateStep, PythonStep, SqlStep, TrainStep

EXAMPLES = Path(__file__).parents[3] / "examples"
SMALL = """\
version: 1
project: films
datasets:
  ratings:
    source: {uri: ratings.csv}
    columns:
      user: {type: int64}
      at: {type: timestamp}
    checks: [{unique: user}, {freshness: {column: at, max_age: 2d}}]
pipelines:
  ranker:
    steps:
      train:
        model: popularity
        in: [ratings]
        roles: {interactions: {table: ratings, item: user, at: at}}
services:
  home: {model: ranker}
"""


@pytest.mark.parametrize("name", ["movies", "fashion"])
def test_examples_load_and_their_source_is_the_same_manifest(name: str) -> None:
    manifest = load_manifest(EXAMPLES / name / "mlg.yaml")
    assert manifest.spec.project == name
    again = manifest_from_source(manifest.source)
    assert again == manifest
    assert again.spec == manifest.spec


def test_movies_says_what_the_design_says() -> None:
    spec = load_manifest(EXAMPLES / "movies" / "mlg.yaml").spec
    steps = spec.pipelines["ranker"].steps
    assert isinstance(steps["clean"], SqlStep)
    assert isinstance(steps["features"], PythonStep)
    train, evaluate = steps["train"], steps["evaluate"]
    assert isinstance(train, TrainStep)
    assert isinstance(evaluate, EvaluateStep)
    assert train.roles.viewers is not None
    assert train.roles.viewers.features == ("age", "gender", "occupation")
    assert evaluate.gates["ndcg@10"].better_than == ("popularity_7d", "ease")
    home = spec.services["home"]
    assert (home.replicas, home.clock, home.fallback) == (2, "request", "popularity")
    assert home.depends_on == ()
    # units: 0.5% is 50 bp, 1 GiB is 2**30 bytes, 99.9% is 9990 bp, 1/30d is 2,592,000 s
    assert home.rollout is not None
    assert home.rollout.canary is not None
    assert home.rollout.canary.steps_bp == (50, 500, 2_500, 10_000)
    assert home.rollout.canary.max_hold_s == 3_650 * 86_400
    assert home.resources is not None
    assert home.resources.memory_bytes == 2**30
    assert home.rollback is not None
    assert home.rollback.availability is not None
    assert home.rollback.availability.min_bp == 9_990
    assert home.rollback.latency_p99 is not None
    assert home.rollback.latency_p99.max_ms == 150.0
    monitor = spec.monitors["home-features"]
    assert monitor.limits is not None
    assert monitor.limits.false_alarm_every_s == 30 * 86_400
    assert monitor.window is not None
    assert monitor.window.events == 250


def test_fashion_has_no_viewers_and_eighty_items_by_context() -> None:
    spec = load_manifest(EXAMPLES / "fashion" / "mlg.yaml").spec
    train = spec.pipelines["ranker"].steps["train"]
    assert isinstance(train, TrainStep)
    assert train.model == "context_ranker"
    assert train.roles.viewers is None
    assert train.roles.interactions.viewer is None
    assert train.roles.interactions.context == tuple(f"user_feature_{n}" for n in range(4))


def test_the_design_section_5_manifest_loads() -> None:
    # the YAML block of the design, with the parts that it elides filled in
    text = """\
version: 1
project: movies
datasets:
  ratings:
    source: {uri: "movielens-100k://ratings"}
    columns:
      user_id:  {type: int64, nullable: false}
      item_id:  {type: int64}
      rating:   {type: float64, range: [1, null]}
      rated_at: {type: timestamp}
    checks: [{unique: [user_id, item_id]}, {rows: {min: 50000}}]
pipelines:
  ranker:
    engine: duckdb
    schedule: "0 3 * * *"
    on: {commit: main}
    steps:
      clean:    {sql: sql/clean.sql, in: [ratings], out: clean_ratings}
      features: {python: "movies.features:build", in: [clean_ratings], out: train_set}
      train:
        model: two_stage
        in: [train_set]
        params: {a: [1, 2.5, {b: null}]}
        seed: 7
        roles: {interactions: {table: train_set, viewer: u, item: i, at: t, value: v}}
      evaluate:
        in: [train, train_set]
        gates: {ndcg@10: {not_worse_than: [production, anchor], margin: 2%}}
      package:  {image: movies-ranker}
services:
  profiles: {adopt: "http://existing:8000"}
  home:
    model: ranker
    replicas: 2
    depends_on: [profiles]
    resources: {cpu: 1, memory: 1GiB}
    fallback: popularity
    confidence: {abstain_below: 0.35, explore: 1%}
    rollout:
      staging: {window: "01:00-05:00", compose: true, tests: [contract, golden, load, bias]}
      canary:  {steps: [0.5%, 5%, 25%, 100%], min_units: 200, max_hold: 30m, sticky: session_id}
      gates:   {errors: {alpha: 0.01}, latency_p99: {max_increase: 20%}, cpu: {max: 85%},
                cache_hits: {min: 60%}, ctr: {from: 5%, max_drop: 5%}}
      swaps_per_hour: 9
    rollback: {error_rate: {max: 1%}, latency_p99: {max: 150ms}, availability: {min: 99.9%}}
monitors:
  home-features: {watch: home, features: all, limits: {false_alarms: 1/30d}, window: 2s,
                  on_alert: heal}
calendar:
  - {promotion: summer-launch, from: 2026-07-01, to: 2026-07-08, services: [home]}
automations:
  promo-guard:
    autonomy: act
    on: {alert: confidence_drop}
    if: 'event.data.drop > 0.2 && !graph.input_drift_open(event.subject)'
    do:
      - restart: {service: home}
      - email: {to: marketing@example.com, subject: "Home confidence fell"}
      - trigger_dev: {task: update-home-layout, payload: {mode: diverse}}
      - audit: {note: "promo guard fired"}
"""
    manifest = parse_manifest(text)
    assert manifest_from_source(manifest.source) == manifest
    told = {key.key for key in inactive_keys(manifest)}
    assert told == {
        "pipelines.ranker.schedule",
        "services.home.rollout.staging.tests",
    }


def test_inactive_keys_have_places_and_gates_of_evaluate_are_not_among_them() -> None:
    # the example uses nothing that does not act, so a key that no verdict reads is added
    text = (EXAMPLES / "movies" / "mlg.yaml").read_text()
    assert not inactive_keys(load_manifest(EXAMPLES / "movies" / "mlg.yaml"))
    text = text.replace("errors: {alpha: 0.01}", "errors: {alpha: 0.01, max_increase: 5%}")
    lines, keys = text.splitlines(), inactive_keys(parse_manifest(text))
    assert [key.key.rsplit(".", 1)[-1] for key in keys] == ["max_increase"]
    for key in keys:
        line, column = map(int, key.where.rsplit(":", 2)[1:])
        name = key.key.rsplit(".", 1)[-1]
        assert name in lines[line - 1][: column + len(name)]
        assert key.why.endswith(".")
        assert "evaluate" not in key.key
    assert not inactive_keys(parse_manifest(SMALL))
    (spark,) = inactive_keys(
        parse_manifest(SMALL.replace("  ranker:\n", "  ranker:\n    engine: spark\n"))
    )
    assert (spark.key, spark.where) == ("pipelines.ranker.engine", "mlg.yaml:12:13")


def test_every_inactive_pattern_is_a_key_of_the_specifications() -> None:
    from mlg.manifest.reference import reference

    page = reference()
    assert page.count("Does not act yet") == len(INACTIVE)


def test_comments_order_quotes_units_and_spelled_out_defaults_keep_the_digest() -> None:
    other = """\
# the same, told otherwise
x-mine: {anything: [1, 2]}
services: {home: {replicas: 1, clock: system, model: "ranker"}}
project: "films"
version: 1
pipelines:
  ranker:
    engine: duckdb
    steps:
      train:
        seed: 0
        roles: {interactions: {at: at, item: user, table: ratings}}
        in: [ratings]
        model: popularity
datasets:
  ratings:
    columns: {at: {type: timestamp, nullable: true}, user: {type: int64}}
    source: {uri: ratings.csv}
    checks: [{unique: [user]}, {freshness: {column: at, max_age: 48h}}]
"""
    first, second = parse_manifest(SMALL), parse_manifest(other)
    assert first.digest == second.digest
    assert first == second


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model: ranker", "model: ranker, replicas: 2"),
        ("max_age: 2d", "max_age: 3d"),
        ("uri: ratings.csv", "uri: other.csv"),
        ("in: [ratings]", "in: [ratings]\n        seed: 1"),
    ],
)
def test_what_means_something_else_has_another_digest(before: str, after: str) -> None:
    assert before in SMALL
    assert parse_manifest(SMALL).digest != parse_manifest(SMALL.replace(before, after)).digest


def test_where_names_the_place_of_a_path_and_of_its_nearest_parent() -> None:
    manifest = parse_manifest(SMALL, "f.yaml")
    assert manifest.where("services", "home", "model") == "f.yaml:18:17"
    assert manifest.where("datasets", "ratings") == "f.yaml:4:3"
    assert manifest.where("datasets", "ratings", "checks", 1) == "f.yaml:9:30"
    assert manifest.where("datasets", "ratings", "nothing", "here") == "f.yaml:4:3"
    read = manifest_from_source(manifest.source, "f.yaml")
    assert read.where("services", "home") == "f.yaml: services.home"


def test_merge_keys_and_anchors_are_read() -> None:
    text = SMALL.replace(
        "      user: {type: int64}\n      at: {type: timestamp}\n",
        "      user: &a {type: int64, nullable: false}\n      at: {<<: *a, type: timestamp}\n",
    )
    column = parse_manifest(text).spec.datasets["ratings"].columns["at"]
    assert (column.type, column.nullable) == ("timestamp", False)


def test_a_foreign_source_is_refused() -> None:
    for text in ("{", '{"version":1}', '{"version":1,"project":"a","x":2}', "\ud800"):
        with pytest.raises(ManifestError, match="expected the stored source"):
            manifest_from_source(text)


def test_a_manifest_is_a_value() -> None:
    manifest = parse_manifest(SMALL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest.source = ""  # type: ignore[misc]
    with pytest.raises(AttributeError):
        manifest.spec.project = ""  # type: ignore[misc]


# --- a round trip: any manifest that these make is read back as it was meant

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=8)
COLUMNS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=12
)
TYPES = st.sampled_from(["int64", "float64", "string", "boolean", "timestamp", "date"])
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(
    allow_nan=False, allow_infinity=False
)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp"))
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    columns = draw(
        st.dictionaries(
            COLUMNS,
            st.fixed_dictionaries(
                {"type": TYPES},
                optional={
                    "nullable": st.booleans(),
                    "description": TEXTS,
                    "values": st.lists(TEXTS | st.booleans() | NUMBERS, min_size=1, max_size=3),
                },
            ),
            min_size=1,
            max_size=4,
        )
    )
    some = min(columns)
    steps: dict[str, Any] = {}
    last = "rows"
    for name in draw(st.lists(NAMES.map(lambda n: f"{n}_step"), unique=True, max_size=4)):
        steps[name] = {"python": f"m.{name}:f", "in": [last], "params": {"p": draw(JSON)}}
        last = name
    steps["train"] = {
        "model": "popularity",
        "in": [last],
        "seed": draw(st.integers(0, 2**31 - 1)),
        "roles": {"interactions": {"table": last, "item": some, "at": some}},
    }
    bp = draw(st.integers(1, 9_999))
    service = {
        "model": "p",
        "replicas": draw(st.integers(1, 9)),
        "confidence": {"explore": f"{bp / 100:.2f}%"},
    }
    return {
        "version": 1,
        "project": draw(NAMES),
        "datasets": {"rows": {"source": {"uri": "x.csv"}, "columns": columns}},
        "pipelines": {"p": {"steps": steps}},
        "services": {"s": service},
    }


def as_json(value: Any) -> Any:
    """Numbers as JSON has them: doubles, so 1 and 1.0 are one number and True is none."""
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_json(one) for one in value]
    return (
        (type(value), value)
        if isinstance(value, bool)
        else (float(value) if isinstance(value, int | float) else value)
    )


@settings(max_examples=30, deadline=None)
@given(manifests())
def test_what_was_written_is_what_is_read(content: dict[str, Any]) -> None:
    # JSON is YAML; ruamel.yaml's own emitter writes `{:0: …}`, which it cannot read
    manifest = parse_manifest(json.dumps(content, ensure_ascii=False, indent=1))
    assert manifest_from_source(manifest.source) == manifest
    dataset = manifest.spec.datasets["rows"]
    for name, wanted in content["datasets"]["rows"]["columns"].items():
        column = dataset.columns[name]
        assert column.type == wanted["type"]
        assert column.nullable == wanted.get("nullable", True)
        assert column.description == wanted.get("description", "")
        assert as_json(list(column.values or ())) == as_json(wanted.get("values", []))
    for name, wanted in content["pipelines"]["p"]["steps"].items():
        step = manifest.spec.pipelines["p"].steps[name]
        if isinstance(step, PythonStep):
            assert as_json(step.params) == as_json(wanted["params"])
    explore = content["services"]["s"]["confidence"]["explore"]
    confidence = manifest.spec.services["s"].confidence
    assert confidence is not None
    assert f"{confidence.explore_bp / 100:.2f}%" == explore


TRAFFIC = SMALL.replace(
    "home: {model: ranker}",
    "home: {model: ranker, traffic: {in_flight: 8, shadow: 5%, rate_limit: "
    "{requests_per_second: 2.5}}}",
)


def test_traffic_is_read_in_its_units() -> None:
    traffic = parse_manifest(TRAFFIC).spec.services["home"].traffic
    assert (traffic.in_flight, traffic.shadow_bp) == (8, 500)
    assert traffic.rate_limit is not None
    assert (traffic.rate_limit.requests_per_second, traffic.rate_limit.burst) == (2.5, None)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("in_flight: 8", "in_flight: 0"),
        ("shadow: 5%", "shadow: 5"),
        ("shadow: 5%", "shadow: 101%"),
        ("requests_per_second: 2.5", "requests_per_second: 0"),
        ("requests_per_second: 2.5", "burst: 3"),
        ("requests_per_second: 2.5", "requests_per_second: 2.5, per: minute"),
    ],
)
def test_traffic_that_means_nothing_is_refused_with_its_place(good: str, bad: str) -> None:
    with pytest.raises(ManifestError, match="traffic"):
        parse_manifest(TRAFFIC.replace(good, bad))
