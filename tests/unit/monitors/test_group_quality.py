"""Quality by group of viewers: as counted by hand, however records come, and found if lost."""

import sys
from collections import defaultdict
from dataclasses import replace
from math import asin, isnan, sqrt
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.manifest.specs_watch import MonitorSpec
from mlg.monitors.alert import alert_of, sentence, worst
from mlg.monitors.answers import micros, time_text
from mlg.monitors.diagnose import Known, classify, facts_from
from mlg.monitors.evaluate import QUALITY, Signal, feature_of, quality_points
from mlg.monitors.fold import FoldState, WindowPlan, fold
from mlg.monitors.group_memory import MISSING, MOST_LEVELS, OTHERS, UNSEEN
from mlg.monitors.group_quality import LEAST_GROUP
from mlg.monitors.kinds import by_kind, kind_of
from mlg.monitors.levels import KEPT, SHARES
from mlg.monitors.monitor import Monitor, Observed, Plan, new_monitor, observe, plan_of
from mlg.monitors.windows import GroupQuality, Layout, Quality, layout_of

START_US = micros("2026-03-01T00:00:00Z")
GENDERS = ("F", "M", "X")
GENDER = "viewer:gender"
LAYOUTS = {
    "v1": layout_of("v1", ["viewer:age", GENDER, "margin"], {GENDER: GENDERS}),
    "v2": layout_of("v2", [GENDER, "margin"], {GENDER: GENDERS[::-1]}),
}
EVENTS = WindowPlan(service="home", events=4, label_wait_s=0.0, label_lag=0, groups=(GENDER,))


def answer(n: int, features: list[float], **how: Any) -> dict[str, Any]:
    return {
        "prediction_id": f"p{n}", "service": "home", "model_version": "v1", "items": [1],
        "served_by": "model", "reason": "ranked", "raw_confidence": 0.5, "viewer": f"v{n}",
        "at": time_text(START_US + n * 10**6), "features": features, **how,
    }  # fmt: skip


def said(n: int, *, hit: bool, watched: float | None = None) -> dict[str, Any]:
    event = "play" if hit else "impression"
    more = {} if watched is None else {"watch_through": watched}
    return {"prediction_id": f"p{n}", "item_id": 1, "event": event, **more}


def qualities(rows: list, feedback: list, plan: WindowPlan, layouts: dict) -> list[Quality]:
    """Return all quality, the answers folded first and a last call to let labels mature."""
    state = fold(FoldState(), rows, feedback, plan=plan, layouts=layouts)
    more = [answer(10**6 + n, [], model_version="none") for n in range(3)]
    return [*state.quality, *fold(state.state, more, [], plan=plan, layouts=layouts).quality]


def group(level: str, **counts: Any) -> GroupQuality:
    return GroupQuality(feature=GENDER, level=level, **counts)


def test_a_window_counted_by_hand() -> None:
    nan = float("nan")
    rows = [
        answer(0, [30.0, 0.0, 1.0], raw_confidence=0.2),
        answer(1, [30.0, 0.0, 1.0], raw_confidence=0.4),
        answer(2, [30.0, 1.0, 1.0], raw_confidence=0.6),
        answer(3, [30.0, -1.0, 1.0]),
        answer(4, [30.0, nan, 1.0]),
        answer(5, [30.0, 0.0, 1.0]),  # nobody says anything of it
        answer(6, [30.0, 1.0, 1.0], served_by="fallback"),  # not the model's
        answer(7, [30.0, 9.0, 1.0]),
    ]
    labels = [
        said(0, hit=True, watched=0.5), said(1, hit=False), said(2, hit=True, watched=0.25),
        said(3, hit=False), said(4, hit=True), said(6, hit=True), said(7, hit=True),
        said(2, hit=True, watched=0.25),
    ]  # fmt: skip
    (one,) = qualities(rows, labels, replace(EVENTS, events=8), LAYOUTS)
    assert one.groups == (
        group("F", n=3, labelled=2, hits=1, expected=0.2 + 0.4, watch_n=1, watch_sum=0.5),
        group("M", n=1, labelled=1, hits=1, expected=0.6, watch_n=1, watch_sum=0.25),
        group(UNSEEN, n=2, labelled=2, hits=1, expected=1.0),
        group(MISSING, n=1, labelled=1, hits=1, expected=0.5),
    )


def test_without_groups_in_the_manifest_nothing_is_counted_or_kept() -> None:
    rows = [answer(n, [30.0, 0.0, 1.0]) for n in range(4)]
    plan = replace(EVENTS, groups=())
    (one,) = qualities(rows, [said(0, hit=True)], plan, LAYOUTS)
    assert one.groups == ()
    assert fold(FoldState(), rows, [], plan=plan, layouts=LAYOUTS).state.remembered.groups == ()


