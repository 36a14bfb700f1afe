"""The subjects of `mlg bench monitors --only check`; each runs in an environment of its own.

    python monitors_peers.py NAME BASELINE.parquet LIVE.parquet

Prints one JSON document: `check_s` from before the first byte is read until every feature has
a verdict (imports apart, for every subject), and by rule the features that it calls drifting.
Each is set up as its own documentation shows; where a tool has no verdict ours is told.
"""  # noqa: INP001 - a script, no package

import json
import sys
import time
import warnings

REQUIRES = {
    "scipy": ("scipy==1.17.1", "numpy==2.4.6", "pyarrow==26.0.1"),
    "duckdb": ("duckdb==2.0.1", "numpy==2.4.6"),
    "evidently": ("evidently==0.7.23", "pandas==2.3.3", "numpy==2.3.5", "pyarrow==23.0.1"),
    "nannyml": (
        "nannyml==0.13.1",
        "pandas==2.3.3",
        "numpy==2.2.6",
        "statsmodels==0.15.0",
        "pyarrow==23.0.1",
    ),
    "alibi-detect": (
        "alibi-detect==0.13.0",
        "pandas==2.3.3",
        "numpy==1.26.4",
        "pyarrow==18.1.0",
    ),
}
"""Peer -> what its environment holds. NannyML needs statsmodels and does not ask for it; pandas 3
breaks Evidently and NannyML, numpy 2 alibi-detect."""
BINS, CHUNK, MANY_CHUNKS = 20, 10_000, 0.1


def mlg(baseline, live):
    """`mlg.drift.check` on two paths."""
    from mlg import drift

    began = time.perf_counter()
    report = drift.check(baseline, live)
    took = time.perf_counter() - began
    return took, {"default": [one.feature for one in report.features if one.verdict == "drift"]}


def numpy_pass(baseline, live):
    """The floor: count, mean, M2 and 20 bins of each column, one thread, no verdict."""
    import numpy as np
    import pyarrow.parquet as pq

    began = time.perf_counter()
    edges, sums = {}, {}
    for path in (baseline, live):
        file = pq.ParquetFile(path, read_dictionary=_strings(pq, path))
        for batch in range(file.num_row_groups):
            table = file.read_row_group(batch, use_threads=False)
            for name in table.column_names:
                column = table[name].combine_chunks()
                if hasattr(column, "indices"):
                    codes = column.indices.to_numpy()
                    sums[path, name, batch] = (len(codes), np.bincount(codes))
                    continue
                x = column.to_numpy()
                if name not in edges:
                    edges[name] = np.quantile(x[:10_000], np.arange(1, BINS) / BINS)
                mean = x.mean(dtype=np.float64)
                m2 = np.square(x - mean).sum(dtype=np.float64)
                counts = np.bincount(np.searchsorted(edges[name], x), minlength=BINS)
                sums[path, name, batch] = (len(x), mean, m2, counts)
    return time.perf_counter() - began, {"none": []}


def _strings(pq, path):
    import pyarrow as pa

    found = pq.read_schema(path)
    return [one.name for one in found if pa.types.is_dictionary(one.type)]


def scipy(baseline, live):
    """Two-sample Kolmogorov-Smirnov and chi squared, p < .05, bare and by Benjamini-Hochberg."""
    import numpy as np
    import pyarrow.parquet as pq
    from scipy.stats import chi2_contingency, false_discovery_control, ks_2samp

    began = time.perf_counter()
    first, second = (pq.read_table(path) for path in (baseline, live))
    p = {}
    for name in first.column_names:
        a, b = (table[name].combine_chunks() for table in (first, second))
        if hasattr(a, "indices"):
            a, b = (dict(zip(*map(list, _counted(np, one)), strict=True)) for one in (a, b))
            both = sorted(a.keys() | b.keys())
            table = np.array([[side.get(value, 0) for value in both] for side in (a, b)])
            p[name] = chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue
        else:
            p[name] = ks_2samp(a.to_numpy(), b.to_numpy()).pvalue
    adjusted = false_discovery_control(np.array(list(p.values())))
    took = time.perf_counter() - began
    return took, {
        "p < .05": [name for name, value in p.items() if value < 0.05],
        "Benjamini-Hochberg": [n for n, q in zip(p, adjusted, strict=True) if q < 0.05],
    }


def _counted(np, column):
    counts = np.bincount(column.indices.to_numpy(), minlength=len(column.dictionary))
    return column.dictionary.to_pylist(), counts.tolist()


