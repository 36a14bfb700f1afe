"""A real replica process with a small real model: killed, drained, asked nonsense."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.keys_signing import new_signing_key, sign_statement, write_trusted
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.errors import ExhaustedError
from mlg.core.ports import Cursor
from mlg.recsys import kinds
from mlg.recsys.roles import roles_from
from mlg.serving.asgi import STARVED
from mlg.serving.integrity import hashed as hashed_files
from mlg.serving.integrity import model_statement
from mlg.serving.log import decode_prediction, hashed
from mlg.serving.warmup import MOST_REQUESTS

KEY = bytes(range(32))
RECOMMEND = "/v1/services/home/recommend"
ENV = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLG_NONCE": "nonce-1",
}
DEADLINE_S = 60.0


def until(fact: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """Return the fact once it is true."""
    end = time.monotonic() + deadline_s
    while not (value := fact()):
        assert time.monotonic() < end, "the fact did not come true in time"
        threading.Event().wait(0.01)
    return value


@dataclass
class Replica:
    process: subprocess.Popen[bytes]
    port: int
    home: Path
    log: Path

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            sent = {"content-type": "application/json"} if raw is not None else {}
            wire.request("GET" if raw is None else "POST", path, raw, sent | (headers or {}))
            answer = wire.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            wire.close()

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("/v2/health/ready")[0] == 200
        except OSError:
            return False

    def predictions(self) -> list[dict[str, Any]]:
        batch = SegmentStream(self.home / "segments" / "home").read(Cursor(consumer="test"))
        assert batch.gaps == 0
        return [decode_prediction(r.payload) for r in batch.records if r.kind == "prediction"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-stage model of 120 viewers with two tastes and 60 items."""
    rng = np.random.default_rng(5)
    rows = [
        (viewer, item, day * 86_400 + int(rng.integers(0, 3600)), float(rng.integers(1, 6)))
        for viewer in range(1, 121)
        for day, item in enumerate(
            rng.choice(np.arange(1, 31) + 30 * (viewer % 2), size=20, replace=False), start=1
        )
    ]
    user, item, at, rating = zip(*rows, strict=True)
    interactions = pa.table(
        {
            "user_id": pa.array(user, pa.int64()),
            "item_id": pa.array([int(i) for i in item], pa.int64()),
            "rated_at": pa.array(
                [datetime.fromtimestamp(s, tz=UTC) for s in at], pa.timestamp("us", tz="UTC")
            ),
            "rating": pa.array(rating, pa.float64()),
        }
    )
    users = pa.table({"user_id": list(range(1, 121)), "age": [20 + v % 40 for v in range(120)]})
    items = pa.table({"item_id": list(range(1, 61)), "drama": [int(i > 30) for i in range(60)]})
    roles = roles_from(
        {
            "interactions": {
                "table": "events",
                "viewer": "user_id",
                "item": "item_id",
                "at": "rated_at",
                "value": "rating",
            },
            "viewers": {"table": "users", "key": "user_id", "features": ["age"]},
            "items": {"table": "items", "key": "item_id", "features": ["drama"]},
        }
    )
    tables: Any = {"events": interactions, "users": users, "items": items}
    fitted = kinds.fit("two_stage", tables, roles, {}, 7, "ranker", lambda _: None)
    folder = tmp_path_factory.mktemp("artifact")
    fitted.save(folder)
    return folder