def made(rng: np.random.Generator, n: int) -> tuple[list[dict], list[dict]]:
    """Return answers of two versions whose level codes differ, and labels of most."""
    rows: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for place in range(n):
        version = "v1" if rng.random() < 0.7 else "v2"
        code = float(rng.choice([0, 1, 2, -1, np.nan]))
        features = [30.0, code, 1.0] if version == "v1" else [code, 1.0]
        by = "model" if rng.random() < 0.9 else "fallback"
        raw = float(rng.integers(0, 8)) / 8  # sums of eighths are exact in any order
        rows.append(
            answer(place, features, model_version=version, served_by=by, raw_confidence=raw)
        )
        if rng.random() < 0.8:
            watched = float(rng.integers(0, 8)) / 8 if rng.random() < 0.5 else None
            labels.append(said(place, hit=bool(rng.random() < 0.4), watched=watched))
    return rows, labels


def counted(rows: list[dict], labels: list[dict]) -> dict[tuple[str, str], list[float]]:
    """Return n, labelled, hits, expected by version and level, by a loop over the rows."""
    hit = {one["prediction_id"]: one["event"] == "play" for one in labels}
    found: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0, 0, 0.0])
    for row in rows:
        version = row["model_version"]
        code = row["features"][1 if version == "v1" else 0]
        names = LAYOUTS[version].features[1 if version == "v1" else 0].levels or ()
        level = MISSING if isnan(code) else UNSEEN if code < 0 else names[int(code)]
        if row["served_by"] != "model":
            continue
        sums = found[version, level]
        sums[0] += 1
        if row["prediction_id"] in hit:
            sums[1] += 1
            sums[2] += hit[row["prediction_id"]]
            sums[3] += row["raw_confidence"]
    return dict(found)


