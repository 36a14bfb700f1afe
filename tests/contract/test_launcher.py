import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.launcher_memory import MemoryLauncher
from mlg.adapters.launcher_process import ProcessLauncher
from mlg.adapters.loopback_ports import check_port, free_port
from mlg.core.errors import BackendError
from mlg.core.ports import Launcher
from mlg.core.processes import ProcessSpec

# says what it was given, then sleeps with a child in its group until it is ended
SLEEPER = """
import os, socket, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
fd = os.environ.get("MLG_LISTEN_FD")
listening = socket.socket(fileno=int(fd)) if fd else None
port = listening.getsockname()[1] if listening else 0
print("nonce", os.environ["MLG_NONCE"], "port", port, "child", child.pid, sys.argv[1:],
      "secret", os.environ.get("OPERATOR_SECRET"), flush=True)
time.sleep(600)
"""


def sleeper(name: str = "replica-home-1", **changes: object) -> ProcessSpec:
    spec = ProcessSpec(
        id=name,
        kind="replica",
        argv=(sys.executable, "-c", SLEEPER, "{nonce}", "{port}"),
        service="home",
        version="v1",
        digest="d1",
    )
    return replace(spec, **changes)


def process_launcher(home: Path) -> ProcessLauncher:
    clock = SystemClock()
    env = {**os.environ, "OPERATOR_SECRET": "do not hand down"}
    return ProcessLauncher(LocalFiles(home), clock, Uuid7Ids(clock), home, env=env)


