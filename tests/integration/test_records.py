"""Runs recorded from Python: five lines, offline, killed, replayed; and what is refused."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import until
from typer.testing import CliRunner

import mlg
from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.clock_system import SystemClock
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.api.app import create_app
from mlg.api.operations import ApiServices
from mlg.api.security import LOOPBACK_HOSTS, loopback_principal
from mlg.app.serve_api import ApiServer, start_api
from mlg.cli.main import app
from mlg.client.client import Client
from mlg.client.sources import digested
from mlg.core.errors import BackendError, ConflictError, ManifestError, NotFoundError
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Uri, make_uri, parse_uri
from mlg.graph.openlineage_emit import emitted

FIVE_LINES = """
import mlg
client = mlg.Client({url!r})
with client.record_run("churn", inputs=[client.dataset("s3://lake/users", "11")]) as run:
    run.log(params={{"depth": 6}}, metrics={{"auc": 0.81}})
    run.model("churn", path="model")
"""
USERS = make_uri("dataset_version", "s3://lake", "users", "11", provider="openlineage")


class Plane:
    """A real control API over a real graph; `url` is where it listens while it is up."""

    def __init__(self, folder: Path) -> None:
        clock = SystemClock()
        self.graph = SqliteGraph(folder / "graph.sqlite3", clock)
        self.reader = SqliteGraphReader(folder / "graph.sqlite3")
        self._services = ApiServices(
            reader=self.reader,
            store=self.graph,
            operations=None,  # type: ignore[arg-type]  # records need none
            clock=clock,
            ids=Uuid7Ids(clock),
            project=lambda: "shop",
        )
        self._server: ApiServer | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        made = create_app(
            self._services,
            allowed_hosts=LOOPBACK_HOSTS,
            principal_for=loopback_principal("ada"),
        )
        self._server = start_api(made, port=self.port)

    def down(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def close(self) -> None:
        self.down()
        self.reader.close()
        self.graph.close()

    def events(self) -> list[Any]:
        return [stored.event for stored in self.graph.events(0, 10_000)]

    def types(self) -> list[str]:
        return [event.type.removeprefix("mlg.") for event in self.events()]

    def send(self, body: Any) -> tuple[int, dict[str, Any]]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v1/records",
            data=content,
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    it = Plane(tmp_path)
    yield it
    it.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def script(tmp_path: Path, spool: Path) -> Any:
    """Return a starter of Python scripts beside a saved model, with `MLG_SPOOL` set."""
    (tmp_path / "work" / "model").mkdir(parents=True)
    (tmp_path / "work" / "model" / "weights.bin").write_bytes(b"\0" * 1_000)
    env = {**os.environ, "MLG_SPOOL": str(spool), "GIT_CEILING_DIRECTORIES": str(tmp_path)}

    def start(text: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text)],
            cwd=tmp_path / "work", env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def ran(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    return out + err


def model_of(plane: Plane) -> Any:
    (node,) = plane.reader.nodes(NodeQuery(kinds=("model_version",))).nodes
    return node


def above(plane: Plane, uri: Uri) -> set[str]:
    return {str(one.node.uri) for one in plane.reader.walk(uri, "up", WalkOptions()).nodes}


def waiting(spool: Path) -> list[dict[str, Any]]:
    """Return the records on disk, in order."""
    lines = [
        line for path in sorted(spool.glob("*.jsonl"))
        for line in path.read_text().splitlines()[1:]
    ]  # fmt: skip
    return [json.loads(line) for line in lines]


def test_five_lines_record_data_run_and_model(
    plane: Plane, script: Any, spool: Path, tmp_path: Path
) -> None:
    plane.up()
    ran(script(FIVE_LINES.format(url=plane.url)))
    assert plane.types() == [
        "run.started", "run.logged", "model_version.registered", "run.finished",
    ]  # fmt: skip
    assert not list(spool.glob("*"))
    node = model_of(plane)
    stored = LocalArtifacts(tmp_path / "artifacts").put(tmp_path / "work" / "model")
    assert node.digest == stored
    assert node.uri == make_uri("model_version", "shop", "churn", stored[:12])
    attrs = dict(node.attrs)
    assert (attrs["param.depth"], attrs["metric.auc"], attrs["size_bytes"]) == (6, 0.81, 1_000)
    assert USERS in above(plane, node.uri)
    down = plane.reader.walk(USERS, "down", WalkOptions())
    assert node.uri in {one.node.uri for one in down.nodes}
    (run,) = plane.reader.nodes(NodeQuery(kinds=("run",))).nodes
    assert dict(run.attrs)["state"] == "succeeded"
    # another system that names the same table meets it: Spark's events have this URI
    assert parse_uri(USERS).namespace == "s3://lake"


def test_what_is_recorded_is_also_told_to_others(plane: Plane, script: Any) -> None:
    plane.up()
    ran(script(FIVE_LINES.format(url=plane.url)))
    told = [emitted(event, plane.reader, version="1") for event in plane.events()]
    assert [one and one["eventType"] for one in told] == ["START", "OTHER", "OTHER", "COMPLETE"]
    registered = told[2] or {}
    assert [(d["namespace"], d["name"]) for d in registered["inputs"]] == [
        ("s3://lake", "users")
    ]
    assert [(d["namespace"], d["name"]) for d in registered["outputs"]] == [
        ("mlg://shop", "model/churn")
    ]


def test_offline_it_waits_and_the_next_contact_brings_it_in_order_with_its_own_times(
    plane: Plane, script: Any, spool: Path
) -> None:
    ran(script(FIVE_LINES.format(url=plane.url)))  # nobody listens
    kept = waiting(spool)
    assert [one["kind"] for one in kept] == [
        "run_started", "run_logged", "model_registered", "run_finished",
    ]  # fmt: skip
    plane.up()
    ran(script(FIVE_LINES.format(url=plane.url)))  # the next contact
    assert waiting(spool) == []
    events = plane.events()
    assert [event.key for event in events[:4]] == [f"record:{one['key']}" for one in kept]
    assert [event.at for event in events[:4]] == [
        datetime.fromisoformat(one["at"]) for one in kept
    ]
    assert len(events) == 8
    assert USERS in above(plane, model_of(plane).uri)


def test_replayed_twice_is_recorded_once(plane: Plane, script: Any, spool: Path) -> None:
    ran(script(FIVE_LINES.format(url=None)))
    (file,) = spool.glob("*.jsonl")
    content = file.read_bytes()
    plane.up()
    client = Client(plane.url, spool=spool)
    assert client.replay()["sent"] == 0  # recorded for no address: only when asked for
    assert client.replay(anyone=True) == {
        "sent": 4, "refused": 0, "cut": 0, "busy": 0, "files": [file.name],
    }  # fmt: skip
    head = plane.graph.head()
    file.write_bytes(content)  # as if the answer had been lost
    assert client.replay(anyone=True)["sent"] == 4
    assert plane.graph.head() == head


@pytest.mark.parametrize("online", [True, False])
def test_kill_9_in_the_middle_loses_nothing_that_was_acknowledged(
    plane: Plane, script: Any, spool: Path, online: bool
) -> None:
    if online:
        plane.up()
    process = script(
        f"""
        import mlg
        client = mlg.Client({plane.url!r})
        with client.record_run("churn") as run:
            for n in range(100_000):
                run.log(metrics={{"step": n}})
                print(n, flush=True)
        """
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                break
        process.send_signal(signal.SIGKILL)
        rest = [int(more) for more in process.stdout if more.endswith("\n")]
        acknowledged = max([int(line), *rest])
    if not online:
        (file,) = spool.glob("*.jsonl")
        with file.open("ab") as torn:
            torn.write(b'{"kind": "run_lo')  # power went in the middle of a line
        plane.up()
    told = Client(plane.url, spool=spool).replay()
    assert told["cut"] == (0 if online else 1)
    seen = [
        dict(event.nodes[0].attrs)["metric.step"]
        for event in plane.events()
        if event.type == "mlg.run.logged"
    ]
    assert seen[: acknowledged + 1] == list(range(acknowledged + 1))
    assert len(seen) <= acknowledged + 2  # at most the one whose answer was never read


def test_an_error_marks_the_run_failed_and_goes_on(plane: Plane, script: Any) -> None:
    plane.up()
    said = ran(
        script(
            f"""
            import mlg
            with mlg.Client({plane.url!r}).record_run("churn"):
                raise ArithmeticError("no gradient")
            """
        ),
        code=1,
    )
    assert "ArithmeticError: no gradient" in said
    (run,) = plane.reader.nodes(NodeQuery(kinds=("run",))).nodes
    attrs = dict(run.attrs)
    assert (attrs["state"], attrs["error"], attrs["what"]) == (
        "failed", "ArithmeticError", "no gradient",
    )  # fmt: skip


def test_the_commit_of_the_script_is_recorded_without_its_password(
    plane: Plane, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.up()
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*args: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        return subprocess.run(
            ["git", *who, *args], cwd=repository, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q", "-b", "trunk")
    (repository / "train.py").write_text("1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    git("remote", "add", "origin", "https://ada:s3cret@example.org/shop.git")
    (repository / "train.py").write_text("2\n")
    monkeypatch.chdir(repository)
    with Client(plane.url, spool=spool).record_run("churn") as run:
        run.model("churn")
    commit = make_uri(
        "commit",
        "https://example.org/shop.git",
        git("rev-parse", "HEAD"),
        provider="openlineage",
    )
    assert commit in above(plane, model_of(plane).uri)
    (begun,) = [dict(e.nodes[0].attrs) for e in plane.events() if e.type == "mlg.run.started"]
    assert (begun["dirty"], begun["branch"]) == (True, "trunk")
    assert "s3cret" not in str(plane.events())


def test_a_spool_of_a_newer_version_is_refused_and_left_as_it_is(
    plane: Plane, spool: Path
) -> None:
    plane.up()
    spool.mkdir()
    newer = spool / "20260101T000000000000-1-aaaaaaaa.jsonl"
    newer.write_text('{"mlg_spool": 2, "url": null}\n{"kind": "thought"}\n')
    client = Client(plane.url, spool=spool)
    with pytest.raises(ManifestError, match="newer mlg: format 2, this one reads 1"):
        client.replay(anyone=True)
    with client.record_run("churn") as run:  # recording goes on
        run.log(metrics={"auc": 0.5})
    assert [path.name for path in spool.glob("*")] == [newer.name]
    assert "thought" in newer.read_text()
    listed = CliRunner().invoke(app, ["spool", "list", "--spool", str(spool), "--json"])
    assert "newer" in json.loads(listed.stdout)["files"][0]["note"]


def test_a_file_that_a_living_process_writes_is_left_to_it(plane: Plane, spool: Path) -> None:
    writer = Client(None, spool=spool)
    run = writer.record_run("churn")
    plane.up()
    told = Client(plane.url, spool=spool).replay(anyone=True)
    assert (told["busy"], told["sent"]) == (1, 0)
    run.__exit__(None, None, None)
    writer.close()
    assert Client(plane.url, spool=spool).replay(anyone=True)["sent"] == 2


def test_what_is_refused_at_a_replay_is_kept_with_the_reason_and_the_rest_goes_on(
    plane: Plane, spool: Path
) -> None:
    offline = Client(None, spool=spool)
    with offline.record_run("churn") as run:
        run.log(metrics={"auc": 0.5})
    offline.close()
    (file,) = spool.glob("*.jsonl")
    lines = file.read_text().splitlines()
    lines[2] = lines[2].replace('"auc":0.5', '"auc":"high"')
    lines.insert(3, '{"damaged')
    file.write_text("\n".join(lines) + "\n")
    plane.up()
    home = file.parent / "home"
    home.mkdir()
    (home / "control.json").write_text(json.dumps({"port": plane.port}))
    done = CliRunner().invoke(
        app, ["spool", "replay", "--spool", str(spool), "--home", str(home), "--json"]
    )
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["sent"], told["refused"]) == (2, 2)
    assert plane.types() == ["run.started", "run.finished"]
    (kept,) = spool.glob("*.refused")
    reasons = [json.loads(line)["refused"] for line in kept.read_text().splitlines()]
    assert [one["where"] for one in reasons] == [f"{file.name}:4", "$.metrics[...]"]


# the door


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    it = Plane(tmp_path_factory.mktemp("door"))
    it.up()
    yield it
    it.close()


def record(kind: str = "run_logged", **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "key": "k0000001",
        "at": "2026-01-02T03:04:05Z",
        "run_id": "01941f29-7c00-7b3c-8f3e-1f0c5d3b6a01",
        "name": "churn",
        **more,
    }


REFUSED: list[tuple[Any, int, str]] = [
    (b"{", 422, "body"),
    (b"[]", 422, "body"),
    ({"records": [], "format": 2}, 422, "format"),
    ({"records": [record()] * 1_001}, 413, "records"),
    ({"records": [7]}, 422, "$"),
    ({"records": [record("run_dreamt")]}, 422, "$.kind"),
    ({"records": [record(colour="red")]}, 422, "$"),
    ({"records": [record(key="short")]}, 422, "$.key"),
    ({"records": [record(run_id="7")]}, 422, "$.run_id"),
    ({"records": [record(at="yesterday")]}, 422, "$.at"),
    ({"records": [record(at="2026-01-02T03:04:05")]}, 422, "$.at"),
    ({"records": [record(at="1969-12-31T23:59:59Z")]}, 422, "$.at"),
    ({"records": [record(name="")]}, 422, "$.name"),
    ({"records": [record(name="n" * 201)]}, 422, "$.name"),
    ({"records": [record(name="\0")]}, 422, "$.name"),
    ({"records": [record(name="é" * 200, project="é" * 200)]}, 422, "$.name"),
    ({"records": [record(metrics={"auc": "high"})]}, 422, "$.metrics[...]"),
    ({"records": [record(params={"n": 2**53})]}, 422, "$.param.n"),
    ({"records": [record(params={"n": "x" * 1_001})]}, 422, "$.param.n"),
    ({"records": [record(params={"n": {"deep": 1}})]}, 422, "$.params[...]"),
    ({"records": [record(inputs=[{"uri": ""}])]}, 422, "$.inputs[0].uri"),
    ({"records": [record(inputs=[{"uri": "u", "digest": "x"}])]}, 422, "$.inputs[0].digest"),
    ({"records": [record("model_registered", model="m", version="")]}, 422, "$.version"),
]


@pytest.mark.parametrize(("body", "status", "where"), REFUSED, ids=range(len(REFUSED)))
def test_bad_records_are_refused_with_their_place_and_nothing_is_written(
    door: Plane, body: Any, status: int, where: str
) -> None:
    before = door.graph.head()
    got, told = door.send(body)
    assert (got, told["where"]) == (status, where), told
    assert door.graph.head() == before


def test_of_several_records_the_good_ones_are_stored(plane: Plane) -> None:
    plane.up()
    good = [record(key=f"key-{n:05d}", metrics={"n": n}) for n in range(300)]
    status, told = plane.send({"records": [*good, record(at="never")]})
    assert (status, told["accepted"], told["refused"]) == (200, 300, 1)
    assert told["results"][-1]["where"] == "$.at"
    assert plane.graph.head().seq == 300


def test_a_key_and_a_version_mean_one_content(plane: Plane) -> None:
    plane.up()
    model = {"model": "m", "version": "1", "digest": "a" * 64}
    assert plane.send({"records": [record("model_registered", **model)]})[0] == 200
    again = record("model_registered", **model)
    assert plane.send({"records": [again]})[0] == 200
    assert plane.graph.head().seq == 1
    status, told = plane.send({"records": [record(metrics={"auc": 1.0})]})
    assert (status, told["error"], told["where"]) == (409, "conflict", "$.key")
    other = record("model_registered", **{**model, "digest": "b" * 64})
    status, told = plane.send({"records": [{**other, "key": "k0000002"}]})
    assert (status, told["where"]) == (409, "$.version")
    both = [
        record("model_registered", key=f"key-{d * 8}", model="n", version="1", digest=d * 64)
        for d in "ab"
    ]
    assert plane.send({"records": both})[1]["refused"] == 1
    assert plane.graph.head().seq == 2


def test_a_clock_far_ahead_is_marked_and_its_record_can_be_sent_again(plane: Plane) -> None:
    plane.up()
    ahead = record(at="2999-01-01T00:00:00Z")
    for _ in range(2):
        assert plane.send({"records": [ahead]})[0] == 200
    (event,) = plane.events()
    assert dict(event.data)["ahead"] is True


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(sorted({*record(), "params", "inputs", "outputs", "metrics",
                                     "project"})), value=JSON_VALUES)  # fmt: skip
def test_no_field_of_any_shape_is_an_error_of_ours(door: Plane, field: str, value: Any) -> None:
    status, told = door.send({"records": [{**record(key="f" * 8), field: value}]})
    assert status in {200, 409, 422}, told


# the client alone


def test_the_client_refuses_what_no_control_plane_takes_before_it_is_kept(
    spool: Path, tmp_path: Path
) -> None:
    client = Client(None, spool=spool)
    run = client.record_run("churn")
    for bad in (float("nan"), float("inf"), 2**53, "high", [1]):
        with pytest.raises(ManifestError):
            run.log(metrics={"auc": bad})  # type: ignore[dict-item]
    with pytest.raises(ManifestError):
        run.log(params={"p": "x" * 1_001})
    with pytest.raises(ManifestError):
        client.dataset("")
    with pytest.raises(ManifestError):
        client.dataset("users", digest="abc")
    with pytest.raises(NotFoundError):
        run.model("churn", path=tmp_path / "nothing")
    with pytest.raises(ManifestError, match="bytes"):
        run.log(params={f"p{n}": "\u00e9" * 1_000 for n in range(300)})
    assert [one["kind"] for one in waiting(spool)] == ["run_started"]
    with pytest.raises(BackendError, match="no control plane is named"):
        client.status()


def test_numbers_of_numpy_are_numbers(spool: Path) -> None:
    import numpy as np

    run = Client(None, spool=spool).record_run("churn", params={"n": np.int64(3)})
    run.log(metrics={"auc": np.float32(0.5)})
    assert waiting(spool)[1]["metrics"] == {"auc": 0.5}


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="neither sent nor kept"):
        Client(None, spool=tmp_path / "file").record_run("churn")


def test_a_digest_is_what_sha256sum_says(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "x").write_bytes(b"1")
    (folder / "a").write_bytes(b"22")
    listed = subprocess.run(
        ["sha256sum", "a", "b/x"], cwd=folder, capture_output=True, check=True
    ).stdout
    whole = subprocess.run(["sha256sum"], input=listed, capture_output=True, check=True).stdout
    assert digested(folder) == (whole.decode().split()[0], 3)


def test_recording_needs_nothing_but_the_client(tmp_path: Path) -> None:
    """A script that records must not load the control plane, nor any table library."""
    code = """
