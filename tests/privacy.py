"""A home with a log, tables and models of viewers, and the parts that seal and erase."""

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.keys_local import viewer_key
from mlg.adapters.stream_segments import SegmentStream
from mlg.app.manifests import Manifests
from mlg.app.monitoring import Monitoring
from mlg.app.privacy import privacy_of
from mlg.app.seals import Seals
from mlg.app.tail import Tail
from mlg.core.artifacts import Column, ModelVersion, Snapshot
from mlg.core.clock import ManualClock
from mlg.core.predict import Prediction
from mlg.core.uris import Digest, Uri
from mlg.graph.record import Recorder, snapshot_uri
from mlg.graph.record_models import model_registered
from mlg.graph.record_runs import dataset_snapshotted
from mlg.pipeline.snapshot import content_digest, write_parquet
from mlg.serving.log import Circumstances, feedback_record, hashed, prediction_record
from mlg.serving.requests import Feedback
from mlg.workflows.policies import Policies
from mlg.workflows.state import Wanted, WantedVersion, write_wanted

START = datetime(2026, 3, 1, 10, tzinfo=UTC)

MANIFEST = """\
version: 1
project: p
datasets:
  people:
    source: {uri: "movielens-100k://users"}
    columns: {user_id: {type: int64, viewer: true}, age: {type: int64, personal: features}}
pipelines:
  ranker:
    steps:
      joined: {sql: joined.sql, in: [people]}
      counted: {sql: counted.sql, in: [people]}
services:
  home: {adopt: "http://127.0.0.1:1", retention: {predictions: 10d, log: 1d}}
monitors:
  home-features: {watch: home, window: 100 events}
"""


class Home:
    """Everything of one home; opened again it is another process."""

    def __init__(self, home: Path, **wrapped: Any) -> None:
        home.mkdir(exist_ok=True)
        self.home, self.files = home, wrapped.get("files") or LocalFiles(home)
        self.clock = ManualClock(START)
        self.store = SqliteGraph(home / "graph.sqlite3", self.clock)
        self.reader = SqliteGraphReader(home / "graph.sqlite3")
        self.artifacts = wrapped.get("artifacts") or LocalArtifacts(home / "artifacts")
        self.log = wrapped["log"](self.store) if "log" in wrapped else self.store
        self.ids = Uuid7Ids(ManualClock(datetime.now(UTC)))  # noqa: TID251
        self.key = viewer_key(LocalFiles(home))
        self.manifests = Manifests(home, LocalFiles(home), self.artifacts, self.store)
        self.tail = Tail(home, LocalFiles(home), self.clock, lambda: ("home",))
        self.monitoring = Monitoring(
            home=home,
            files=self.files,
            clock=self.clock,
            artifacts=self.artifacts,
            store=self.store,
            policies=Policies(self.files, self.store),
            recorder=lambda: self.recorder("system:monitors"),
            spec=self.manifests.spec,
            heal=lambda _: None,
        )
        self.seals = Seals(
            home,
            self.files,
            self.artifacts,
            self.log,
            lambda: self.recorder("system:control"),
            lambda _, __: "",
        )
        self.privacy = privacy_of(
            home=home,
            files=self.files,
            clock=self.clock,
            artifacts=self.artifacts,
            store=self.log,
            reader=self.reader,
            manifests=self.manifests,
            seals=self.seals,
            tail=self.tail,
            monitoring=self.monitoring,
            recorder=self.recorder,
        )

    def recorder(self, actor: str = "local:ada") -> Recorder:
        return Recorder(project="p", actor=actor, clock=self.clock, ids=self.ids)

    def apply(self) -> None:
        folder = self.home.parent / "project"
        folder.mkdir(exist_ok=True)
        (folder / "mlg.yaml").write_text(MANIFEST)
        (folder / "joined.sql").write_text("SELECT * FROM people")
        (folder / "counted.sql").write_text("SELECT count(*) FROM people")
        self.manifests.apply(folder / "mlg.yaml", self.recorder())

    def close(self) -> None:
        self.store.close()
        self.reader.close()

    def pseudonym(self, viewer: str | int) -> str:
        return hashed(self.key, viewer) or ""

    def stream(self, writer: str = "replica-home-1") -> SegmentStream:
        return SegmentStream(self.home / "segments" / "home", writer)

    def answer(
        self, stream: SegmentStream, viewer: str | int, at: datetime, *, fed_back: bool = True
    ) -> str:
        """Log one answer, with feedback to its first item; return its id."""
        prediction_id = self.ids.new_id()
        prediction = Prediction(
            prediction_id=prediction_id, service="home", version="v1", policy="1",
            items=(7, 8), scores=(2.0, 1.0), raw_confidence=0.5, confidence=0.5,
            served_by="model", reason="ranked", at=at, latency_ms=1.0,
        )  # fmt: skip
        around = Circumstances(
            viewer=self.pseudonym(viewer), session=None, salt=secrets.token_hex(16),
            received_at=at, features=(31.0, 0.5), arm="", propensity=1.0,
        )  # fmt: skip
        stream.append([prediction_record(prediction, around)])
        if fed_back:
            play = Feedback(
                prediction_id=prediction_id, item_id=7, event="play", watch_through=0.7, at=at
            )
            stream.append([feedback_record(play, service="home", received_at=at)])
        return prediction_id

    def rows(self) -> list[tuple[str, bytes | None]]:
        """Return id and row of every sealed answer, oldest segment first."""
        found: list[tuple[str, bytes | None]] = []
        for segment in self.seals.segments("home"):
            table = pq.read_table(self.seals.path(segment)).select(["prediction_id", "row"])
            found += [(row["prediction_id"], row["row"]) for row in table.to_pylist()]
        return found

    def events(self, type_: str) -> list[Any]:
        found = self.store.events(0, 100_000)
        return [stored.event for stored in found if stored.event.type == type_]

    def stored_table(self, dataset: str, kind: str, table: pa.Table) -> Uri:
        path = self.home.parent / "table.parquet"
        write_parquet(table.to_batches(), table.schema, path)
        digest = self.artifacts.put(path)
        snapshot = Snapshot(
            dataset=dataset,
            digest=digest,
            content_digest=content_digest(path),
            schema=tuple(Column(name=name, type="int64") for name in table.column_names),
            rows=table.num_rows,
            as_of=self.clock.now(),
            location=f"artifacts/{digest}",
        )
        event = dataset_snapshotted(
            self.recorder(), key=f"data:{dataset}", snapshot=snapshot, kind=kind
        )
        self.store.append((event,))
        return snapshot_uri(self.recorder(), dataset, digest, kind)

    def stored_model(self, tag: str, viewers: list[int], trained_on: Uri) -> tuple[Uri, Digest]:
        self.clock.wait(60)  # the newest of a model may be about to serve
        folder = self.home.parent / f"model-{tag}"
        folder.mkdir()
        (folder / "model.json").write_text(f'{{"tag": "{tag}"}}')
        users = pa.table({"id": pa.array(viewers, pa.int64())})
        with pa.ipc.new_file(str(folder / "users.arrow"), users.schema) as writer:
            writer.write_table(users)
        digest = self.artifacts.put(folder)
        version = ModelVersion(
            name="ranker", version=digest[:12], artifact=digest, trained_on=(),
            code=Digest("0" * 64), params=(), metrics=(), seed=1,
        )  # fmt: skip
        event = model_registered(
            self.recorder(), key=f"model:{tag}", model=version, trained_on=[trained_on]
        )
        self.store.append((event,))
        return event.subject, digest

    def serve(self, digest: Digest | None) -> None:
        versions = (
            WantedVersion(version=digest[:12], artifact=digest, bp=10_000, deployment="d1"),
        ) if digest else ()  # fmt: skip
        write_wanted(LocalFiles(self.home), Wanted(service="home", versions=versions))


