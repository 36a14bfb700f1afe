"""Tamper evidence from the log to the bundle of one prediction, on real files."""

import hashlib
import itertools
import json
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.audit_bundle import read_bundle, write_bundle
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.keys_local import (
    anchor_key,
    anchor_over,
    anchor_public_key,
    load_anchors,
    viewer_key,
)
from mlg.adapters.seal_parquet import Seal, decoded, find, prediction_ids, seal
from mlg.core.artifacts import ModelVersion, Snapshot
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ConflictError, NotFoundError
from mlg.graph import merkle
from mlg.graph.audit import (
    anchor_path,
    encode_anchor,
    make_anchor,
    public_key_of,
    sign,
    signature_holds,
    verify_chain,
)
from mlg.graph.bundle import prediction_files, verify_bundle, zip_bytes
from mlg.graph.bundle_account import Evidence
from mlg.graph.encode import canonical
from mlg.graph.lineage import Answered
from mlg.graph.log_tree import LogTree
from mlg.graph.record import Recorder, deployment_uri, node, segment_uri, snapshot_uri
from mlg.graph.record_models import model_registered
from mlg.graph.record_runs import dataset_snapshotted, step_finished
from mlg.graph.record_services import deployment_started, segment_sealed

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = bytes(range(32))


class Counter:
    def __init__(self) -> None:
        self._next = itertools.count(1)

    def new_id(self) -> str:
        return f"id-{next(self._next):09d}"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(project="p", actor="local:ada", clock=ManualClock(START), ids=Counter())


def fill(store: SqliteGraph, recorder: Recorder, first: int, count: int) -> None:
    runs = [recorder.uri("run", "r", str(n)) for n in range(first, first + count)]
    store.append(
        [
            recorder.event("mlg.run.started", key=f"k{uri}", subject=uri, nodes=[node(uri)])
            for uri in runs
        ]
    )


