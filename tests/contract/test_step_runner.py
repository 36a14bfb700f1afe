"""What every step runner must keep: results and errors as they are, nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.steps_process import ProcessSteps
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, ContractError, ManifestError
from mlg.core.steps import StepCall, StepInput, StepResult
from mlg.core.uris import Digest
from mlg.manifest.specs_data import DatasetSpec
from mlg.manifest.specs_pipelines import PythonStep
from mlg.pipeline.config import SourceConfig, TableConfig, canonical


class Shop:
    """A project, its store and a runner."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "project"
        self.folder.mkdir()
        (self.folder / "r.csv").write_text("user,stars\n1,5\n2,3\n", encoding="utf-8")
        self.artifacts = LocalArtifacts(root / "store")
        self.lines: list[str] = []
        self.runner = ProcessSteps(
            store=root / "store",
            work=root / "work",
            clock=ManualClock(),
            progress=self.lines.append,
        )

    def source(self, **columns: str) -> StepCall:
        kinds = columns or {"user": "int64", "stars": "int64"}
        spec = {
            "source": {"uri": "r.csv"},
            "columns": {name: {"type": kind} for name, kind in kinds.items()},
        }
        config = SourceConfig(dataset="r", spec=msgspec.convert(spec, DatasetSpec))
        return self._call("source", "r", canonical(config), ())

    def python(self, body: str, ratings: StepResult) -> StepCall:
        head = "import os, sys, signal, time, subprocess\n\ndef build(inputs, config):\n"
        text = f"{head}    {body}\n"
        (self.folder / "feat.py").write_text(text, encoding="utf-8")
        step = PythonStep(python="feat:build", inputs=("r",))
        given = (StepInput(name="r", snapshot=ratings.snapshot),)
        return self._call("python", "made", canonical(TableConfig(step=step)), given)

    def _call(
        self, kind: str, out: str, config: str, inputs: tuple[StepInput, ...]
    ) -> StepCall:
        return StepCall(
            project="shop", pipeline="ranker", name=out, kind=kind, config=config,
            inputs=inputs, code=Digest("0" * 64), folder=self.artifacts.put(self.folder),
            out=out, threads=1,
        )  # fmt: skip


@pytest.fixture(params=["process"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def sourced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StepResult]:
    """Run the source once for all tests that only need a table; return the store too."""
    root = tmp_path_factory.mktemp("sourced")
    shop = Shop(root)
    return root / "store", shop.runner.run(shop.source())


@pytest.fixture
def ratings(shop: Shop, sourced: tuple[Path, StepResult], tmp_path: Path) -> StepResult:
    store, result = sourced
    shutil.copytree(store, tmp_path / "store", dirs_exist_ok=True)
    return result


def until(true: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait for a fact, looking again and again up to a deadline."""
    deadline = time.monotonic() + seconds
    waiter = threading.Event()
    while not true():
        if time.monotonic() > deadline:
            return False
        waiter.wait(0.02)
    return True


def test_a_step_comes_back_with_what_it_made(shop: Shop) -> None:
    ratings = shop.runner.run(shop.source())
    assert ratings.snapshot is not None
    assert ratings.snapshot.rows == 2
    assert shop.artifacts.has(ratings.snapshot.digest)
    assert dict(ratings.facts)["rows"] == 2
    assert any(line.startswith("r: source of ranker begins") for line in shop.lines)


def test_two_runs_of_one_call_make_the_same(shop: Shop, ratings: StepResult) -> None:
    assert shop.runner.run(shop.source()).snapshot == ratings.snapshot


def test_an_error_comes_back_in_its_own_words(shop: Shop) -> None:
    with pytest.raises(ContractError) as caught:
        shop.runner.run(shop.source(usr="int64"))
    assert caught.value.where == "dataset r"
    assert caught.value.what.startswith("column 'usr': expected int64, found no such column")
    assert caught.value.hint


def test_an_error_of_the_users_function_names_file_line_and_function(
    shop: Shop, ratings: StepResult
) -> None:
    call = shop.python("raise KeyError('watch_s')", ratings)
    with pytest.raises(BackendError, match="KeyError: 'watch_s'") as caught:
        shop.runner.run(call)
    assert caught.value.where == "step made, feat.py:4 in build"


def test_what_the_function_prints_does_not_spoil_the_answer(
    shop: Shop, ratings: StepResult
) -> None:
    body = "print('{}'); os.write(1, b'raw\\n'); return inputs['r']"
    assert shop.runner.run(shop.python(body, ratings)).snapshot is not None
    assert "raw" in shop.lines


def test_threads_are_pinned_for_numerical_libraries(shop: Shop, ratings: StepResult) -> None:
    body = "return inputs['r'].mutate(n=int(os.environ['OMP_NUM_THREADS']))"
    assert shop.runner.run(shop.python(body, ratings)).snapshot is not None


def test_a_killed_step_is_one_clear_error_and_stores_nothing(
    shop: Shop, ratings: StepResult, tmp_path: Path
) -> None:
    last_words = "print('about to fall', file=sys.stderr, flush=True)"
    body = f"{last_words}; os.kill(os.getpid(), signal.SIGKILL)"
    call = shop.python(body, ratings)
    before = sorted((tmp_path / "store").glob("??/*"))
    with pytest.raises(BackendError, match=r"killed by SIGKILL.*about to fall") as caught:
        shop.runner.run(call)
    assert "memory" in caught.value.hint
    assert sorted((tmp_path / "store").glob("??/*")) == before


def test_a_missing_function_is_the_manifests_error(shop: Shop, ratings: StepResult) -> None:
    call = shop.python("return inputs['r']", ratings)
    step = PythonStep(python="feat:bild", inputs=("r",))
    wrong = canonical(TableConfig(step=step))
    with pytest.raises(ManifestError, match="expected a function 'bild' in feat, found build"):
        shop.runner.run(replace(call, config=wrong))


def test_what_a_step_started_does_not_outlive_it(
    shop: Shop, ratings: StepResult, tmp_path: Path
) -> None:
    marker = tmp_path / "pid"
    body = (
        "p = subprocess.Popen(['sleep', '600']); "
        f"open({str(marker)!r}, 'w').write(str(p.pid)); return inputs['r']"
    )
    shop.runner.run(shop.python(body, ratings))
    pid = int(marker.read_text())
    assert until(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


_PARENT = """
import sys
from pathlib import Path
import msgspec
from mlg.adapters.steps_process import ProcessSteps
from mlg.core.clock import ManualClock
from mlg.core.steps import StepCall
root = Path(sys.argv[1])
call = msgspec.json.decode(sys.stdin.buffer.read(), type=StepCall)
ProcessSteps(store=root / "store", work=root / "work", clock=ManualClock()).run(call)
"""


def test_a_step_dies_with_its_parent_and_with_it_what_it_started(
    shop: Shop, ratings: StepResult, tmp_path: Path
) -> None:
    marker = tmp_path / "pids"
    body = (
        "p = subprocess.Popen(['sleep', '600']); "
        f"open({str(marker)!r}, 'w').write(f'{{os.getpid()}} {{p.pid}} '); p.wait()"
    )
    call = shop.python(body, ratings)
    command = [sys.executable, "-c", _PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        parent.stdin.write(msgspec.json.encode(call))
        parent.stdin.close()
        assert until(lambda: marker.exists() and marker.read_text().endswith(" "))
        pids = [int(text) for text in marker.read_text().split()]
        assert all(alive(pid) for pid in pids)
        os.kill(parent.pid, signal.SIGKILL)
    assert until(lambda: not any(alive(pid) for pid in pids))
