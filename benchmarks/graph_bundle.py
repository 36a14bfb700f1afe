"""The audit bundle of one prediction beside the whole graph of `mlg bench graph`."""  # noqa: INP001 - a script, no package

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import graph_world as world

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.keys_local import anchor_key, anchor_over, newest_anchor
from mlg.adapters.seal_parquet import find, seal
from mlg.core.uris import parse_uri
from mlg.graph.audit import anchor_path, encode_anchor, make_anchor
from mlg.graph.bundle import prediction_files, verify_bundle, zip_bytes
from mlg.graph.bundle_account import Evidence
from mlg.graph.lineage import Answered
from mlg.graph.log_tree import tree_from
from mlg.graph.record import Recorder, node, segment_uri
from mlg.graph.record_services import segment_sealed

HOUR_OF_PREDICTIONS = 100_000


def exported(
    store: SqliteGraph,
    reader: SqliteGraphReader,
    folder: Path,
    told: Sequence[tuple[int, int]],
    rows: int = HOUR_OF_PREDICTIONS,
) -> list[tuple[float, int]]:
    """Export a prediction of each deployment as `mlg audit export` does, and verify the bundle.

    Args:
        store: Of the world; each deployment's hour of predictions is sealed and told first.
        reader: Of the same file.
        folder: For segments, artifacts, keys and signed heads.
        told: Number and day of each deployment.
        rows: Predictions of each one's hour.

    Returns:
        For each, the seconds from the request to the zip's bytes, the signing of the log's
        head included, and the zip's size in bytes.
    """
    clock, files = SystemClock(), LocalFiles(folder)
    recorder = Recorder(project="bench", actor="system:bench", clock=clock, ids=Uuid7Ids(clock))
    artifacts = LocalArtifacts(folder / "artifacts")
    found: list[tuple[float, int]] = []
    for number, day in told:
        live = world.deployment(number, day)
        service, at = parse_uri(live).name, world.START + timedelta(days=day, hours=12)
        model = world.uri("model_version", f"model{number % world.PIPELINES}", f"{day}-{number}")
        sealed = seal(
            [
                {
                    "prediction_id": f"{day}-{number}-{n}", "service": service,
                    "salt": hashlib.sha256(str(n).encode()).digest(), "items": [n, n + 1, n + 2],
                    "scores": [0.5, 0.25, 0.125], "at": at, "served_by": "model",
                    "model_version": f"{day}-{number}", "confidence": 0.5,
                }
                for n in range(rows)
            ],
            folder / "segments",
        )  # fmt: skip
        artifacts.put(sealed.path)
        told_of = segment_sealed(
            recorder, key=f"bundle:{day}-{number}", service=service, root=sealed.root,
            digest=sealed.digest, rows=sealed.count, location=f"artifacts/{sealed.digest}",
            first_at=at, last_at=at, deployments=[live],
        )  # fmt: skip
        known = world.uri("service", service)
        there = recorder.event(
            "mlg.service.declared", key=f"bundle:{service}:{day}", subject=known, nodes=[node(known)]
        )
        store.append([there, told_of])
        asked = f"{day}-{number}-7"
        answered = Answered(
            project="bench", service=service, prediction_id=asked, at=at, model_version=model,
            segment=segment_uri(recorder, service, sealed.root), attrs=(("served_by", "model"),),
        )  # fmt: skip
        began = perf_counter()
        tree = tree_from(store, files.read("log_tree.bin"), newest_anchor(files))
        key = anchor_key(files)
        head = make_anchor(store, at=clock.now(), private_key=key, root=tree.root)
        assert head is not None
        files.write(anchor_path(head), encode_anchor(head))
        files.write("log_tree.bin", tree.kept)
        evidence = Evidence(
            reader=reader, log=store, tree=tree, anchor_for=lambda seq: anchor_over(files, seq),
            artifacts=artifacts, private_key=key,
        )  # fmt: skip
        made = prediction_files(evidence, answered, find(sealed.path, asked))
        content = zip_bytes(made)
        found.append((perf_counter() - began, len(content)))
        assert verify_bundle(dict(made))["ok"]
    return found