def until(fact: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@dataclass
class Place:
    launcher: Launcher
    crash: Callable[[str], None]
    taken: Callable[[], int]


@pytest.fixture(params=["memory", "process"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "memory":
        clock = SystemClock()
        memory = MemoryLauncher(clock, Uuid7Ids(clock))

        def taken() -> int:
            memory.taken.add(7080)
            return 7080

        yield Place(memory, memory.crash, taken)
        return
    launcher = process_launcher(tmp_path)

    def crash(name: str) -> None:
        os.kill(next(s.pid for s in launcher.state() if s.id == name), signal.SIGKILL)
        until(lambda: not next(s for s in launcher.state() if s.id == name).alive)

    with socket.create_server(("127.0.0.1", 0)) as busy:
        yield Place(launcher, crash, lambda: int(busy.getsockname()[1]))
    for state in launcher.state():
        launcher.stop(state.id, grace_s=0.0)


def test_a_started_process_is_alive_with_a_port_and_a_nonce(place: Place) -> None:
    state = place.launcher.start(sleeper())
    assert (state.id, state.service, state.version, state.alive) == (
        "replica-home-1",
        "home",
        "v1",
        True,
    )
    assert state.port > 0
    assert len(state.nonce) >= 32
    assert place.launcher.state() == (state,)


def test_starting_the_same_twice_is_one_process(place: Place) -> None:
    assert place.launcher.start(sleeper()) == place.launcher.start(sleeper())


def test_another_digest_under_a_running_id_is_refused(place: Place) -> None:
    state = place.launcher.start(sleeper())
    with pytest.raises(BackendError, match="another digest"):
        place.launcher.start(sleeper(digest="d2"))
    assert place.launcher.state() == (state,)


def test_one_that_hands_over_is_followed_under_its_id(place: Place) -> None:
    first = place.launcher.start(sleeper(handover=True, listen=False))
    assert place.launcher.start(sleeper(handover=True, listen=False)) == first
    second = place.launcher.start(sleeper(handover=True, listen=False, digest="d2"))
    assert second.alive
    assert (second.id, second.digest) == (first.id, "d2")
    assert second.nonce != first.nonce
    assert [s.pid for s in place.launcher.state()] == [second.pid]


def test_a_crashed_process_is_seen_and_can_be_started_again(place: Place) -> None:
    first = place.launcher.start(sleeper())
    place.crash("replica-home-1")
    (state,) = place.launcher.state()
    assert (state.alive, state.exit_code) == (False, -9)
    second = place.launcher.start(sleeper())
    assert second.alive
    assert second.nonce != first.nonce


def test_stopping_forgets_and_stopping_the_unknown_is_no_error(place: Place) -> None:
    place.launcher.start(sleeper())
    place.launcher.stop("replica-home-1")
    place.launcher.stop("replica-home-1")
    assert place.launcher.state() == ()


def test_states_are_sorted_by_id(place: Place) -> None:
    for name in ("b", "a", "c"):
        place.launcher.start(sleeper(name))
    assert [s.id for s in place.launcher.state()] == ["a", "b", "c"]


@pytest.mark.parametrize("listen", [True, False])
def test_a_port_in_use_is_named_and_nothing_is_left(place: Place, listen: bool) -> None:
    port = place.taken()
    with pytest.raises(BackendError, match=f"port {port} is in use") as caught:
        place.launcher.start(sleeper(port=port, listen=listen))
    assert caught.value.hint
    assert place.launcher.state() == ()


def test_two_that_bind_themselves_may_share_their_port(place: Place) -> None:
    port = free_port()
    states = [place.launcher.start(sleeper(n, listen=False, port=port)) for n in ("g-1", "g-2")]
    assert [s.port for s in states] == [port, port]


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[ProcessLauncher]:
    launcher = process_launcher(tmp_path)
    yield launcher
    for state in launcher.state():
        launcher.stop(state.id, grace_s=0.0)


def said(home: Path, name: str = "replica-home-1") -> list[str]:
    log = home / "run" / f"{name}.log"
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    return log.read_text().split()


def test_the_process_gets_socket_and_nonce_and_no_secret(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    state = launcher.start(sleeper())
    words = said(tmp_path)
    assert words[words.index("nonce") + 1] == state.nonce
    assert words[words.index("port") + 1] == str(state.port)
    assert words[words.index("secret") + 1] == "None"
    assert [f"['{state.nonce}',", f"'{state.port}']"] == words[6:8]
    record = tmp_path / "run" / "replica-home-1.json"
    assert record.stat().st_mode & 0o077 == 0
    with socket.create_connection(("127.0.0.1", state.port), timeout=5):
        pass  # connections wait in the backlog before the process accepts


def test_the_former_is_told_of_until_it_ends_and_a_stop_ends_both(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    spec = sleeper(handover=True, argv=(sys.executable, "-c", SLEEPER, "life {epoch}"))
    log = tmp_path / "run" / f"{spec.id}.log"
    first = launcher.start(spec)
    until(lambda: "life 0" in log.read_text())
    second = launcher.start(replace(spec, digest="d2"))
    assert (first.handing_over, second.handing_over) == (False, True)
    with pytest.raises(BackendError, match="another digest"):  # not while two of them run
        launcher.start(replace(spec, digest="d3"))
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not launcher.state()[0].handing_over)
    third = launcher.start(replace(spec, digest="d3"))
    until(lambda: "life 1" in log.read_text() and "life 2" in log.read_text())
    again = process_launcher(tmp_path)  # one that adopts knows of both as well
    assert again.state()[0].handing_over
    again.stop(spec.id, grace_s=0.0)
    assert again.state() == ()
    until(lambda: not (psutil.pid_exists(second.pid) or psutil.pid_exists(third.pid)))


def test_one_that_hands_over_outlives_the_thread_that_started_it(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    # as Envoy does where hot restart is on; 1 is PR_SET_PDEATHSIG
    dies = f"import ctypes; ctypes.CDLL(None).prctl(1, {int(signal.SIGTERM)}); "
    spec = sleeper(
        handover=True, listen=False, argv=(sys.executable, "-c", dies + SLEEPER.strip())
    )
    started: list[int] = []
    thread = threading.Thread(target=lambda: started.append(launcher.start(spec).pid))
    thread.start()
    thread.join()
    log = tmp_path / "run" / f"{spec.id}.log"
    until(lambda: "nonce" in log.read_text())
    (state,) = launcher.state()
    assert (state.alive, [state.pid]) == (True, started)
    assert os.getpgid(state.pid) == state.pid
    launcher.stop(spec.id)
    assert not psutil.pid_exists(state.pid) or psutil.Process(state.pid).status() == "zombie"


def test_one_that_hands_over_and_cannot_be_run_is_an_error(launcher: ProcessLauncher) -> None:
    with pytest.raises(BackendError, match="No such file"):
        launcher.start(sleeper(handover=True, listen=False, argv=("/no/such/program",)))
    assert launcher.state() == ()


def test_stop_ends_the_children_too(launcher: ProcessLauncher, tmp_path: Path) -> None:
    state = launcher.start(sleeper())
    words = said(tmp_path)
    child = int(words[words.index("child") + 1])
    launcher.stop(state.id)
    until(lambda: gone(state.pid) and gone(child))
    check_port(state.port)


def test_children_of_a_crashed_leader_are_ended(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    state = launcher.start(sleeper())
    words = said(tmp_path)
    child = int(words[words.index("child") + 1])
    os.kill(state.pid, signal.SIGKILL)
    until(lambda: not launcher.state()[0].alive)
    assert not gone(child)
    launcher.stop(state.id)
    until(lambda: gone(child))


def test_another_launcher_adopts_what_runs(launcher: ProcessLauncher, tmp_path: Path) -> None:
    state = launcher.start(sleeper())
    other = process_launcher(tmp_path)
    assert other.state() == (state,)
    other.stop(state.id)
    assert launcher.state() == ()


def test_a_process_that_ignores_sigterm_is_killed(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('up', flush=True); time.sleep(600)"
    )
    state = launcher.start(sleeper(argv=(sys.executable, "-c", stubborn)))
    said(tmp_path)
    launcher.stop(state.id, grace_s=0.2)
    assert gone(state.pid)


def test_a_recycled_pid_is_neither_alive_nor_signalled(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    state = launcher.start(sleeper())
    record = tmp_path / "run" / "replica-home-1.json"
    ours, mine = f'"pid":{state.pid},', f'"pid":{os.getpid()},'
    text = record.read_text()
    assert ours in text
    record.write_text(text.replace(ours, mine))
    assert not launcher.state()[0].alive  # this pid did not start when the record says
    launcher.stop(state.id)  # and this test is still here
    assert launcher.state() == ()
    os.killpg(state.pid, signal.SIGKILL)
    until(lambda: gone(state.pid))


def test_what_cannot_be_run_leaves_nothing(launcher: ProcessLauncher, tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(BackendError, match="could not be started"):
        launcher.start(sleeper(argv=(str(tmp_path / "missing"),), port=port))
    assert launcher.state() == ()
    check_port(port)


def test_a_record_that_cannot_be_written_leaves_no_process(tmp_path: Path) -> None:
    class FullDisk(LocalFiles):
        def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:  # noqa: ARG002
            raise BackendError("disk full", where=path)

    clock = SystemClock()
    launcher = ProcessLauncher(FullDisk(tmp_path), clock, Uuid7Ids(clock), tmp_path)
    before = {p.pid for p in psutil.Process().children()}
    with pytest.raises(BackendError, match="disk full"):
        launcher.start(sleeper())
    until(lambda: {p.pid for p in psutil.Process().children()} <= before)


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_DATA"), reason="needs Linux' resource limits")
def test_memory_is_bounded(launcher: ProcessLauncher, tmp_path: Path) -> None:
    greedy = """
import resource
while resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY:
    pass
try:
    bytearray(512 << 20)
    print("had it", flush=True)
except MemoryError:
    print("refused", flush=True)
"""
    argv = (sys.executable, "-c", greedy)
    launcher.start(sleeper(argv=argv, memory_bytes=128 << 20))
    assert said(tmp_path) == ["refused"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux' affinity")
def test_a_process_is_bound_to_its_cores_and_files(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    mine = os.sched_getaffinity(0)
    argv = (
        sys.executable, "-c",
        "import os, threading, time, resource as r\n"
        "while r.getrlimit(r.RLIMIT_NOFILE)[1] != 64 or os.nice(0) != want: pass\n"
        "opened = 0\n"
        "try:\n"
        "    while True: os.dup(0); opened += 1\n"
        "except OSError as error: print(opened < 64, error.errno, flush=True)\n"
        "time.sleep(600)\n",
    )  # fmt: skip
    argv = (*argv[:2], argv[2].replace("want", str(os.nice(0) + 3)))  # half a core: nice 3
    state = launcher.start(sleeper(argv=argv, cpu=0.5, open_files=64))
    words = Path(f"/proc/{state.pid}/status").read_text()
    allowed = next(w for w in words.splitlines() if w.startswith("Cpus_allowed_list"))
    assert allowed.split()[1] == str(min(mine))  # the first of those that nobody is bound to
    assert os.sched_getaffinity(0) == mine
    if len(mine) > 1:
        second = launcher.start(sleeper("replica-home-2", cpu=1.0))
        assert os.sched_getaffinity(second.pid) == {sorted(mine)[1]}
    assert said(tmp_path) == ["True", str(errno.EMFILE)]
    limits = Path(f"/proc/{state.pid}/limits").read_text()
    files = next(w for w in limits.splitlines() if w.startswith("Max open files"))
    assert files.split()[3:5] == ["64", "64"]


def test_a_limit_that_is_refused_leaves_no_process(launcher: ProcessLauncher) -> None:
    before = {p.pid for p in psutil.Process().children()}
    with pytest.raises(BackendError, match="open files could not be limited"):
        launcher.start(sleeper(open_files=1 << 40))
    assert launcher.state() == ()
    until(lambda: {p.pid for p in psutil.Process().children()} <= before)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
