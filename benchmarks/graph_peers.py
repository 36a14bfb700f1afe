"""The peers of `mlg bench graph`; run by it, each in a virtual environment of its own.

    python graph_peers.py memory|ladybug|mlmd|mlflow FILE

FILE is what the benchmark saved: edges as integers, how many nodes, where traces start. Prints
one JSON document: by subject, `load_s`, and times in ms with the number of nodes found.
"""  # noqa: INP001 - a script, no package

import json
import os
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path

REQUIRES = {
    "memory": ("networkx==3.6", "rustworkx==0.18.0", "numpy"),
    "ladybug": ("ladybug==0.22.0", "numpy", "pyarrow"),
    "mlmd": ("ml-metadata==1.17.1", "numpy"),
    "mlflow": ("mlflow==3.17.2", "numpy"),
}
"""What each environment holds."""


def timed(starts, ask):
    """Return the ms of each question, and how many nodes it found."""
    times, counts = [], []
    for start in starts:
        began = time.perf_counter()
        found = ask(start)
        times.append(1e3 * (time.perf_counter() - began))
        counts.append(len(found) + 1)
    return times, counts


def memory(given):
    """networkx and rustworkx: integers in memory, a set of integers out."""
    import networkx
    import rustworkx

    n, starts = int(given["n"]), given["starts"].tolist()
    pairs = list(zip(given["src"].tolist(), given["dst"].tolist(), strict=True))

    def rust():
        graph = rustworkx.PyDiGraph()
        graph.add_nodes_from(list(range(n)))
        graph.add_edges_from_no_data(pairs)
        return graph

    def nx():
        graph = networkx.DiGraph()
        graph.add_nodes_from(range(n))
        graph.add_edges_from(pairs)
        return graph

    found = {}
    for name, make, up, down in (
        ("rustworkx", rust, rustworkx.ancestors, rustworkx.descendants),
        ("networkx", nx, networkx.ancestors, networkx.descendants),
    ):
        began = time.perf_counter()
        graph = make()
        row = {"load_s": time.perf_counter() - began}
        row["up"], row["up_n"] = timed(starts, lambda at, g=graph, ask=up: ask(g, at))
        row["down"], row["down_n"] = timed(starts, lambda at, g=graph, ask=down: ask(g, at))
        found[name] = row
    return found


def ladybug(given):
    """ladybug: an embedded graph database on disk; ids out."""
    import ladybug as lady
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        nodes, edges = f"{folder}/n.parquet", f"{folder}/e.parquet"
        pq.write_table(pa.table({"id": np.arange(int(given["n"]))}), nodes)
        pq.write_table(pa.table({"src": given["src"], "dst": given["dst"]}), edges)
        db = lady.Database(f"{folder}/db")
        ask = lady.Connection(db)
        began = time.perf_counter()
        ask.execute("CREATE NODE TABLE N(id INT64, PRIMARY KEY(id))")
        ask.execute("CREATE REL TABLE E(FROM N TO N)")
        ask.execute(f"COPY N FROM '{nodes}'")
        ask.execute(f"COPY E FROM '{edges}'")
        row = {"load_s": time.perf_counter() - began}
        ask.execute("CALL var_length_extend_max_depth=255")
        for way, arrow in (
            ("up", "<-[:E* SHORTEST 1..255]-"),
            ("down", "-[:E* SHORTEST 1..255]->"),
        ):
            text = f"MATCH (a:N {{id: $s}}){arrow}(b:N) RETURN b.id"
            row[way], row[f"{way}_n"] = timed(
                given["starts"].tolist()[:100],
                lambda at, text=text: ask.execute(text, {"s": at}).get_all(),
            )
    return {"ladybug": row}


def mlmd(given):
    """ml-metadata on SQLite: an execution stands between what it read and what it made."""
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as pb

    with tempfile.TemporaryDirectory() as folder:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = f"{folder}/mlmd.db"
        config.sqlite.connection_mode = 3
        store = metadata_store.MetadataStore(config)
        thing = store.put_artifact_type(pb.ArtifactType(name="thing"))
        made = store.put_execution_type(pb.ExecutionType(name="made"))
        parents = defaultdict(list)
        for src, dst in zip(given["src"].tolist(), given["dst"].tolist(), strict=True):
            parents[dst].append(src)
        began = time.perf_counter()
        ids = store.put_artifacts(
            [pb.Artifact(type_id=thing, uri=str(n)) for n in range(int(given["n"]))]
        )
        for dst, sources in parents.items():
            events = [(src, pb.Event.INPUT) for src in sources] + [(dst, pb.Event.OUTPUT)]
            store.put_execution(
                pb.Execution(type_id=made),
                [
                    (pb.Artifact(id=ids[n], type_id=thing, uri=str(n)), pb.Event(type=kind))
                    for n, kind in events
                ],
                [],
            )
        row = {"load_s": time.perf_counter() - began}

        def up(start):
            options = pb.LineageSubgraphQueryOptions(
                starting_artifacts=pb.LineageSubgraphQueryOptions.StartingNodes(
                    filter_query=f"id = {ids[start]}"
                ),
                max_num_hops=100,
                direction=pb.LineageSubgraphQueryOptions.Direction.UPSTREAM,
            )
            return store.get_lineage_subgraph(options).artifacts[1:]

        row["up"], row["up_n"] = timed(given["starts"].tolist()[:50], up)
    return {"ml-metadata": row}


def mlflow(given):
    """MLflow on SQLite: runs found by a tag and a parameter, versions by their model's name."""
    os.environ["MLFLOW_TRACKING_URI"] = ""
    import logging

    logging.disable(logging.WARNING)
    from mlflow.entities import Param, RunTag
    from mlflow.tracking import MlflowClient

    runs = int(given["n"])
    with tempfile.TemporaryDirectory() as folder:
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        experiment = client.create_experiment("bench", artifact_location=folder)
        began = time.perf_counter()
        for number in range(runs):
            run = client.create_run(experiment)
            client.log_batch(
                run.info.run_id,
                params=[Param("day", str(number // 300))],
                tags=[RunTag("service", f"service{number % 60}")],
            )
        row = {"load_s": time.perf_counter() - began}

        def search(number):
            text = f"tags.service = 'service{number % 60}' and params.day = '{number // 300}'"
            return client.search_runs([experiment], text, max_results=20)

        row["search"], row["search_n"] = timed(range(0, runs, max(1, runs // 200)), search)
    return {"mlflow": row}


if __name__ == "__main__":
    import numpy

    with numpy.load(Path(sys.argv[2])) as saved:
        print(json.dumps(globals()[sys.argv[1]](dict(saved))))