@given(st.integers(0, 10**6), st.lists(st.integers(3, 60), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None)
def test_any_split_of_the_records_gives_the_same_groups(seed: int, cuts: list[int]) -> None:
    rows, labels = made(np.random.default_rng(seed), 120)
    plan = replace(EVENTS, events=20, label_wait_s=50.0)
    by_id = {one["prediction_id"]: one for one in labels}
    whole = qualities(rows, labels, plan, LAYOUTS)
    state, found, low = FoldState(), list[Quality](), 0
    while low < len(rows):
        for size in cuts:
            part = rows[low : low + size]
            own = [by_id[r["prediction_id"]] for r in part if r["prediction_id"] in by_id]
            step = fold(state, part, own, plan=plan, layouts=LAYOUTS)
            state = msgspec.json.decode(msgspec.json.encode(step.state), type=FoldState)
            found += step.quality
            low += size
    rest = [answer(10**6 + n, [], model_version="none") for n in range(3)]
    found += fold(state, rest, [], plan=plan, layouts=LAYOUTS).quality

    def key(one: Quality) -> tuple[str, int]:
        return one.version, one.number

    assert sorted(found, key=key) == sorted(whole, key=key)


@pytest.mark.parametrize("seed", [1, 2])
def test_groups_are_what_a_loop_counts_and_add_up_to_the_whole(seed: int) -> None:
    rows, labels = made(np.random.default_rng(seed), 200)
    own = [sum(row["model_version"] == v for row in rows) for v in ("v1", "v2")]
    found: dict[tuple[str, str], list[float]] = {}
    for version, size in zip(("v1", "v2"), own, strict=True):
        mine = [row for row in rows if row["model_version"] == version]
        (one,) = qualities(mine, labels, replace(EVENTS, events=size), LAYOUTS)
        for part in one.groups:
            sums = [part.n, part.labelled, part.hits, part.expected]
            found[version, part.level] = sums
        for name in ("n", "labelled", "hits", "expected", "watch_n", "watch_sum"):
            assert sum(getattr(g, name) for g in one.groups) == getattr(one, name)
    assert found == counted(rows, labels)


def test_more_levels_than_twenty_are_the_commonest_and_the_others_for_good() -> None:
    names = [f"c{n:02d}" for n in range(30)]
    layouts = {"v1": layout_of("v1", ["city"], {"city": names})}
    # in the first window of 48 level 9 has most answers, then 0 to 18 two or one each
    first = [9.0] * 10 + [float(n % 19) for n in range(38)]
    second = [float(n) for n in range(19, 30)] * 4 + [0.0] * 4
    rows = [answer(n, [code]) for n, code in enumerate(first + second)]
    labels = [said(n, hit=True) for n in range(len(rows))]
    plan = replace(EVENTS, events=48, groups=("city",))
    one, two = qualities(rows, labels, plan, layouts)
    assert [g.level for g in one.groups] == ["c09", *(n for n in names[:19] if n != "c09")]
    # one place is left: of eleven new ones with four answers each the first by name has it
    assert [(g.level, g.n) for g in two.groups] == [("c00", 4), ("c19", 4), (OTHERS, 40)]
    assert len({g.level for g in (*one.groups, *two.groups)}) == MOST_LEVELS + 1


def test_a_million_levels_are_twenty_and_the_others() -> None:
    levels = [f"city {n}" for n in range(1_000_000)]
    layouts = {"v1": layout_of("v1", ["viewer:city"], {"viewer:city": levels})}
    rng = np.random.default_rng(5)
    codes = [*rng.integers(0, KEPT, 600), *rng.integers(KEPT, len(levels), 350)]
    codes += [len(levels) + 5] * 50
    rows = [answer(n, [float(code)]) for n, code in enumerate(codes)]
    labels = [said(n, hit=True) for n in range(1_000)]
    plan = replace(EVENTS, events=1_000, groups=("viewer:city",))
    step = fold(FoldState(), rows, labels, plan=plan, layouts=layouts)
    assert len(step.state.remembered.groups[0].texts) <= KEPT + SHARES
    (one,) = qualities(rows, labels, plan, layouts)
    by_level = {g.level: g.n for g in one.groups}
    assert len(by_level) == MOST_LEVELS + 2
    assert (by_level[UNSEEN], sum(by_level.values())) == (50, 1_000)
    named = np.bincount(np.array(codes[:600], dtype=np.int64), minlength=KEPT)
    assert by_level[OTHERS] == 950 - np.sort(named)[::-1][:MOST_LEVELS].sum()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("viewer:gendr", "viewer:gendr is not logged by v1: no answers are grouped by it"),
        ("viewer:age", "viewer:age is a number in v1: answers are grouped by texts"),
        ("taste", "taste is several columns in v1: answers are grouped by texts"),
    ],
)
def test_what_cannot_be_grouped_is_told_and_the_whole_is_charted(
    asked: str, words: str
) -> None:
    names = ["viewer:age", GENDER, "taste[0]", "taste[1]"]
    layouts = {"v1": layout_of("v1", names, {GENDER: GENDERS})}
    rows = [answer(n, [30.0, 1.0, 0.5, 0.5]) for n in range(4)]
    plan = replace(EVENTS, groups=(asked, GENDER))
    step = fold(FoldState(), rows, [said(0, hit=True)], plan=plan, layouts=layouts)
    assert step.state.odd == {words: 4}
    (one,) = qualities(rows, [said(0, hit=True)], plan, layouts)
    assert (one.labelled, one.hits) == (1, 1)
    assert one.groups == (group("M", n=4, labelled=1, hits=1, expected=0.5),)


def test_what_was_remembered_before_groups_were_asked_for_has_none() -> None:
    rows = [answer(n, [30.0, float(n % 2), 1.0]) for n in range(8)]
    plan = replace(EVENTS, events=8)
    old = fold(FoldState(), rows[:3], [], plan=replace(plan, groups=()), layouts=LAYOUTS).state
    text = msgspec.json.decode(msgspec.json.encode(old))
    del text["remembered"]["groups"], text["remembered"]["levels"]  # as it was before
    state = msgspec.convert(text, FoldState)
    step = fold(
        state, rows[3:], [said(n, hit=True) for n in range(8)], plan=plan, layouts=LAYOUTS
    )
    more = [answer(100 + n, [], model_version="none") for n in range(3)]
    (one,) = fold(step.state, more, [], plan=plan, layouts=LAYOUTS).quality
    assert (one.n, one.hits) == (8, 8)
    assert [(g.level, g.n, g.hits) for g in one.groups] == [("M", 3, 3), ("F", 2, 2)]


def quality(*groups: GroupQuality) -> Quality:
    return Quality(
        service="home", version="v1", number=0, start="2026-03-01T00:00:00Z",
        end="2026-03-01T01:00:00Z", n=200, labelled=200, hits=100, expected=90.0, watch_n=0,
        watch_sum=0.0, groups=groups,
    )  # fmt: skip