def tamper(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA recursive_triggers = OFF")
    for name in ("event_no_update", "event_no_delete", "event_in_order"):
        db.execute(f"DROP TRIGGER IF EXISTS {name}")
    for statement in statements:
        db.execute(statement)
    db.close()


@pytest.fixture
def path(tmp_path, recorder) -> Path:
    found = tmp_path / "graph.sqlite3"
    with SqliteGraph(found, ManualClock(START)) as store:
        fill(store, recorder, 0, 6)
    return found


def verdict(path: Path, anchors=()) -> dict:
    key = public_key_of(KEY)
    with SqliteGraphReader(path) as log:
        return verify_chain(log, anchors, key)


def anchor_of(path: Path, key: bytes = KEY):
    with SqliteGraphReader(path) as log:
        return make_anchor(log, at=START, private_key=key)


def test_an_untouched_log_verifies_with_its_anchors(path) -> None:
    assert verdict(path, [anchor_of(path)]) == {"ok": True, "events": 6, "first_bad": None}


def test_a_flipped_bit_at_any_place_of_any_event_is_found_and_named(path, tmp_path) -> None:
    db = sqlite3.connect(path)
    lengths = db.execute("SELECT seq, length(data) FROM event").fetchall()
    db.close()
    tries = 0
    for seq, length in lengths:
        for place in range(seq % 5, length, 29):
            copy = tmp_path / "copy.sqlite3"
            shutil.copy(path, copy)
            db = sqlite3.connect(copy)
            data = bytearray(
                db.execute("SELECT data FROM event WHERE seq = ?", (seq,)).fetchone()[0]
            )
            data[place] ^= 1 << (place % 8)
            db.execute("DROP TRIGGER event_no_update")
            db.execute("DROP INDEX event_key")
            db.execute("DROP INDEX event_id")
            db.execute("UPDATE event SET data = ? WHERE seq = ?", (bytes(data), seq))
            db.commit()
            db.close()
            found = verdict(copy)
            assert not found["ok"]
            assert found["first_bad"]["seq"] == seq
            tries += 1
    assert tries > 60


@pytest.mark.parametrize("seq", [1, 3, 6])
def test_a_deleted_event_is_missed_by_number(path, seq) -> None:
    tamper(path, f"DELETE FROM event WHERE seq = {seq}")
    found = verdict(path)
    assert (found["ok"], found["first_bad"]["seq"]) == (False, seq)
    assert "missing" in found["first_bad"]["reason"]


@pytest.mark.parametrize("seq", [1, 3, 6])
def test_an_event_that_was_put_in_is_named(path, tmp_path, recorder, seq) -> None:
    other = tmp_path / "other.sqlite3"
    with SqliteGraph(other, ManualClock(START)) as store:  # a well-formed event to put in
        fill(store, recorder, 70, 1)
    db = sqlite3.connect(path)
    db.execute("ATTACH ? AS o", (str(other),))
    row = db.execute("SELECT hash FROM event WHERE seq = ?", (seq - 1,)).fetchone()
    before = row[0] if row else bytes(32)
    (data,) = db.execute("SELECT data FROM o.event").fetchone()
    for name in ("event_no_update", "event_no_delete", "event_in_order"):
        db.execute(f"DROP TRIGGER {name}")
    db.execute("UPDATE event SET seq = -seq WHERE seq >= ?", (seq,))
    db.execute("UPDATE event SET seq = 1 - seq WHERE seq < 0")
    db.execute(
        "INSERT INTO event SELECT ?, key, id, at, recorded_at, type, actor, subject, cause,"
        " ?, ?, data FROM o.event",
        (seq, before, hashlib.sha256(before + data).digest()),
    )
    db.execute("UPDATE log_head SET seq = 7, hash = (SELECT hash FROM event WHERE seq = 7)")
    db.commit()
    db.close()
    found = verdict(path)
    assert found["first_bad"] == {
        "seq": seq, "reason": f"inserted: event {seq + 1} follows event {seq - 1}"
    }  # fmt: skip


def test_an_event_put_in_at_the_end_is_found_by_the_head(path) -> None:
    db = sqlite3.connect(path)
    db.execute("UPDATE log_head SET seq = 5, hash = (SELECT hash FROM event WHERE seq = 5)")
    db.commit()
    db.close()
    assert verdict(path)["first_bad"] == {
        "seq": 6, "reason": "inserted: the log has 6, 5 were appended"
    }  # fmt: skip


def test_a_dropped_event_is_named_also_when_the_later_ones_are_renumbered(path) -> None:
    tamper(
        path,
        "DELETE FROM event WHERE seq = 3",
        "UPDATE event SET seq = -seq WHERE seq > 3",
        "UPDATE event SET seq = -seq - 1 WHERE seq < 0",
        "UPDATE log_head SET seq = 5",
    )
    found = verdict(path)["first_bad"]
    assert found["seq"] == 3
    assert "dropped" in found["reason"]


def test_a_signed_head_in_the_home_with_any_byte_flipped_is_not_taken(path, tmp_path) -> None:
    files = LocalFiles(tmp_path)
    anchor = anchor_of(path, key=anchor_key(files))
    content = encode_anchor(anchor)
    assert verify_with(path, files, content)["ok"]
    for place in range(0, len(content), 3):
        altered = bytearray(content)
        altered[place] ^= 1
        assert refused(path, files, bytes(altered))


def refused(path: Path, files: LocalFiles, content: bytes) -> bool:
    try:
        return not verify_with(path, files, content)["ok"]
    except BackendError as error:
        return "no anchor" in str(error)


def verify_with(path: Path, files: LocalFiles, content: bytes) -> dict:
    files.write("anchors/000000000006.json", content)
    with SqliteGraphReader(path) as log:
        return verify_chain(log, load_anchors(files), anchor_public_key(files))


def test_two_swapped_events_are_found_at_the_first(path) -> None:
    tamper(
        path,
        "UPDATE event SET seq = 100 WHERE seq = 2",
        "UPDATE event SET seq = 2 WHERE seq = 4",
        "UPDATE event SET seq = 4 WHERE seq = 100",
    )
    assert verdict(path)["first_bad"]["seq"] == 2


def test_events_whose_contents_are_swapped_are_found_at_the_first(path) -> None:
    tamper(
        path,
        "DROP INDEX event_key",
        "DROP INDEX event_id",
        "CREATE TABLE two AS SELECT seq, data FROM event",
        "UPDATE event SET data = (SELECT data FROM two WHERE two.seq = 8 - event.seq)"
        " WHERE seq IN (3, 5)",
    )
    assert verdict(path)["first_bad"]["seq"] == 3


def test_a_log_cut_short_is_found_by_its_head_and_by_the_anchor(path) -> None:
    anchor = anchor_of(path)
    tamper(path, "DELETE FROM event WHERE seq > 4")
    assert verdict(path)["first_bad"]["seq"] == 5
    tamper(path, "UPDATE log_head SET seq = 4, hash = (SELECT hash FROM event WHERE seq = 4)")
    assert verdict(path)["ok"]  # nothing inside the file can tell any more
    assert verdict(path, [anchor])["first_bad"]["seq"] == 5


def test_a_chain_rewritten_by_its_owner_is_found_by_the_anchor(
    tmp_path, recorder, path
) -> None:
    anchor = anchor_of(path)
    other = tmp_path / "other.sqlite3"
    with SqliteGraph(other, ManualClock(START)) as store:
        fill(store, replace(recorder, actor="local:eve"), 0, 6)
    assert verdict(other)["ok"]
    found = verdict(other, [anchor])
    assert found["first_bad"] == {
        "seq": 6, "reason": "the chain up to here is not the one that was signed"
    }  # fmt: skip


def test_an_anchor_of_another_key_or_with_another_number_is_refused(path) -> None:
    assert verdict(path, [anchor_of(path, key=bytes(32))])["first_bad"]["seq"] == 6
    moved = replace(anchor_of(path), seq=5)
    assert not signature_holds(moved, public_key_of(KEY))
    assert verdict(path, [moved])["ok"] is False


def test_the_anchors_root_is_the_merkle_root_of_the_hashes(path) -> None:
    db = sqlite3.connect(path)
    hashes = [row[0] for row in db.execute("SELECT hash FROM event ORDER BY seq")]
    db.close()
    assert anchor_of(path).root == merkle.root(hashes).hex()
    assert anchor_of(path).hash == hashes[-1].hex()


def test_what_the_database_says_beside_the_bytes_must_agree_with_them(path) -> None:
    with SqliteGraphReader(path) as log:
        rows = log.chain()

    class Liar:
        def chain(self, after: int = 0, limit: int = 1_000):
            found = [r._replace(cause=b"id-0") if r.seq == 4 else r for r in rows]
            return tuple(r for r in found if r.seq > after)[:limit]

        def last_seq(self) -> int:
            return 6

    found = verify_chain(Liar(), (), None)
    assert found["first_bad"]["seq"] == 4
    assert "cause" in found["first_bad"]["reason"]


def test_keys_are_made_once_private_and_never_silently_replaced(tmp_path) -> None:
    files = LocalFiles(tmp_path)
    assert anchor_public_key(files) is None
    key = anchor_key(files)
    assert anchor_key(files) == key != viewer_key(files)
    assert viewer_key(files) == viewer_key(files)
    assert anchor_public_key(files) == public_key_of(key)
    for name in ("anchor.key", "viewer.key"):
        assert (tmp_path / "keys" / name).stat().st_mode & 0o777 == 0o600
    files.write("anchors/000000000001.json", b"{}")
    with pytest.raises(BackendError, match="no anchor"):
        load_anchors(files)
    files.remove("keys/anchor.key")
    with pytest.raises(BackendError, match="the key is gone"):
        anchor_key(files)
    files.write("keys/viewer.key", b"short")
    with pytest.raises(BackendError, match="32 bytes"):
        viewer_key(files)


# --- sealing


def rows(count: int = 5) -> list[dict]:
    return [
        {
            "prediction_id": f"p{n}", "salt": hashlib.sha256(str(n).encode()).digest(),
            "service": "home", "items": [n, n + 1], "scores": [0.5, float("nan")],
            "at": START + timedelta(seconds=n), "viewer": b"\x01\x02", "big": 2**60,
            "confidence": n / 10, "mixed": n if n % 2 else "text",
        }
        for n in range(count)
    ]  # fmt: skip


def test_a_seal_is_the_merkle_root_of_salted_rows(tmp_path) -> None:
    sealed = seal(rows(), tmp_path)
    leaves = []
    for n, row in enumerate(rows()):
        text = json.dumps(
            {
                "at": f"2026-01-01T00:00:0{n}.000000Z", "big": str(2**60),
                "confidence": row["confidence"], "items": row["items"],
                "mixed": row["mixed"], "prediction_id": f"p{n}", "scores": [0.5, None],
                "service": "home", "viewer": "0102",
            },
            sort_keys=True, separators=(",", ":"),
        )  # fmt: skip
        leaves.append(hashlib.sha256(row["salt"] + text.encode()).digest())
    assert sealed.root == merkle.root(leaves).hex()
    assert sealed.path.name == f"{sealed.root[:12]}.parquet"
    assert hashlib.sha256(sealed.path.read_bytes()).hexdigest() == sealed.digest
    assert sealed.count == 5
    assert prediction_ids(sealed.path) == ("p0", "p1", "p2", "p3", "p4")
    table = pq.read_table(sealed.path)
    assert "confidence" in table.column_names
    assert "mixed" not in table.column_names  # no one type: it is in `row` only
    assert [file.name for file in tmp_path.iterdir()] == [sealed.path.name]


def test_sealing_the_same_rows_again_changes_nothing(tmp_path) -> None:
    assert seal(rows(), tmp_path) == seal(rows(), tmp_path)


def test_a_prediction_is_found_with_its_place(tmp_path) -> None:
    sealed = seal(rows(), tmp_path)
    found = find(sealed.path, "p3")
    assert found.index == 3
    assert decoded(found)["items"] == [3, 4]
    path = merkle.proof(merkle.levels(found.leaves), 3)
    assert merkle.verify(found.leaf, 3, 5, path, bytes.fromhex(sealed.root))
    with pytest.raises(NotFoundError):
        find(sealed.path, "p9")


def test_an_erased_prediction_keeps_its_leaf_and_an_altered_one_is_found(tmp_path) -> None:
    sealed = seal(rows(), tmp_path)
    table = pq.read_table(sealed.path)

    def rewrite(column: str, values: list) -> None:
        place = table.column_names.index(column)
        kind = table.schema.field(column).type
        found = table.set_column(place, column, pa.array(values, kind))
        pq.write_table(found.replace_schema_metadata(table.schema.metadata), sealed.path)

    texts = table.column("row").to_pylist()
    rewrite("row", [None if n == 2 else text for n, text in enumerate(texts)])
    assert decoded(find(sealed.path, "p2")) == {}
    assert find(sealed.path, "p2").leaf == find(sealed.path, "p3").leaves[2]
    rewrite("row", [text.replace(b"home", b"away") for text in texts])
    with pytest.raises(BackendError, match="Merkle root"):
        find(sealed.path, "p3")
    rewrite("leaf", [bytes(32)] * 5)
    with pytest.raises(BackendError, match="Merkle root"):
        find(sealed.path, "p3")


def test_what_cannot_be_sealed_is_refused_and_a_bad_file_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="nothing"):
        seal([], tmp_path)
    with pytest.raises(ValueError, match="salt"):
        seal([{"prediction_id": "p"}], tmp_path)
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 no")
    with pytest.raises(BackendError, match="cannot be read"):
        find(bad, "p")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BackendError, match="could not be sealed"):
        seal(rows(), tmp_path / "file")