def duckdb(baseline, live):
    """PSI over the baseline's deciles and over categories; each table is read once.

    `histogram(column, edges)` bins and counts in one scan; the same by UNPIVOT and GROUP BY
    feature, bin was slower, and one `count(*) FILTER` a bin slowest by far.
    """
    import math

    import duckdb as engine

    began = time.perf_counter()
    sql = engine.connect()
    told = sql.execute(f"DESCRIBE SELECT * FROM '{baseline}'").fetchall()
    texts = {row[0] for row in told if row[1] in ("VARCHAR",) or row[1].startswith("ENUM")}
    names = [row[0] for row in told]
    numbers = [name for name in names if name not in texts]
    cuts = [n / 10 for n in range(1, 10)]
    asked = ", ".join(f"approx_quantile({name}::DOUBLE, {cuts})" for name in numbers)
    edges = sql.execute(f"SELECT {asked} FROM '{baseline}'").fetchone()
    bins = dict(zip(numbers, edges, strict=True))
    wanted = ", ".join(
        f"histogram({name})"
        if name in texts
        else f"histogram({name}::DOUBLE, {sorted(set(bins[name]))})"
        for name in names
    )
    counts = [
        sql.execute(f"SELECT {wanted} FROM '{path}'").fetchone() for path in (baseline, live)
    ]
    drifting = []
    for name, a, b in zip(names, *counts, strict=True):
        n, m = sum(a.values()), sum(b.values())
        shares = [
            (max(a.get(k, 0) / n, 1e-6), max(b.get(k, 0) / m, 1e-6))
            for k in a.keys() | b.keys()
        ]
        psi = sum((q - p) * math.log(q / p) for p, q in shares)
        drifting += [name] if psi > 0.1 else []
    return time.perf_counter() - began, {"PSI > 0.1": drifting}


def evidently(baseline, live):
    """Evidently's data drift preset with its defaults."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    began = time.perf_counter()
    first, second = (pd.read_parquet(path) for path in (baseline, live))
    texts = [name for name in first if not pd.api.types.is_numeric_dtype(first[name])]
    kinds = DataDefinition(
        numerical_columns=[name for name in first if name not in texts],
        categorical_columns=texts,
    )
    first, second = (Dataset.from_pandas(one, data_definition=kinds) for one in (first, second))
    found = Report([DataDriftPreset()]).run(second, first).dict()
    took = time.perf_counter() - began
    drifting = []
    for metric in found["metrics"]:
        how = metric.get("config") or {}
        if "column" not in how or "threshold" not in how:
            continue
        value, threshold = float(metric["value"]), float(how["threshold"])
        by_p = "p_value" in str(how.get("method", "")) or "p_value" in metric["metric_name"]
        drifting += (
            [how["column"]] if (value < threshold if by_p else value >= threshold) else []
        )
    return took, {"default": drifting}


def nannyml(baseline, live):
    """Jensen-Shannon by chunks of 10,000; drift where a tenth of them alert (our rule)."""
    import nannyml as nml
    import pandas as pd

    began = time.perf_counter()
    first, second = (pd.read_parquet(path) for path in (baseline, live))
    names = list(first.columns)
    calculator = nml.UnivariateDriftCalculator(
        column_names=names, continuous_methods=["jensen_shannon"],
        categorical_methods=["jensen_shannon"], chunk_size=min(CHUNK, len(first) // 10),
    )  # fmt: skip
    found = calculator.fit(first).calculate(second).filter(period="analysis").to_df()
    alerts = {name: found[name]["jensen_shannon"]["alert"].to_numpy() for name in names}
    took = time.perf_counter() - began
    return took, {
        "10 % of chunks": [name for name in names if alerts[name].mean() >= MANY_CHUNKS],
        "any chunk": [name for name in names if alerts[name].any()],
    }


def alibi_detect(baseline, live):
    """TabularDrift, p < .05 a feature, bare and by Benjamini-Hochberg."""
    import numpy as np
    import pyarrow.parquet as pq
    from alibi_detect.cd import TabularDrift

    began = time.perf_counter()
    first, second = (pq.read_table(path) for path in (baseline, live))
    names, kinds, columns = first.column_names, {}, ([], [])
    for place, name in enumerate(names):
        a, b = (table[name].combine_chunks() for table in (first, second))
        if hasattr(a, "indices"):
            values = {value: code for code, value in enumerate(a.dictionary.to_pylist())}
            b = np.array([values.get(v, len(values)) for v in b.dictionary.to_pylist()])[
                b.indices.to_numpy()
            ]
            a, kinds[place] = a.indices.to_numpy(), None
        else:
            a, b = a.to_numpy(), b.to_numpy()
        for side, column in zip(columns, (a, b), strict=True):
            side.append(np.asarray(column, dtype=np.float64))
    first, second = (np.stack(side, axis=1) for side in columns)
    found = TabularDrift(first, p_val=0.05, categories_per_feature=kinds).predict(
        second, drift_type="feature"
    )["data"]
    p = np.asarray(found["p_val"])
    took = time.perf_counter() - began
    order = np.sort(p)
    limit = max([0.0, *(order[order <= 0.05 * np.arange(1, len(p) + 1) / len(p)])])
    return took, {
        "p < .05": [name for name, value in zip(names, p, strict=True) if value < 0.05],
        "Benjamini-Hochberg": [
            n for n, value in zip(names, p, strict=True) if value <= limit and limit
        ],
    }


SUBJECTS = {
    "mlg": mlg, "numpy pass": numpy_pass, "scipy": scipy, "duckdb": duckdb,
    "evidently": evidently, "nannyml": nannyml, "alibi-detect": alibi_detect,
}  # fmt: skip

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    spent, drifting = SUBJECTS[sys.argv[1]](sys.argv[2], sys.argv[3])
    print(json.dumps({"check_s": spent, "drift": drifting}))
