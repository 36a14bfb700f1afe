"""`mlg bench graph` on a small world; the world itself, event by event."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import until

from mlg.cli.commands_bench import script_of
from mlg.core.errors import NotFoundError
from mlg.graph.project import project_event

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world() -> ModuleType:
    path = CHECKOUT / "benchmarks" / "graph_world.py"
    spec = importlib.util.spec_from_file_location("graph_world", path)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_day_of_the_world_is_as_its_page_says_and_every_edge_is_allowed(
    world: ModuleType,
) -> None:
    one, two = ([*world.events(days)] for days in (1, 2))
    for event in two:
        project_event(event)  # refuses what the table of edges does not allow
        assert len(event.edges) <= 10_000
    count = [sum(len(event.nodes) for event in events) for events in (one, two)]
    assert count[1] - count[0] == world.NODES_A_DAY == 3_800
    edges = [sum(len(event.edges) for event in events) for events in (one, two)]
    assert 8_000 < edges[1] - edges[0] < 10_000
    assert [*world.events(1)] == one, "the same seed makes the same world"


def test_a_benchmark_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no benchmark 'speed'"):
        script_of("speed", CHECKOUT)
    with pytest.raises(NotFoundError, match="not part of an installed mlg"):
        script_of("graph", tmp_path)


def test_ctrl_c_waits_for_what_a_benchmark_has_to_end(tmp_path: Path) -> None:
    # a test run in the background of a shell inherits that Ctrl-C is ignored
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    tidy = heard + (
        "import pathlib, sys, time\n"
        "try:\n    pathlib.Path(sys.argv[1]).touch(); time.sleep(60)\n"
        "finally:\n    time.sleep(1.0); pathlib.Path(sys.argv[2]).touch()\n"
    )
    began, done = tmp_path / "began", tmp_path / "done"
    parent = heard + (
        "import sys\nfrom mlg.cli.commands_bench import ended\n"
        "ended([sys.executable, '-c', *sys.argv[1:]])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, tidy, str(began), str(done)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(began.exists)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(20) == -signal.SIGINT
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert done.exists()


def test_bench_graph_prints_one_document() -> None:
    command = [
        sys.executable,
        "-m",
        "mlg",
        "bench",
        "graph",
        "--nodes",
        "5000",
        "--no-peers",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    document = json.loads(done.stdout)
    rows = {(row["work"], row["subject"]): row for row in document["rows"]}
    assert document["machine"]
    assert rows["trace up p50", "mlg"]["value"] > 0
    assert rows["edges", "mlg"]["value"] > 8_000
    assert {"work", "subject", "value", "unit", "runs", "ratio_to_mlg"} == set(
        document["rows"][0]
    )


@pytest.mark.envoy
def test_bench_gateway_prints_one_document_and_its_replica_answers() -> None:
    options = ["--only", "swaps", "--swaps", "1", "--rate", "500", "--json"]
    command = [sys.executable, "-m", "mlg", "bench", "gateway", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    row = json.loads(done.stdout)["parts"]["swaps"]
    assert row["versions_seen"] == 2
    assert (
        row["failed"] < 0.5 * row["requests"]
    )  # none on a machine that has nothing else to do