# --- the bundle


def record_story(store: SqliteGraph, r: Recorder, sealed: Seal) -> Answered:
    snapshot = Snapshot(
        dataset="ratings", digest="1" * 64, content_digest="2" * 64, rows=9, schema=(),
        as_of=START, location="artifacts/1",
    )  # fmt: skip
    data = snapshot_uri(r, "ratings", "1" * 64)
    version = ModelVersion(
        name="ranker", version="a" * 12, artifact="a" * 64, trained_on=("1" * 64,),
        code="c" * 64, params=(), metrics=(), seed=7,
    )  # fmt: skip
    made, step = r.uri("model_version", "ranker", "a" * 12), r.uri("step", "ranker/train", "r1")
    segment = segment_uri(r, "home", sealed.root)
    store.append(
        [
            dataset_snapshotted(r, key="1", snapshot=snapshot, source="csv://ratings"),
            step_finished(r, key="2", pipeline="ranker", run_id="r1", step="train",
                          seconds=1.0, inputs=[data]),
            model_registered(r, key="3", model=version, trained_on=[data], step=step),
            deployment_started(r, key="4", service="home", deployment_id="d1",
                               model_version=made, image_digest="a" * 64),
            segment_sealed(r, key="5", service="home", root=sealed.root, digest=sealed.digest,
                           rows=sealed.count, location=f"segments/home/{sealed.path.name}",
                           first_at=START, last_at=START,
                           deployments=[deployment_uri(r, "home", "d1")]),
        ]
    )  # fmt: skip
    return Answered(
        project="p", service="home", prediction_id="p3", at=START, model_version=made,
        segment=segment,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path, recorder):
    """A home with a story, a sealed segment and an anchor; the store is open."""
    folder = tmp_path / "home"
    files = LocalFiles(folder)
    folder.mkdir(exist_ok=True)
    with SqliteGraph(folder / "graph.sqlite3", ManualClock(START)) as store:
        fill(store, recorder, 500, 3)
        sealed = seal(rows(), folder / "segments" / "home")
        answered = record_story(store, recorder, sealed)
        anchor = make_anchor(store, at=START, private_key=anchor_key(files))
        files.write(anchor_path(anchor), encode_anchor(anchor))
        yield folder, files, store, sealed, answered