def test_points_of_groups_are_those_of_the_closed_forms() -> None:
    one = quality(
        group("F", n=60, labelled=50, hits=10, expected=20.0, watch_n=10, watch_sum=4.0),
        group("M", n=90, labelled=80, hits=48, expected=40.0),
        group("X", n=60, labelled=LEAST_GROUP - 1, hits=0, expected=3.0),
        group(MISSING, n=40, labelled=40, hits=0, expected=3.0),
    )
    points = {point.metric: point for point in quality_points(one)}
    both = ("hit_rate.share", "calibration.mean")
    assert set(points) == {
        *both,
        *(f"{GENDER}={level}.{name}" for level in ("F", "M", MISSING) for name in both),
        f"{GENDER}=F.watch_through.mean",
        f"{GENDER}.hit_rate_gap.mean",
    }
    female = points[f"{GENDER}=F.hit_rate.share"]
    assert (female.shown, female.n, female.kind) == (0.2, 50, "share")
    assert female.value == pytest.approx(asin(sqrt((10 + 0.375) / (50 + 0.75))))
    assert points[f"{GENDER}=F.calibration.mean"].value == pytest.approx((10 - 20) / 50)
    assert points[f"{GENDER}=F.calibration.mean"].noise == pytest.approx(sqrt(0.16 / 50))
    assert points[f"{GENDER}=F.watch_through.mean"].value == pytest.approx(0.4)
    gap = points[f"{GENDER}.hit_rate_gap.mean"]
    # 48 of 80 against 10 of 50; that of nobody's level would have been 0.6
    assert (gap.value, gap.n) == (pytest.approx(0.4), 130)
    assert gap.noise == pytest.approx(sqrt(0.16 / 50 + 0.24 / 80))


def test_a_single_group_with_labels_has_no_gap_and_none_says_nothing_more() -> None:
    alone = quality(group("F", n=60, labelled=50, hits=10))
    assert not any("gap" in point.metric for point in quality_points(alone))
    few = quality(group("F", n=60, labelled=19, hits=10), group("M", n=60, labelled=5, hits=1))
    assert [p.metric for p in quality_points(few)] == ["hit_rate.share", "calibration.mean"]
    assert quality_points(few) == quality_points(quality())


def signal(metric: str, effect: float, stream: str = f"{QUALITY}v1") -> Signal:
    return Signal(
        stream=stream, metric=metric, feature=feature_of(metric), chart="ewma", kind="share",
        statistic=9.0, limit=3.0, effect=effect, usual=0.4, now=0.4 + effect, small=False,
        window=3, start="2026-03-01T00:00:00Z", end="2026-03-01T01:00:00Z", n=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "effect", "kind"),
    [
        ("viewer:gender=F.hit_rate.share", -0.1, "quality_drop"),
        ("viewer:gender=F.hit_rate.share", 0.1, "quality_rise"),
        ("viewer:plan=pro 1.5=x.watch_through.mean", -0.1, "quality_drop"),
        ("viewer:gender=F.calibration.mean", -0.1, "miscalibration"),
        ("viewer:gender.hit_rate_gap.mean", 0.1, "quality_gap_rise"),
        ("viewer:gender.hit_rate_gap.mean", -0.1, "quality_gap_drop"),
        ("hit_rate.share", -0.1, "quality_drop"),
    ],
)
def test_a_group_has_the_kinds_of_the_whole(metric: str, effect: float, kind: str) -> None:
    assert kind_of(signal(metric, effect)) == kind


def test_a_level_that_is_called_hit_rate_is_input_all_the_same() -> None:
    assert kind_of(signal("viewer:gender=F.hit_rate.share", -0.1, "requests")) == "input_drift"


@pytest.mark.parametrize(
    ("signals", "action", "reason"),
    [
        ([("viewer:gender=F.hit_rate.share", -0.1)], "retrain", "gender = F: hit rate or"),
        ([("viewer:gender=F.watch_through.mean", -0.1)], "retrain", "gender = F: hit rate or"),
        ([("viewer:gender.hit_rate_gap.mean", 0.1)], "retrain", "of gender moved apart"),
        ([("viewer:gender=F.calibration.mean", -0.1)], "record", "no loss is measured"),
        ([("viewer:gender=F.hit_rate.share", 0.1)], "record", "no loss is measured"),
        ([("viewer:gender.hit_rate_gap.mean", -0.1)], "record", "no loss is measured"),
        # one group is served better than before: they lie apart, and nobody lost
        ([("viewer:gender=F.hit_rate.share", 0.1), ("viewer:gender.hit_rate_gap.mean", 0.1)],
         "record", "no loss is measured"),
        ([("viewer:gender=F.hit_rate.share", 0.1), ("viewer:gender=M.hit_rate.share", -0.1),
          ("viewer:gender.hit_rate_gap.mean", 0.1)], "retrain", "of gender moved apart"),
    ],
)  # fmt: skip
def test_a_loss_in_a_group_is_a_loss(
    signals: list[tuple[str, float]], action: str, reason: str
) -> None:
    facts = facts_from(
        [], [signal(*one) for one in signals], Known(), labels_known=True, calibrated=True,
        usual_top_actor_share=0.0,
    )  # fmt: skip
    cause = classify(facts)
    assert cause.action == action
    assert any(reason in one for one in cause.reasons)