class Starter:
    """Starts processes in one home and ends them all."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._running: list[Replica] = []
        (home / "keys").mkdir(parents=True)
        (home / "keys" / "viewer.key").write_bytes(KEY)

    def __call__(self, *argv: str, id_: str = "replica-home-1") -> Replica:
        listener = socket.create_server(("127.0.0.1", 0))
        fd = listener.fileno()
        log = self.home / f"{id_}.log"
        own = ["--home", str(self.home), "--service", "home", "--id", id_, "--clock", "request"]
        with log.open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, *argv, *own],
                pass_fds=[fd],
                env=os.environ | ENV | {"MLG_LISTEN_FD": str(fd)},
                stderr=sink,
            )
        port = listener.getsockname()[1]
        listener.close()
        self._running.append(Replica(process, port, self.home, log))
        return self._running[-1]

    def replica(self, artifact: Path) -> Replica:
        one = self(
            *("-m", "mlg.app.replica", "--model", "ranker", "--version", "v1"),
            *("--artifact", str(artifact), "--unsigned"),
        )
        until(one.ready)
        return one

    def end(self) -> None:
        for replica in self._running:
            if replica.process.poll() is None:
                replica.process.kill()
            replica.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path / "home")
    yield starter
    starter.end()


@pytest.fixture
def replica(start: Starter, artifact: Path) -> Replica:
    """A replica that the test may harm."""
    return start.replica(artifact)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Replica]:
    """One replica for the tests that leave it as it was."""
    starter = Starter(tmp_path_factory.mktemp("shared") / "home")
    yield starter.replica(artifact)
    starter.end()


def write_policy(home: Path, **values: Any) -> None:
    folder = home / "services" / "home"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.tmp").write_text(json.dumps({"service": "home", **values}))
    (folder / "policy.tmp").replace(folder / "policy.json")


def test_it_answers_with_the_model_it_was_given(shared: Replica) -> None:
    body = {"user_id": 2, "k": 5, "context": {"at": "1970-01-20T00:00:00Z", "history": []}}
    status, headers, content = shared.ask(RECOMMEND, body, {"mlg-sticky-key": "2.0.19"})
    answer = json.loads(content)
    assert status == 200, content
    assert len({item["id"] for item in answer["items"]}) == 5
    assert answer["model_version"] == headers["mlg-model-version"] == "v1"
    assert 0.0 <= answer["confidence"] <= 1.0
    assert shared.ask("/mlg/nonce")[2] == b"nonce-1"
    row = shared.predictions()[0]
    assert row["prediction_id"] == answer["prediction_id"]
    assert row["viewer"] == hashed(KEY, 2)
    assert row["at"] == "1970-01-20T00:00:00.000000Z"
    assert b"mlg_attempts_total" in shared.ask("/metrics")[2]


def test_kill_9_loses_nothing_that_was_answered(replica: Replica) -> None:
    answered: list[str] = []
    lock = threading.Lock()

    def viewer(n: int) -> None:
        while True:
            try:
                _, headers, _ = replica.ask(RECOMMEND, {"user_id": n})
            except (OSError, http.client.HTTPException):
                return
            with lock:
                answered.append(headers["mlg-prediction-id"])

    with ThreadPoolExecutor(4) as pool:
        for n in range(1, 5):
            pool.submit(viewer, n)
        until(lambda: len(answered) >= 100)
        replica.process.kill()
    logged = {row["prediction_id"] for row in replica.predictions()}
    assert len(answered) >= 100
    assert set(answered) <= logged


def test_sigterm_drains_without_a_failed_request(replica: Replica) -> None:
    """Clients that leave once it is not ready, as a gateway does, see no failure."""
    failed: list[str] = []
    answered: list[int] = []
    gone = threading.Event()

    def viewer(n: int) -> None:
        while not gone.is_set():
            try:
                status, _, _ = replica.ask(RECOMMEND, {"user_id": n})
            except (OSError, http.client.HTTPException) as error:
                failed.append(repr(error))
                return
            answered.append(status)

    with ThreadPoolExecutor(4) as pool:
        for n in range(1, 5):
            pool.submit(viewer, n)
        until(lambda: len(answered) >= 50)
        replica.process.send_signal(signal.SIGTERM)
        until(lambda: replica.ask("/v2/health/ready")[0] == 503)
        before = len(answered)
        until(lambda: len(answered) >= before + 10)  # still answered while draining
        gone.set()
    assert failed == []
    assert set(answered) == {200}
    assert replica.process.wait(10) == 0
    assert len(replica.predictions()) == len(answered)


def test_a_policy_is_in_force_within_half_a_second(replica: Replica) -> None:
    def answer() -> dict[str, Any]:
        return json.loads(replica.ask(RECOMMEND, {"user_id": 1})[2])

    assert answer()["served_by"] == "model"
    write_policy(replica.home, version="p9", abstain_below=1.0, explore_bp=0)
    start_s = time.monotonic()
    until(lambda: answer()["reason"] == "abstain")
    assert time.monotonic() - start_s < 0.5
    assert replica.predictions()[-1]["policy"] == "p9"
    write_policy(replica.home, version="p10", abstain_below=7)
    until(lambda: b"mlg_policy_errors_total{" in (text := replica.ask("/metrics")[2])
          and b'mlg_policy_errors_total{service="home",version="v1"} 1.0' in text)  # fmt: skip
    assert answer()["reason"] == "abstain"


_LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_EVENT = st.fixed_dictionaries(
    {"item_id": st.integers(-5, 80) | st.text(min_size=1, max_size=4)},
    optional={
        "at": st.sampled_from(["1970-01-02T00:00:00Z", "2999-01-01T00:00:00Z", "x"]),
        "value": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        "event": st.sampled_from(["play", "impression", "zzz"]),
    },
)
_REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.integers(-3, 130) | st.text(max_size=4),
        "k": st.integers(-1, 110),
        "context": st.fixed_dictionaries(
            {},
            optional={
                "at": st.datetimes().map(lambda at: at.isoformat() + "Z"),
                "history": st.lists(_EVENT, max_size=60),
                "viewer": st.dictionaries(st.sampled_from(["age", "other"]), _LEAF),
            },
        ),
    },
)


def test_no_request_makes_it_answer_5xx(shared: Replica) -> None:
    wire = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)

    @settings(max_examples=300, deadline=None)
    @example(body={"k": 60, "context": {"history": [{"item_id": "1"}]}})
    @given(body=_REQUEST)
    def ask(body: dict[str, Any]) -> None:
        wire.request("POST", RECOMMEND, json.dumps(body), {"content-type": "application/json"})
        answer = wire.getresponse()
        content = answer.read()
        assert answer.status in {200, 400}, content

    try:
        ask()
    finally:
        wire.close()


def test_oversize_and_broken_bodies_are_4xx(shared: Replica) -> None:
    assert shared.ask(RECOMMEND, b"x" * 70_000)[0] == 413
    assert shared.ask(RECOMMEND, b"{")[0] == 400
    assert shared.ask("/nothing")[0] == 404
    assert shared.ready()


STUB = """
import sys
from mlg.app.data_plane import exit_code_of, parser, run_service
from mlg.core.errors import LifecycleError
from mlg.core.predict import Ranked
from mlg.serving.popularity import StoredList
from mlg.serving.service import Identity
from mlg.telemetry.logs import setup_logs