def evidence_of(home, reader, **changed) -> Evidence:
    folder, files, store, _, _ = home
    given = {
        "reader": reader, "log": store, "tree": LogTree(store),
        "anchor_for": lambda seq: anchor_over(files, seq),
        "artifacts": LocalArtifacts(folder / "artifacts"), "private_key": anchor_key(files),
    }  # fmt: skip
    return Evidence(**{**given, **changed})


def export(home) -> tuple:
    folder, _, _, sealed, answered = home
    with SqliteGraphReader(folder / "graph.sqlite3") as reader:
        return prediction_files(evidence_of(home, reader), answered, find(sealed.path, "p3"))


def test_a_bundle_leads_from_the_prediction_to_the_source(home) -> None:
    found = dict(export(home))
    trace = json.loads(found["trace.json"])
    kinds = {entry["kind"] for entry in trace["nodes"]}
    assert kinds == {
        "prediction", "model_version", "deployment", "prediction_segment", "dataset_version",
        "dataset", "source", "step", "run",
    }  # fmt: skip
    digests = json.loads(found["digests.json"])
    assert set(digests["dataset_version"].values()) == {"1" * 64}
    assert set(digests["model_version"].values()) == {"a" * 64}
    assert json.loads(found["prediction.json"])["prediction_id"] == "p3"
    types = [
        json.loads(json.loads(x)["data"])["type"]
        for x in found["events.jsonl"].split(b"\n")[:-1]
    ]
    assert types == [
        "mlg.dataset_version.created", "mlg.step.finished", "mlg.model_version.registered",
        "mlg.deployment.started", "mlg.prediction_segment.sealed",
    ]  # fmt: skip
    assert verify_bundle(found, anchor_public_key(home[1])) == {
        "ok": True, "problems": [], "signed_by": anchor_public_key(home[1]).hex()
    }  # fmt: skip
    assert verify_bundle(found, bytes(32))["ok"] is False