class Served:
    """Traffic of a service of whose viewers a tenth are F, to a monitor of the manifest."""

    size = 500

    def __init__(self, seed: int, spec: MonitorSpec) -> None:
        self.rng, self.count = np.random.default_rng(seed), 0
        plan = plan_of(spec)
        window = replace(plan.window, events=self.size, label_wait_s=60.0, label_lag=20)
        self.plan: Plan = replace(plan, window=window)
        self.monitor: Monitor = new_monitor(self.plan)

    def windows(self, n: int, *, female: float) -> list[Observed]:
        return [self.one(female) for _ in range(n)]

    def one(self, female: float) -> Observed:
        wobble = self.rng.normal(0, 0.03)  # evenings differ, for all alike
        rows: list[dict[str, Any]] = []
        labels: list[dict[str, Any]] = []
        for _ in range(self.size):
            self.count += 1
            of = self.rng.random() < 0.1
            rate = (female if of else 0.5) + wobble
            age, margin = float(self.rng.integers(18, 60)), float(self.rng.normal())
            raw = float(np.clip(self.rng.normal(0.5, 0.1), 0, 1))  # the model notices nothing
            rows.append(
                answer(self.count, [age, 0.0 if of else 1.0, margin], raw_confidence=raw)
            )
            labels.append(said(self.count, hit=bool(self.rng.random() < rate)))
        layouts: dict[str, Layout] = LAYOUTS
        seen = observe(self.monitor, rows, labels, plan=self.plan, layouts=layouts)
        self.monitor = seen.monitor
        return seen


SPEC = MonitorSpec(watch="home", groups=(GENDER,))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_half_a_loss_in_a_tenth_of_viewers_is_found_and_named(seed: int) -> None:
    served = Served(seed, SPEC)
    assert not any(seen.commands for seen in served.windows(24, female=0.5))
    part, seen = None, list[Signal]()
    for _ in range(16):
        found = served.one(female=0.25)
        seen += found.signals
        if any("quality_drop" in by_kind(command.incident) for command in found.commands):
            incident = found.commands[-1].incident
            part = by_kind(incident)["quality_drop"]
            break
    assert part is not None
    assert {one.feature for one in seen} == {GENDER}  # 0.5 became 0.475, as on other evenings
    assert worst(part).metric == f"{GENDER}=F.hit_rate.share"
    assert alert_of(part, project="movies").slice == "gender = F"
    assert sentence(part).startswith("hit_rate of gender = F was 0.")
    assert worst(part).usual == pytest.approx(0.5, abs=0.05)
    assert worst(part).now == pytest.approx(0.25, abs=0.12)
    assert (incident.cause.cause, incident.cause.action) == ("loss", "retrain")
    assert any("gender = F" in reason for reason in incident.cause.reasons)
    assert (
        msgspec.json.decode(msgspec.json.encode(served.monitor), type=Monitor) == served.monitor
    )


def test_the_same_loss_is_not_seen_without_groups_and_is_with_other_features_watched() -> None:
    blind = Served(1, MonitorSpec(watch="home"))
    listed = Served(1, MonitorSpec(watch="home", features=("viewer:age",), groups=(GENDER,)))
    for served in (blind, listed):
        served.windows(24, female=0.5)
    assert not any(seen.commands for seen in blind.windows(9, female=0.25))
    found = listed.windows(9, female=0.25)
    metrics = {one.metric for seen in found for one in seen.signals}
    assert f"{GENDER}=F.hit_rate.share" in metrics


def test_a_state_with_groups_is_bounded_whatever_versions_come() -> None:
    state = FoldState()
    for version in range(40):
        layouts = {f"w{version}": replace(LAYOUTS["v1"], version=f"w{version}")}
        rows = [
            answer(version * 10 + n, [30.0, float(n % 3), 1.0], model_version=f"w{version}")
            for n in range(8)
        ]
        state = fold(state, rows, [], plan=EVENTS, layouts=layouts).state
    assert len(state.remembered.levels) <= 16
    assert sys.getsizeof(msgspec.json.encode(state)) < 300_000
