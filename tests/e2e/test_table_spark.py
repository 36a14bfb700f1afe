"""Windows counted by Spark are those of the numpy pass over the same rows."""

import os
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.integration.test_table_ibis import same, table

from mlg.adapters.table_batches import open_table
from mlg.adapters.table_frame import SAMPLE, frame_of, reading_of
from mlg.adapters.table_ibis import counted_there, frame_there, open_ibis, stays
from mlg.app.drift_check import check
from mlg.core.errors import ManifestError

pytestmark = pytest.mark.skipif(
    os.environ.get("MLG_FULL") != "1", reason="a minute: set MLG_FULL=1"
)


@pytest.mark.filterwarnings("ignore")  # Spark's own
def test_windows_on_spark_are_equal_and_need_a_time(tmp_path: Path) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="mlg[spark] is not installed")
    rows = table()
    shuffled = rows.take(np.random.default_rng(3).permutation(rows.num_rows))
    pq.write_table(shuffled, tmp_path / "t.parquet", row_group_size=3_000)
    builder = sql.SparkSession.builder.master("local[2]")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(tmp_path / "warehouse"),
    }.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    try:
        lake = ibis.pyspark.connect(session)
        there = lake.read_parquet(str(tmp_path / "t.parquet"), table_name="t")
        assert stays(there)
        readings = [reading_of(open_table(rows), "at") for _ in range(2)]
        opened = open_ibis(there, "t")
        assert counted_there(opened, readings[0])
        found = frame_there(opened, readings[0], windows=73, learn=True)
        same(found, frame_of(open_table(rows), readings[1], windows=73, learn=True))
        with pytest.raises(ManifestError, match="no order"):
            check(there, there)
        many = SAMPLE + 20_000
        at = np.arange(float(many))
        pq.write_table(pa.table({"x": at % 97, "at": at}), tmp_path / "many.parquet")
        large = open_ibis(lake.read_parquet(str(tmp_path / "many.parquet")), "many")
        drawn = frame_there(large, reading_of(large, "at"), windows=4, learn=True)
        assert drawn.windows["x"].n.tolist() == [many // 4] * 4
        apart = 6 * (SAMPLE * 20_000 / many) ** 0.5  # binomial
        assert drawn.sample.rows == pytest.approx(SAMPLE, abs=apart)
    finally:
        session.stop()