def contents(home: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield every file of a home as bytes, tables also as the text of their cells."""
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        data = path.read_bytes()
        yield path, data
        if data[:4] == b"PAR1":
            yield path, repr(pq.read_table(path).to_pylist()).encode()
        if data[:6] == b"ARROW1":
            with pa.ipc.open_file(pa.py_buffer(data)) as reader:
                yield path, repr(reader.read_all().to_pylist()).encode()


def hours(count: int) -> timedelta:
    return timedelta(hours=count)


class Killed(BaseException):
    """The process is gone: nothing that catches errors sees it."""


class Fuse:
    """Lets so many effects through and then kills, before or after the next one."""

    def __init__(self, left: int, *, after: bool) -> None:
        self.left, self.after = left, after

    def __call__(self, effect: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Killed
        done = effect()
        if self.left < 0:
            raise Killed
        return done


class FusedFiles(LocalFiles):
    def __init__(self, home: Path, fuse: Fuse) -> None:
        super().__init__(home)
        self.fuse = fuse

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        self.fuse(lambda: LocalFiles.write(self, path, content, mode=mode))

    def remove(self, path: str) -> None:
        self.fuse(lambda: LocalFiles.remove(self, path))


class FusedArtifacts(LocalArtifacts):
    def __init__(self, root: Path, fuse: Fuse) -> None:
        super().__init__(root)
        self.fuse = fuse

    def put(self, path: Path) -> Any:
        return self.fuse(lambda: LocalArtifacts.put(self, path))

    def remove(self, digest: Any) -> None:
        self.fuse(lambda: LocalArtifacts.remove(self, digest))


class FusedLog:
    def __init__(self, store: Any, fuse: Fuse) -> None:
        self.store, self.fuse = store, fuse

    def append(self, events: Any, *, expect: Any = None) -> Any:
        return self.fuse(lambda: self.store.append(events, expect=expect))


def fused(path: Path, fuse: Fuse) -> Home:
    return Home(
        path,
        files=FusedFiles(path, fuse),
        artifacts=FusedArtifacts(path / "artifacts", fuse),
        log=lambda store: FusedLog(store, fuse),
    )
