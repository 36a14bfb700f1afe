from pathlib import Path

import pytest

from mlg.core.errors import ManifestError
from mlg.manifest.load import Manifest, load_manifest, manifest_from_source, parse_manifest
from mlg.manifest.order import find_cycle, topological_steps
from mlg.manifest.plan import Change, KeyChange, plan

EXAMPLES = Path(__file__).parents[3] / "examples"
TEXT = (EXAMPLES / "movies" / "mlg.yaml").read_text()


def movies(*replace: tuple[str, str]) -> Manifest:
    text = TEXT
    for before, after in replace:
        assert before in text
        text = text.replace(before, after)
    return parse_manifest(text)


def test_a_manifest_in_force_needs_no_change() -> None:
    manifest = movies()
    assert plan(manifest, manifest) == ()
    assert plan(manifest_from_source(manifest.source), manifest) == ()


def test_a_first_apply_creates_everything_in_an_order_that_can_be_applied() -> None:
    changes = plan(None, movies())
    assert [(one.action, one.kind, one.name) for one in changes] == [
        ("create", "dataset", "movies"),
        ("create", "dataset", "ratings"),
        ("create", "dataset", "users"),
        ("create", "pipeline", "ranker"),
        ("create", "service", "home"),
        ("create", "monitor", "home-features"),
    ]


def test_an_update_names_each_key_with_before_and_after() -> None:
    wanted = movies(
        ("replicas: 2", "replicas: 3"),
        ("train_until: 0.8", "k: 20\n          train_until: 0.7"),
        ("explore: 1%", "explore: 2%"),
        ("      zip_code: {type: string}\n", ""),
    )
    steps = "steps.train.params"
    assert plan(movies(), wanted) == (
        Change(
            action="update",
            kind="dataset",
            project="movies",
            name="users",
            keys=(KeyChange(key="columns.zip_code", before='{"type":"string"}', after=None),),
        ),
        Change(
            action="update",
            kind="pipeline",
            project="movies",
            name="ranker",
            keys=(
                KeyChange(key=f"{steps}.k", before=None, after="20"),
                KeyChange(key=f"{steps}.train_until", before="0.8", after="0.7"),
            ),
        ),
        Change(
            action="update",
            kind="service",
            project="movies",
            name="home",
            keys=(
                KeyChange(key="confidence.explore", before=None, after="200"),
                KeyChange(key="replicas", before="2", after="3"),
            ),
        ),
    )


def test_what_was_removed_is_retired_in_reverse_order() -> None:
    bare = parse_manifest("version: 1\nproject: movies\n")
    retired = plan(movies(), bare)
    created = plan(bare, movies())
    assert {one.action for one in retired} == {"retire"}
    assert [one.name for one in retired] == [one.name for one in reversed(created)]


def test_another_project_retires_the_former_one() -> None:
    changes = plan(movies(), load_manifest(EXAMPLES / "fashion" / "mlg.yaml"))
    assert {(one.action, one.project) for one in changes} == {
        ("create", "fashion"),
        ("retire", "movies"),
    }


def test_calendar_entries_are_told_apart_by_kind_and_name() -> None:
    head = "version: 1\nproject: a\ncalendar:\n"
    one = "  - {promotion: p, from: 2026-07-01, to: 2026-07-02}\n"
    two = "  - {promotion: p, from: 2026-08-01, to: 2026-08-02}\n"
    before, after = parse_manifest(head + one), parse_manifest(head + one + two)
    (change,) = plan(before, after)
    assert (change.action, change.kind, change.name) == ("create", "calendar", "promotion p #2")


def test_steps_follow_what_they_read_and_sources_come_first() -> None:
    spec = movies().spec
    steps = topological_steps(spec.pipelines["ranker"], spec.datasets)
    assert [(one.name, one.kind) for one in steps] == [
        ("source_movies", "source"),
        ("source_ratings", "source"),
        ("source_users", "source"),
        ("clean", "sql"),
        ("item_stats", "python"),
        ("features", "python"),
        ("train", "train"),
        ("evaluate", "evaluate"),
        ("package", "package"),
    ]
    done: set[str] = set()
    for step in steps:
        assert set(step.needs) <= done
        assert len(step.needs) == len(step.inputs)
        done.add(step.name)
    features = next(one for one in steps if one.name == "features")
    assert features.inputs == ("clean_ratings", "users", "movies", "item_stats")
    assert features.needs == ("clean", "source_users", "source_movies", "item_stats")
    assert features.out == "train_set"


def test_the_order_does_not_depend_on_the_order_in_the_file() -> None:
    manifest = movies()
    again = manifest_from_source(manifest.source)  # canonical JSON sorts the keys
    orders = [
        topological_steps(one.spec.pipelines["ranker"], one.spec.datasets)
        for one in (manifest, again)
    ]
    assert orders[0] == orders[1]


def test_a_package_step_without_inputs_reads_all_train_and_evaluate_steps() -> None:
    spec = movies(("        in: [train, evaluate]\n", "")).spec
    steps = topological_steps(spec.pipelines["ranker"], spec.datasets)
    assert steps[-1].name == "package"
    assert steps[-1].inputs == ("train", "evaluate")


def test_unchecked_pipelines_are_refused_by_the_order() -> None:
    spec = movies().spec
    with pytest.raises(ValueError, match="is no dataset"):
        topological_steps(spec.pipelines["ranker"], {})


def test_a_cycle_is_named_and_a_diamond_is_none() -> None:
    assert find_cycle({"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}) == ()
    assert find_cycle({"a": ("b",), "b": ("a",)}) == ("a", "b", "a")
    assert find_cycle({"a": ("a",)}) == ("a", "a")
    chain = {str(n): (str(n + 1),) for n in range(5_000)}  # no recursion limit
    assert find_cycle(chain) == ()
    assert find_cycle({**chain, "5000": ("4999",)}) == ("4999", "5000", "4999")


def test_a_checked_manifest_never_reaches_the_order_with_a_cycle() -> None:
    with pytest.raises(
        ManifestError, match="without a cycle, got clean -> item_stats -> clean"
    ):
        movies(("in: [ratings]", "in: [item_stats]"))
