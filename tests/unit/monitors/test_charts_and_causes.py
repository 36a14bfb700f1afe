from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlg.monitors.alert import AlertFacts, AlertState, step
from mlg.monitors.baseline import normal_scores
from mlg.monitors.budget import limits_for, vector_limit, windows_between
from mlg.monitors.diagnose import TABLE, Cause, Facts, classify
from mlg.monitors.evaluate import Signal
from mlg.monitors.severity import policy_change, severity_of
from mlg.monitors.slices import find_slices, members
from mlg.monitors.windows import Feature
from mlg.stats.arl import Spec, ewma_arl, law

REPOSITORY = Path(__file__).parents[3]


def signal(
    metric: str = "viewer:age.location", statistic: float = 2.0, *, small=False
) -> Signal:
    return Signal(
        stream="requests", metric=metric, feature="viewer:age", chart="ewma", kind="location",
        statistic=statistic, limit=1.0, effect=0.3, usual=30.0, now=25.0, small=small, window=1,
        start="2026-01-01T00:00:00Z", end="2026-01-01T00:01:00Z", n=100,
    )  # fmt: skip


def facts(*signals: Signal, cause: Cause | None = None) -> AlertFacts:
    return AlertFacts(
        at="2026-01-01T00:01:00Z", stream="requests", signals=signals,
        cause=cause or classify(Facts()),
    )  # fmt: skip


def test_limits_meet_the_published_run_length_of_500() -> None:
    limits = limits_for(500, 1)
    assert limits.ewma == pytest.approx(2.814, abs=0.002)
    assert limits.cusum == pytest.approx(8.585, rel=0.01)


def test_the_budget_is_divided_over_all_charts() -> None:
    windows = windows_between(false_alarm_every_s=2_592_000, seconds=None, events=1_000)
    assert windows == 2_592
    assert limits_for(windows, 100).arl == 259_200
    # half as many incidents as designed: designed for half the windows
    assert limits_for(windows, 100, rate=0.5).arl == 129_600


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_a_vector_has_the_limit_of_an_mewma(dims: int) -> None:
    spec = Spec(chart="mewma", lam=0.1, limit=vector_limit(700.0, dims) ** 2, dims=dims)
    found = (
        law(spec).mean if dims > 1 else ewma_arl(0.1, vector_limit(700.0, 1), two_sided=True)
    )
    assert found == pytest.approx(700.0, rel=0.003)


def test_normal_scores_have_mean_zero_and_nearly_unit_spread() -> None:
    counts = np.full(20, 5)
    scores = np.array(normal_scores(counts.tolist()))
    assert counts @ scores == pytest.approx(0.0, abs=1e-9)
    assert 0.9 < counts @ scores**2 / counts.sum() < 1.0


def test_a_slice_of_two_conditions_is_named_without_being_told() -> None:
    rng = np.random.default_rng(0)
    columns = (
        Feature(name="viewer:age", of="request"),
        Feature(name="viewer:job", levels=("artist", "student", "writer"), of="request"),
    )

    def people(n: int, extra: int) -> np.ndarray:
        usual = np.column_stack([rng.integers(15, 60, n), rng.integers(0, 3, n)])
        more = np.column_stack([rng.integers(15, 25, extra), np.ones(extra)])
        return np.vstack([usual, more]).astype(float)

    usual, live = people(800, 0), people(400, 200)
    best = find_slices(columns, usual, live)[0]
    assert best.words == "job = student and age < 25"
    inside = members(best, columns, live)
    assert inside.mean() == pytest.approx(best.live_share, abs=0.01)
    assert find_slices(columns, usual, people(400, 0)) == ()
    assert find_slices(columns, usual[:5], live) == ()


def test_a_feature_that_moved_in_one_slice_only_is_named_by_it() -> None:
    rng = np.random.default_rng(1)
    columns = (
        Feature(name="viewer:tv", levels=("no", "yes"), of="request"),
        Feature(name="margin"),
    )
    usual = np.column_stack([rng.integers(0, 2, 600), rng.normal(size=600)])
    live = np.column_stack([rng.integers(0, 2, 600), rng.normal(size=600)])
    live[live[:, 0] == 1, 1] += 1.0
    best = find_slices(columns, usual, live, feature="margin")[0]
    assert best.words == "tv = yes"
    assert best.effect == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(
    ("known", "action"),
    [
        (Facts(), "record"),
        (Facts(contract_broken=("ratings",), measured_loss=True), "quarantine"),
        (Facts(source_late=("ratings",)), "quarantine"),
        (Facts(skewed_share=0.5, measured_loss=True), "roll_back"),
        (Facts(top_actor_share=0.5, usual_top_actor_share=0.05), "exclude"),
        (Facts(top_actor_share=0.5, usual_top_actor_share=0.4), "record"),
        (Facts(expected=("summer-launch",), measured_loss=True), "annotate"),
        (Facts(measured_loss=True), "retrain"),
        (Facts(estimated_loss=True), "retrain"),
        (Facts(estimated_loss=True, calibrated=False), "record"),
    ],
)
def test_causes_follow_the_table(known: Facts, action: str) -> None:
    assert classify(known).action == action


def test_the_published_table_is_the_one_that_decides() -> None:
    page = (REPOSITORY / "docs" / "monitors.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    places = [rows.index(f"| {r.cause} | {r.when} | `{r.action}` |") for r in TABLE]
    assert places == sorted(places)


def test_an_incident_opens_once_grows_with_news_and_closes_after_quiet() -> None:
    state, commands = step(AlertState(service="home"), facts(signal()))
    assert [c.key for c in commands] == ["home:1:open:0"]
    state, commands = step(state, facts(signal()))
    assert commands == ()
    state, commands = step(state, facts(signal(), signal("viewer:job=student.share")))
    assert [c.key for c in commands] == ["home:1:grow:1"]
    done = []
    for _ in range(5):
        state, commands = step(state, facts())
        done += [c.key for c in commands]
    assert done == ["home:1:close:0"]
    later = replace(facts(signal("viewer:job=student.share")), at="2026-01-01T00:09:00Z")
    state, commands = step(
        state, replace(later, signals=(*later.signals, signal("other.share")))
    )
    assert [c.key for c in commands] == ["home:2:open:0"]


def test_a_small_change_pages_only_with_a_slice() -> None:
    state, commands = step(AlertState(service="home"), facts(signal(small=True)))
    assert (state.incident, commands) == (None, ())


def test_severity_rises_with_the_statistic_and_is_zero_without_any() -> None:
    levels = [severity_of([signal(statistic=s)]) for s in (1.0, 1.5, 2.0, 4.0, 1e9)]
    assert levels == sorted(levels)
    assert (severity_of([]), levels[-1]) == (0.0, 1.0)
    assert policy_change("home", [], "quiet").diversity == 0.0