class Mad:
    popularity = StoredList(items=(1, 2), scores=(2.0, 1.0), hit_rate=0.5)
    logged_features = ()
    longest_history = 0
    def is_known_item(self, item, /):
        return item in (1, 2)
    def recommend(self, query):
        score = float("nan") if query.user_id == "nan" else 1.0
        return Ranked(items=(1,), scores=(score,), raw_confidence=0.9)

options = parser("stub").parse_args(sys.argv[1:])
setup_logs(sys.stderr, process=options.id)
identity = Identity(service="home", model="m", version="v1", default_k=1)
try:
    run_service(options, identity, Mad(), rescue=False)
except LifecycleError as error:
    sys.exit(exit_code_of(error))
"""


def test_nan_is_a_500_that_says_why(start: Starter) -> None:
    replica = start("-c", STUB)
    until(replica.ready)
    assert replica.ask(RECOMMEND, {"user_id": 1})[0] == 200
    status, headers, _ = replica.ask(RECOMMEND, {"user_id": "nan"})
    assert (status, headers["mlg-fault"]) == (500, "nan")
    assert len(replica.predictions()) == 1
    line = json.loads(replica.log.read_text().splitlines()[-1])
    assert (line["message"], line["fault"]) == ("answer withheld", "nan")


def test_the_fallback_server_rescues_with_and_without_a_list(
    start: Starter, artifact: Path
) -> None:
    listed = start(
        *("-m", "mlg.app.fallback", "--artifact", str(artifact), "--unsigned"),
        id_="fallback-home",
    )
    until(listed.ready)
    answer = json.loads(listed.ask(RECOMMEND, {"k": 3})[2])
    document = json.loads((artifact / "popularity.json").read_text())
    assert [item["id"] for item in answer["items"]] == document["items"][:3]
    assert (answer["served_by"], answer["reason"]) == ("fallback", "rescue")
    assert answer["confidence"] == document["hit_rate"]
    empty = start("-m", "mlg.app.fallback", id_="fallback-empty")
    until(empty.ready)
    answer = json.loads(empty.ask(RECOMMEND, {"k": 3})[2])
    assert (answer["items"], answer["reason"]) == ([], "rescue")
    assert len(answer["prediction_id"]) == 36
    assert len(empty.predictions()) == 2


def test_a_damaged_artifact_ends_it_with_one_clear_line(
    start: Starter, artifact: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    (copy / "popularity.json").write_text("{}")
    replica = start(
        "-m", "mlg.app.replica", "--model", "ranker", "--version", "v1",
        "--artifact", str(copy), "--unsigned",
    )  # fmt: skip
    assert replica.process.wait(DEADLINE_S) == 5
    line = json.loads(replica.log.read_text().splitlines()[-1])
    assert (line["error"], line["where"]) == ("backend", "popularity.json")


def signed(start: Starter, artifact: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return a copy of the artifact and its signature by the home's own key."""
    copy, signature = tmp_path / "copy", tmp_path / "model.sig"
    shutil.copytree(artifact, copy)
    files, key = LocalFiles(start.home), new_signing_key()
    write_trusted(files, key.public_key())
    signature.write_bytes(sign_statement(key, model_statement("copy", hashed_files(copy))))
    return copy, signature