def test_a_later_export_has_the_same_bytes(home, recorder) -> None:
    _, files, store, _, answered = home
    before = zip_bytes(export(home))
    fill(store, recorder, 900, 30)
    step = recorder.uri("step", "ranker/train", "r1")
    store.append(
        [
            recorder.event("mlg.x.y", key="late", subject=step, nodes=[node(step, {"a": 1})]),
            recorder.event("mlg.x.z", key="seg", subject=answered.segment,
                           nodes=[node(answered.segment, {"seen": True})]),
        ]
    )  # fmt: skip
    anchor = make_anchor(store, at=START + timedelta(days=1), private_key=anchor_key(files))
    files.write(anchor_path(anchor), encode_anchor(anchor))
    assert zip_bytes(export(home)) == before


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_the_bundles_own_script_needs_only_python(home, tmp_path, name) -> None:
    target = write_bundle(export(home), tmp_path / "out" / name)
    script = tmp_path / "verify.py"
    script.write_bytes(read_bundle(target)["verify.py"])
    command = [sys.executable, "-I", "-S", str(script), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every byte, digest, hash, link and Merkle proof holds" in done.stdout
    assert verify_bundle(read_bundle(target))["ok"]
    assert write_bundle(export(home), target) == target  # again is no error


def _rehashed(files: dict[str, bytes], key: bytes = bytes(32)) -> dict[str, bytes]:
    """Return what a forger without the key makes: every digest redone, signed by another."""
    digests = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.items()
        if name not in {"manifest.json", "manifest.sig.json"}
    }
    manifest = canonical({"format": 2, "files": digests})
    signature = sign(manifest, key)
    over = {
        "signed": "manifest.json",
        "signed_sha256": hashlib.sha256(manifest).hexdigest(),
        "signature": signature.hex(),
        "signature_sha256": hashlib.sha256(signature).hexdigest(),
    }
    return {**files, "manifest.json": manifest, "manifest.sig.json": canonical(over)}


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("prediction.json", b'"service":"home"', b'"service":"away"', "not what was sealed"),
        ("merkle.json", b'"index":3', b'"index":2', "not under"),
        ("events.jsonl", b"csv", b"cvs", "content is not what its hash says"),
        ("trace.json", b"csv", b"cvs", "trace.json"),
        ("anchor.json", b'"seq":8', b'"seq":9', "not in the log"),
    ],
)
def test_an_altered_piece_is_found_even_when_the_manifest_is_redone(
    home, name, old, new, problem
) -> None:
    found = dict(export(home))
    assert old in found[name]
    altered = {**found, name: found[name].replace(old, new, 1)}
    assert verify_bundle(altered)["problems"] == [f"{name}: altered"]
    again = verify_bundle(_rehashed(altered))
    assert not again["ok"]
    assert problem in " ".join(again["problems"])


