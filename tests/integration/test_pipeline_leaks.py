"""The leak test on real ratings: a canary made from the label is caught, a strict `<` not."""

import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.engine_duckdb import DuckDBEngine
from mlg.adapters.network_memory import MemoryNetwork
from mlg.adapters.source_datasets import cache_root
from mlg.adapters.sources import Sources
from mlg.core.artifacts import Snapshot
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ContractError
from mlg.core.steps import StepInput
from mlg.core.uris import Digest
from mlg.manifest.load import load_manifest
from mlg.manifest.specs_pipelines import PointInTimeSpec, SqlStep
from mlg.pipeline.config import TableConfig, canonical
from mlg.pipeline.plan import PipelinePlan, call_of
from mlg.pipeline.run import run_step

pytestmark = pytest.mark.example

MOVIES = Path(__file__).parents[2] / "examples" / "movies"
POINT = PointInTimeSpec(at="rated_at", label=("rating",), source_at="rated_at")
VIEWER_MEAN = """
SELECT *, avg(rating) OVER (
    PARTITION BY user_id ORDER BY rated_at
    RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL {} PRECEDING
) AS viewer_mean FROM clean_ratings
"""


class Kitchen:
    """The movies example up to its clean ratings, with room for one more step."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "project"
        shutil.copytree(MOVIES, self.folder)
        self.artifacts = LocalArtifacts(root / "store")
        self.engine = DuckDBEngine(
            self.artifacts,
            Sources(cache_root(), MemoryNetwork()),
            clock=ManualClock(),
            work=root / "work",
        )
        self.root = root
        spec = load_manifest(MOVIES / "mlg.yaml").spec
        pipeline = self.spec = spec.pipelines["ranker"]
        plan = PipelinePlan(
            project="movies",
            name="ranker",
            spec=pipeline,
            datasets=spec.datasets,
            folder=self.folder,
            folder_digest=self.artifacts.put(self.folder),
        )
        results = {}
        for name in ("source_users", "source_movies", "source_ratings", "clean"):
            self.call = call_of(plan, name, results)
            results[name] = run_step(
                self.call,
                engine=self.engine,
                artifacts=self.artifacts,
                work=root,
                progress=lambda _line: None,
            )
        snapshot = results["clean"].snapshot
        assert snapshot is not None
        self.clean: Snapshot = snapshot

    def sql(self, text: str) -> Snapshot:
        (self.folder / "sql" / "canary.sql").write_text(text, encoding="utf-8")
        step = SqlStep(sql="sql/canary.sql", inputs=("clean_ratings",), point_in_time=POINT)
        return self.engine.run(
            replace(
                self.call,
                name="canary",
                out="canary",
                config=canonical(TableConfig(step=step)),
                inputs=(StepInput(name="clean_ratings", snapshot=self.clean),),
                folder=Digest(self.artifacts.put(self.folder)),
            )
        )


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    try:
        return Kitchen(tmp_path_factory.mktemp("kitchen"))
    except BackendError as error:
        pytest.skip(f"no cached data and no network: {error}")


def test_three_quarters_of_the_ratings_share_viewer_and_time_with_another(
    kitchen: Kitchen,
) -> None:
    path = kitchen.artifacts.open(kitchen.clean.digest)
    with duckdb.connect() as con:
        found = con.execute(
            "SELECT avg((n > 1)::INT) FROM (SELECT count(*) OVER "
            f"(PARTITION BY user_id, rated_at) AS n FROM read_parquet('{path}'))"
        ).fetchone()
    assert found is not None
    assert found[0] == pytest.approx(0.76, abs=0.005)


def test_a_mean_that_includes_the_same_instant_is_caught(kitchen: Kitchen) -> None:
    with pytest.raises(ContractError) as caught:
        kitchen.sql(VIEWER_MEAN.format("'0 seconds'"))
    message = str(caught.value)
    assert message.startswith("step canary: column 'viewer_mean' of rows up to 199")
    assert "Example row: user_id=" in message
    assert "viewer_mean=" in message
    assert "`<`, not `<=`" in caught.value.hint


def test_the_strict_mean_passes(kitchen: Kitchen) -> None:
    assert kitchen.sql(VIEWER_MEAN.format("'1 microsecond'")).rows == 100_000


def test_a_mean_that_leaves_out_only_the_own_row_is_caught_by_its_ties(
    kitchen: Kitchen,
) -> None:
    text = VIEWER_MEAN.format("'0 seconds'").replace(
        ") AS viewer_mean", "EXCLUDE CURRENT ROW) AS viewer_mean"
    )
    with pytest.raises(ContractError, match="column 'viewer_mean'"):
        kitchen.sql(text)


def test_daily_statistics_are_what_counting_each_day_anew_gives(kitchen: Kitchen) -> None:
    step = kitchen.spec.steps["item_stats"]
    snapshot = kitchen.engine.run(
        replace(
            kitchen.call,
            kind="python",
            name="item_stats",
            out="item_stats",
            config=canonical({"step": step}),
            inputs=(StepInput(name="clean_ratings", snapshot=kitchen.clean),),
        )
    )
    stats, events = (
        f"read_parquet('{kitchen.artifacts.open(one.digest)}')"
        for one in (snapshot, kitchen.clean)
    )
    with duckdb.connect() as con:
        found = con.execute(
            f"""
            WITH picked AS (SELECT * FROM {stats} WHERE hash(item_id, available_at) % 50 = 0),
            counted AS (
                SELECT p.item_id, p.available_at,
                    count(*) FILTER (e.rated_at >= p.available_at - INTERVAL 7 DAY) AS week,
                    count(*) FILTER (e.rated_at >= p.available_at - INTERVAL 30 DAY) AS month,
                    count(e.rating) AS total, avg(e.rating) AS mean
                FROM picked p LEFT JOIN {events} e
                ON e.item_id = p.item_id AND e.rated_at < p.available_at GROUP BY ALL
            )
            SELECT count(*), bool_and(
                plays_7d = week AND plays_30d = month AND plays_all = total
                AND coalesce(abs(mean_value - mean) < 1e-9,
                    mean_value IS NULL AND mean IS NULL))
            FROM picked JOIN counted USING (item_id, available_at)
            """
        ).fetchone()
    assert found is not None
    assert found[0] > 5_000
    assert found[1]


def test_a_column_made_from_the_label_is_caught(kitchen: Kitchen) -> None:
    with pytest.raises(ContractError, match="column 'canary'"):
        kitchen.sql("SELECT *, rating * 0.1 AS canary FROM clean_ratings")


def test_a_mean_over_all_time_is_caught(kitchen: Kitchen) -> None:
    with pytest.raises(ContractError, match="column 'item_mean'"):
        kitchen.sql(
            "SELECT *, avg(rating) OVER (PARTITION BY item_id) AS item_mean FROM clean_ratings"
        )
