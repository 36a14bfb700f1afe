"""Tags and vectors: one feature of several columns, charted as one."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlg.monitors.answers import micros, time_text
from mlg.monitors.fold import WindowPlan
from mlg.monitors.group_points import GroupBase, discrepancy, group_bases
from mlg.monitors.groups import Grouped, grouped, merged, norms, parts_of
from mlg.monitors.monitor import Monitor, Plan, new_monitor, observe
from mlg.monitors.windows import Feature, Row, Window, layout_of

NAMES = ["genre[drama]", "genre[war]", "genre[western]", "genre[(unseen)]",
         *(f"taste[{place}]" for place in range(4))]  # fmt: skip
LAYOUTS = {"v1": layout_of("v1", NAMES, {})}
PLAN = Plan(window=WindowPlan(service="home", events=200), baseline=20)
START_US = micros("2026-03-01T00:00:00Z")


class Traffic:
    """Answers with tags and a vector, window by window."""

    def __init__(self, seed: int) -> None:
        self.rng, self.monitor, self.count = np.random.default_rng(seed), new_monitor(PLAN), 0

    def windows(self, n: int, **how: Any) -> set[str]:
        """Return what signalled in n windows."""
        return {one.metric for _ in range(n) for one in self.one(**how)}

    def one(
        self, *, war: float = 0.3, unseen: float = 0.0, shift: float = 0.0, scale: float = 1.0,
        ring: bool = False,
    ) -> tuple[Any, ...]:  # fmt: skip
        rng, size = self.rng, 200
        shares = np.array([0.5, war, 0.005, unseen])
        shares = np.clip(shares + np.array([1, 1, 0, 0]) * rng.normal(0, 0.02), 0, 1)
        tags = rng.random((size, 4)) < shares
        taste = rng.normal(size=(size, 4)) * [3.0, 1.0, 1.0, 1.0]
        if ring:  # the same mean and spread along each axis, another shape
            taste = np.sign(taste) * [3.0, 1.0, 1.0, 1.0]
        taste = scale * taste + [shift, 0, 0, 0]
        rows: list[dict[str, Any]] = []
        for values in np.hstack([tags, taste]).tolist():
            self.count += 1
            rows.append(
                {
                    "prediction_id": f"p{self.count}", "service": "home", "items": [1],
                    "model_version": "v1", "served_by": "model", "reason": "ranked",
                    "raw_confidence": 0.5, "viewer": f"v{self.count}", "features": values,
                    "at": time_text(START_US + 10**6 * self.count),
                }
            )  # fmt: skip
        seen = observe(self.monitor, rows, [], plan=PLAN, layouts=LAYOUTS)
        self.monitor = seen.monitor
        return seen.signals


@pytest.fixture(scope="module")
def ready() -> Traffic:
    traffic = Traffic(2)
    assert traffic.windows(40) == set()
    return traffic


@pytest.mark.parametrize(
    ("how", "metric"),
    [
        ({"war": 0.5}, "genre=war.share"),
        ({"unseen": 0.3}, "genre=(unseen).share"),
        ({"shift": 1.5}, "taste.components"),
        ({"scale": 2.5}, "taste.norm.location"),
        ({"ring": True}, "taste=discrepancy.mean"),
    ],
)
def test_a_change_is_signalled_by_the_statistic_that_is_meant_for_it(
    ready: Traffic, how: dict[str, Any], metric: str
) -> None:
    other = Traffic(5)
    other.monitor, other.count = ready.monitor, ready.count
    assert metric in other.windows(8, **how)


def test_tags_and_vectors_are_not_charted_column_by_column(ready: Traffic) -> None:
    usual = ready.monitor.charts.streams["v1"].baseline.usual
    assert usual is not None
    assert not [name for name in usual.metrics if "[" in name]
    assert {"genre=drama.share", "genre=(others).share", "taste.norm.log_sd",
            "genre.missing", "taste.infinite"} <= set(usual.metrics)  # fmt: skip
    # components have one chart together, all else two each
    parts = sum("=component " in name for name in usual.metrics)
    assert parts > 1
    assert 0 < usual.moving <= len(usual.metrics)  # nothing is ever infinite here
    wanted = 2 * (usual.moving - parts - 1) + 1
    quality = ready.monitor.charts.streams["v1"].quality_base.usual
    wanted += 2 * quality.moving if quality else 0
    assert ready.monitor.charts.streams["v1"].charts == wanted


def test_the_monitor_with_groups_goes_through_json(ready: Traffic) -> None:
    text = msgspec.json.encode(ready.monitor)
    assert msgspec.json.decode(text, type=Monitor) == ready.monitor


def test_rows_that_carry_a_tag_are_counted_and_the_unknown_ones_are_missing() -> None:
    x = np.array([[1, 0, 0], [1, 1, 0], [np.nan] * 3, [0, 0, np.inf], [0, 0, 2]], np.float32)
    found = grouped(parts_of(["a[x]", "a[y]", "a[(unseen)]"])["a"], x)
    assert (found.n, found.missing, found.infinite, found.counts) == (5, 1, 1, (2, 1, 1))


def test_a_vector_with_a_part_that_is_not_finite_is_missing() -> None:
    x = np.array([[3, 4], [np.nan, 1], [np.inf, 1], [0, 1]], np.float32)
    found = grouped(parts_of(["a[0]", "a[1]"])["a"], x)
    assert (found.n, found.missing, found.infinite, found.sums) == (4, 2, 1, (3.0, 5.0))
    assert norms(x)[[0, 3]].tolist() == [5.0, 1.0]
    assert np.isnan(norms(x)[1])
    assert np.isinf(norms(x)[2])


@given(arrays(np.float32, (12, 3), elements=st.integers(-3, 3)), st.integers(0, 12))
@settings(max_examples=30)
def test_two_parts_of_a_window_merge_to_the_whole(x: np.ndarray, cut: int) -> None:
    for names in (["a[x]", "a[y]", "a[z]"], ["a[0]", "a[1]", "a[2]"]):
        group = parts_of(names)["a"]
        assert merged(grouped(group, x[:cut]), grouped(group, x[cut:])) == grouped(group, x)


def test_other_features_do_not_merge() -> None:
    with pytest.raises(ValueError, match="do not merge"):
        merged(Grouped(name="a", shape="tags"), Grouped(name="b", shape="tags"))


def test_a_single_place_or_a_gap_is_no_vector() -> None:
    assert parts_of(["a[0]"])["a"].shape == "tags"
    assert parts_of(["a[0]", "a[2]"])["a"].shape == "tags"
    assert parts_of(["[0]", "a[]", "b"]) == {}


def window(x: np.ndarray) -> Window:
    columns = tuple(Feature(name=f"t[{place}]") for place in range(x.shape[1]))
    rows = tuple(
        Row(rank=f"{n:016x}", prediction_id=str(n), values=one.astype("<f4").tobytes())
        for n, one in enumerate(x)
    )
    group = parts_of([one.name for one in columns])["t"]
    return Window(
        service="home", stream="v1", number=0, start="a", end="b", n=len(x), columns=columns,
        rows=rows, groups=(grouped(group, x.astype(np.float32)),),
    )  # fmt: skip


def test_components_are_those_of_the_covariance() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)) @ np.array([[3.0, 0, 0], [2.0, 1, 0], [0, 0, 0.1]])
    base = group_bases([window(x)])["t"]
    values, vectors = np.linalg.eigh(np.cov(x.astype(np.float32).T))
    assert base.spread == pytest.approx(np.sqrt(values[::-1]).tolist(), rel=1e-4)
    for place, one in enumerate(base.components):
        assert abs(float(np.dot(one, vectors[:, 2 - place]))) == pytest.approx(1.0, abs=1e-4)


def kernel_mmd(x: np.ndarray, y: np.ndarray, width: float) -> float:
    """Return the squared discrepancy by the kernel itself, unbiased in x, all pairs of y."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        gaps = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
        return np.exp(-gaps / (2 * width**2))

    n = len(x)
    inside = (kernel(x, x).sum() - n) / (n * (n - 1))
    return float(inside + kernel(y, y).mean() - 2 * kernel(x, y).mean())


def test_the_discrepancy_is_about_that_of_the_kernel() -> None:
    rng = np.random.default_rng(4)
    usual, live = rng.normal(size=(500, 4)), rng.normal(size=(200, 4)) + 0.8
    base = group_bases([window(usual)])["t"]
    for x in (live, usual[:200]):
        exact = kernel_mmd(x, usual, base.width)
        # a product of 128 random features is off by 1/sqrt(128) at most, a mean of many by less
        assert discrepancy("t", base, x) == pytest.approx(exact, abs=0.03)
    assert discrepancy("t", base, live) > 10 * abs(discrepancy("t", base, usual[:200]))


def test_vectors_that_are_all_alike_have_no_components_and_no_kernel() -> None:
    base = group_bases([window(np.ones((50, 3)))])["t"]
    assert (base.components, base.width) == ((), 0.0)
    assert group_bases([replace(window(np.ones((5, 3))), groups=())]) == {}
    few = group_bases([window(np.ones((5, 3)))])["t"]
    assert few == GroupBase(pooled=few.pooled)