def refusal(start: Starter, id_: str) -> dict[str, str]:
    return json.loads((start.home / "refusals" / f"{id_}.json").read_bytes())


HARM: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    "altered": (
        lambda model, _: (model / "popularity.json").write_text("{}"),
        "popularity.json",
        "the file was altered",
    ),
    "added": (
        lambda model, _: (model / "x.py").write_text(""),
        "x.py",
        "the file was added",
    ),
    "missing": (
        lambda model, _: (model / "golden.jsonl").unlink(),
        "golden.jsonl",
        "the file is missing",
    ),
    "unsigned": (lambda _, signature: signature.unlink(), "", "the signature is missing"),
}


SHORT = ("altered",) if not os.environ.get("MLG_FULL") else tuple(HARM)
"""In `make test` one; all are tested without a process in test_model_signing.py."""


@pytest.mark.parametrize("harm", SHORT)
def test_a_replica_refuses_what_was_not_signed_and_leaves_its_reason(
    start: Starter, artifact: Path, tmp_path: Path, harm: str
) -> None:
    act, where, what = HARM[harm]
    copy, signature = signed(start, artifact, tmp_path)
    act(copy, signature)
    replica = start(
        *("-m", "mlg.app.replica", "--model", "ranker", "--version", "v1"),
        *("--artifact", str(copy), "--signature", str(signature)),
    )
    assert replica.process.wait(DEADLINE_S) == 5
    line = json.loads(replica.log.read_text().splitlines()[-1])
    assert (line["error"], line["where"]) == ("refused", where)
    told = refusal(start, "replica-home-1")
    assert (told["nonce"], told["where"]) == ("nonce-1", where)
    assert told["what"].startswith(what)