def test_a_bundle_with_a_forged_head_fails_on_the_signature(home) -> None:
    found = dict(export(home))
    forged = found["anchor.json"].replace(b"2026-01-01", b"2025-01-01")
    result = verify_bundle(_rehashed({**found, "anchor.json": forged}))
    assert result["problems"] == [
        "anchor.json: not signed by the expected key",
        "manifest.json: not signed by the expected key",
    ]
    page = found["report.html"].replace(b"Audit bundle", b"Other bundle")
    result = verify_bundle(_rehashed({**found, "report.html": page}))
    assert result["problems"] == ["manifest.json: not signed by the expected key"]
    own = anchor_key(home[1])  # who has the key can sign anything: that is what keys are for
    assert verify_bundle(_rehashed({**found, "report.html": page}, own))["ok"]
    assert verify_bundle({})["ok"] is False
    del found["events.jsonl"]
    assert verify_bundle(found)["problems"] == ["events.jsonl: missing"]


def test_a_prediction_that_no_anchor_covers_or_is_not_sealed_is_not_exported(home) -> None:
    folder, _, _, sealed, answered = home
    row = find(sealed.path, "p3")
    with SqliteGraphReader(folder / "graph.sqlite3") as reader:
        bare = evidence_of(home, reader, anchor_for=lambda _: None)
        with pytest.raises(ConflictError, match="no signed head covers event 8"):
            prediction_files(bare, answered, row)
        unsealed, erased = replace(answered, segment=None), replace(row, row=b"")
        with pytest.raises(NotFoundError, match="not sealed yet"):
            prediction_files(evidence_of(home, reader), unsealed, row)
        with pytest.raises(NotFoundError, match="erased"):
            prediction_files(evidence_of(home, reader), answered, erased)


def test_a_folder_with_other_files_is_not_written_into(home, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConflictError, match="other files"):
        write_bundle(export(home), tmp_path / "mine")
    with pytest.raises(BackendError, match="could not be written"):
        write_bundle(export(home), tmp_path / "mine" / "letter.txt" / "out")
    with pytest.raises(BackendError, match="cannot be read"):
        read_bundle(tmp_path / "mine" / "letter.txt")


def test_a_copied_home_verifies(home, tmp_path) -> None:
    folder, _, store, _, _ = home
    store.close()
    shutil.copytree(folder, tmp_path / "elsewhere" / "home2")
    shutil.rmtree(folder)
    files = LocalFiles(tmp_path / "elsewhere" / "home2")
    with SqliteGraphReader(tmp_path / "elsewhere" / "home2" / "graph.sqlite3") as log:
        found = verify_chain(log, load_anchors(files), anchor_public_key(files))
    assert found == {"ok": True, "events": 8, "first_bad": None}
    content = (tmp_path / "elsewhere" / "home2" / "graph.sqlite3").read_bytes()
    assert str(tmp_path).encode() not in content


def test_keys_also_work_on_files_in_memory() -> None:
    files = MemoryFiles()
    assert anchor_key(files) == anchor_key(files)
    assert load_anchors(files) == ()