import sys, mlg
run = mlg.Client(None, spool="spool").record_run("churn")
run.__exit__(None, None, None)
ours = sorted(n.split(".")[1] for n in sys.modules if n.startswith("mlg.") )
heavy = {"litestar", "msgspec", "numpy", "dbos"} & set(sys.modules)
print(sorted(set(ours)), sorted(heavy))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['client', 'core'] []"


def test_a_control_plane_that_comes_back_is_asked_again(plane: Plane, spool: Path) -> None:
    client = mlg.Client(plane.url, spool=spool)
    run = client.record_run("churn")
    plane.up()
    run.log(metrics={"auc": 0.1})  # asked again only after a while
    assert plane.types() == []
    run.__exit__(None, None, None)  # the end of a run always asks
    assert until(plane.types) == ["run.started", "run.logged", "run.finished"]


def test_a_refused_record_is_told_at_once_and_not_kept(plane: Plane, spool: Path) -> None:
    plane.up()
    client = Client(plane.url, spool=spool)
    run = client.record_run("churn")
    (spool.parent / "m").write_bytes(b"1")
    run.model("churn", path=spool.parent / "m", version="1")
    (spool.parent / "m").write_bytes(b"2")
    with pytest.raises(ConflictError, match="is there with the digest"):
        run.model("churn", path=spool.parent / "m", version="1")
    assert waiting(spool) == []