def test_a_signed_model_serves_and_a_fallback_server_outlives_a_refused_list(
    start: Starter, artifact: Path, tmp_path: Path
) -> None:
    copy, signature = signed(start, artifact, tmp_path)
    given = ("--artifact", str(copy), "--signature", str(signature))
    good = start(
        *("-m", "mlg.app.replica", "--model", "ranker", "--version", "v1", *given), id_="good"
    )
    until(good.ready)
    assert not (start.home / "refusals" / "good.json").exists()
    (copy / "extra").write_text("")
    rescue = start("-m", "mlg.app.fallback", *given, id_="fallback-home")
    until(rescue.ready)
    assert json.loads(rescue.ask(RECOMMEND, {"k": 3})[2])["items"] == []
    assert refusal(start, "fallback-home")["where"] == "extra"


def test_without_viewer_key_it_does_not_start(start: Starter) -> None:
    (start.home / "keys" / "viewer.key").unlink()
    replica = start("-m", "mlg.app.fallback")
    assert replica.process.wait(DEADLINE_S) == 5
    assert "keys/viewer.key" in replica.log.read_text()


def test_the_processes_load_nothing_of_the_control_plane() -> None:
    code = (
        "import sys, mlg.app.replica, mlg.app.fallback\n"
        "heavy = {'dbos', 'duckdb', 'ibis', 'litestar'} & set(sys.modules)\n"
        "rooms = [m for m in sys.modules if m.startswith(('mlg.manifest', 'mlg.graph',"
        " 'mlg.pipeline', 'mlg.monitors', 'mlg.release', 'mlg.automations', 'mlg.mesh',"
        " 'mlg.render', 'mlg.workflows', 'mlg.api'))]\n"
        "print(sorted(heavy), rooms)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[] []\n"


def test_a_model_that_fails_its_recorded_requests_never_serves(start: Starter) -> None:
    golden = STUB.replace("rescue=False", 'rescue=False, golden=[b\'{"user_id": "nan"}\']')
    replica = start("-c", golden)
    assert replica.process.wait(DEADLINE_S) == 5
    line = json.loads(replica.log.read_text().splitlines()[-1])
    assert (line["error"], line["where"]) == ("backend", "golden.jsonl:1")


def test_it_rehearses_over_connections_and_leaves_no_trace(start: Starter) -> None:
    golden = STUB.replace("rescue=False", 'rescue=False, golden=[b\'{"user_id": 1, "k": 1}\']')
    replica = start("-c", golden)
    until(replica.ready)
    said = {
        line["message"]: line
        for line in map(json.loads, replica.log.read_text().splitlines())
        if "message" in line
    }
    assert 40 <= said["the server is warm"]["requests"] <= MOST_REQUESTS + 8
    assert replica.predictions() == []
    metrics = replica.ask("/metrics")[2].decode().splitlines()
    assert [m for m in metrics if m.startswith("mlg_attempts_total{")] == []
    # a copy is answered before it is warm only for itself; afterwards as ever
    assert replica.ask(RECOMMEND, {"user_id": 1, "k": 1})[0] == 200
    assert len(replica.predictions()) == 1


def test_a_replica_that_has_no_memory_left_ends_and_says_why(replica: Replica) -> None:
    fields = Path(f"/proc/{replica.process.pid}/status").read_text().split("VmData:")[1].split()
    limit = int(fields[0]) * 1024 + (64 << 20)
    psutil.Process(replica.process.pid).rlimit(psutil.RLIMIT_DATA, (limit, limit))
    folder = replica.home / "services" / "home"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.json").write_text(json.dumps({"*": {"keeps_bytes": 8 << 20}}))
    codes: list[int] = []

    def ended() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            codes.append(replica.ask(RECOMMEND, {"user_id": 1})[0])
        return replica.process.poll() is not None

    until(ended)
    assert replica.process.returncode == ExhaustedError.exit_code == 12
    assert set(codes) == {200, 500}
    assert codes.count(500) >= STARVED
    log = replica.log.read_text()
    assert "out of memory" in log
    assert "resources.memory" in log
