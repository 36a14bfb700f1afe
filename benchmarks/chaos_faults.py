"""What is done to the instance, one context manager a fault: it begins, lasts, and ends."""  # noqa: INP001

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from chaos_lab import HELD, SERVICE, Lab, until

from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.router_envoy import admin_url

REPLICAS = f"replica-{SERVICE}-"
_LEAK_BYTES, _ROOM_BYTES = 4 << 20, 256 << 20


@dataclass(frozen=True)
class Case:
    """One fault, and how its window runs."""

    name: str
    what: str
    act: Callable[[Lab], AbstractContextManager[None]]
    hold_s: float = 0.0
    """How long it lasts; 0: it is done at once, and what follows is the product's."""
    ends: Callable[[Lab], bool] | None = None
    """Ends it before `hold_s`: what the product should do about it was done."""
    planned: bool = False
    prepare: Callable[[Lab], None] | None = None


@contextmanager
def calm(lab: Lab) -> Iterator[None]:
    """Do nothing."""
    del lab
    yield


@contextmanager
def kill_one(lab: Lab) -> Iterator[None]:
    """Kill -9 one of the two replicas."""
    os.kill(next(iter(lab.pids(REPLICAS).values())), signal.SIGKILL)
    yield


@contextmanager
def kill_all(lab: Lab) -> Iterator[None]:
    """Kill -9 both replicas at once."""
    for pid in lab.pids(REPLICAS).values():
        os.kill(pid, signal.SIGKILL)
    yield


@contextmanager
def stop_one(lab: Lab) -> Iterator[None]:
    """SIGSTOP one replica; nobody lets it go on."""
    os.kill(next(iter(lab.pids(REPLICAS).values())), signal.SIGSTOP)
    yield


def wrong(**how: Any) -> Callable[[Lab], AbstractContextManager[None]]:
    """Return the fault that every replica answers so wrongly."""

    @contextmanager
    def act(lab: Lab) -> Iterator[None]:
        lab.faults({"*": how})
        yield
        lab.faults({})

    return act


def to_canary(lab: Lab) -> None:
    """Bring another version to 20 % of the traffic, where it stays."""
    version = lab.next_version(HELD)

    def there() -> bool:
        now = lab.rollout()
        if now.get("candidate") == version and now["state"] in {"failed", "rolled_back"}:
            raise RuntimeError(f"the canary is not to be had: {now}")
        return now.get("candidate") == version and now.get("share_bp", 0) >= 2_000

    until(there, 90, "the canary's 20 %")


def canary(share: float) -> Callable[[Lab], AbstractContextManager[None]]:
    """Return the fault that the canary fails so often; the stable version is well."""

    @contextmanager
    def act(lab: Lab) -> Iterator[None]:
        lab.faults({lab.rollout()["candidate"]: {"errors": share}})
        yield
        if not taken_back(lab):
            lab.mlg("rollout", "rollback", SERVICE)
        until(lambda: taken_back(lab), 60, "the way back")
        lab.faults({})

    return act


def taken_back(lab: Lab) -> bool:
    """Whether the newest rollout was taken back."""
    return lab.rollout()["state"] in {"rolled_back", "failed"}


@contextmanager
def memory(lab: Lab) -> Iterator[None]:
    """Let both replicas leak until RLIMIT_DATA, the launcher's own limit, says no."""
    for pid in lab.pids(REPLICAS).values():
        fields = Path(f"/proc/{pid}/status").read_text().split("VmData:")[1].split()
        limit = int(fields[0]) * 1024 + _ROOM_BYTES
        psutil.Process(pid).rlimit(psutil.RLIMIT_DATA, (limit, limit))
    lab.faults({"*": {"keeps_bytes": _LEAK_BYTES}})
    yield
    lab.faults({})


@contextmanager
def crash_loop(lab: Lab) -> Iterator[None]:
    """Kill one replica, and let every process of its version end as it starts."""
    lab.faults({"*": {"fails_to_start": True}})
    os.kill(next(iter(lab.pids(REPLICAS).values())), signal.SIGKILL)
    yield
    lab.faults({})


@contextmanager
def corrupt(lab: Lab) -> Iterator[None]:
    """Flip one byte of the serving model in the store, and kill one replica."""
    model = lab.artifact() / "model.json"
    good = model.read_bytes()
    model.chmod(0o644)
    model.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    os.kill(next(iter(lab.pids(REPLICAS).values())), signal.SIGKILL)
    yield
    model.write_bytes(good)
    model.chmod(0o444)
    lab.mlg("restart", SERVICE)


@contextmanager
def gateway_kill(lab: Lab) -> Iterator[None]:
    """Kill -9 one of the two gateways."""
    os.kill(lab.pids("gateway-")["gateway-1"], signal.SIGKILL)
    yield


@contextmanager
def gateway_end(lab: Lab) -> Iterator[None]:
    """Close one gateway's listener, wait until it is idle, and end it by SIGTERM."""
    url = admin_url(lab.home / "gateway", "gateway-2")
    HttpNetwork().request("POST", f"{url}/drain_listeners", timeout_s=2.0)
    time.sleep(2.0)
    os.kill(lab.pids("gateway-")["gateway-2"], signal.SIGTERM)
    yield


@contextmanager
def hot_restart(lab: Lab) -> Iterator[None]:
    """Have both gateways hand over, one after the other.

    Raises:
        RuntimeError: They did not.
    """
    before = lab.pids("gateway-")
    lab.mlg("restart", "--gateways")
    yield
    after = lab.pids("gateway-")
    if before.keys() != after.keys() or any(after[name] == pid for name, pid in before.items()):
        raise RuntimeError(f"the gateways did not hand over: {before}, {after}")


@contextmanager
def control_dead(lab: Lab) -> Iterator[None]:
    """Kill -9 the control plane, and start it again at the end."""
    os.kill(int(lab.control()["pid"]), signal.SIGKILL)
    yield
    lab.up()


@contextmanager
def half_written(lab: Lab) -> Iterator[None]:
    """Cut every file of the gateways' configuration in half; then replace the replicas."""
    xds = lab.home / "gateway" / "xds"
    for path in [*xds.glob("*.json")]:
        good = path.read_bytes()
        half = path.with_name(f".half-{path.name}")
        half.write_bytes(good[: len(good) // 2])
        half.replace(path)
    yield
    lab.mlg("restart", SERVICE)


@contextmanager
def disk_full(lab: Lab) -> Iterator[None]:
    """Fill the home's file system to its last byte, then make room again.

    Raises:
        NotRunError: The home is on no file system of its own.
    """
    if not os.path.ismount(lab.home):
        raise NotRunError("a small file system cannot be mounted here")
    filler = lab.home / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65_536)
                file.flush()
        except OSError:
            os.truncate(filler, os.path.getsize(filler) // 4_096 * 4_096)
    yield
    filler.unlink()


class NotRunError(Exception):
    """The fault cannot be made here; the text says why."""


@contextmanager
def restart(lab: Lab) -> Iterator[None]:
    """Have the replicas replaced one after the other."""
    lab.mlg("restart", SERVICE)
    yield


@contextmanager
def swap(lab: Lab) -> Iterator[None]:
    """Release another version from training to 100 %.

    Raises:
        RuntimeError: It did not get there.
    """
    lab.next_version(50)
    yield
    now = lab.rollout()
    if now["candidate"] != lab.newest or now["state"] not in {"swapped", "done"}:
        raise RuntimeError(f"the swap did not happen: {now['explanation']}")


def swapped(lab: Lab) -> bool:
    """Whether the newest version has all of the traffic."""
    now = lab.rollout()
    return now["candidate"] == lab.newest and now["state"] in {"swapped", "done", "failed"}


CASES = (
    Case("calm", "nothing", calm, 5),
    Case("kill-one", "kill -9 of one replica", kill_one),
    Case("nan", "every answer of the model is NaN", wrong(nan=1.0), 5),
    Case("short", "every answer of the model has one item", wrong(short=1.0), 5),
    Case("slow", "every replica ten times as slow", wrong(slower=10.0), 5),
    Case("slow-300ms", "every replica 300 ms slower", wrong(delay_ms=300.0), 5),
    Case("canary-100", "canary: 100 % errors", canary(1.0), 30, taken_back, prepare=to_canary),
    Case("kill-all", "kill -9 of all replicas", kill_all),
    Case("half-written", "gateway configuration cut in half", half_written, 5),
    Case("gateway-kill", "kill -9 of one gateway", gateway_kill),
    Case("restart", "mlg restart", restart, planned=True),
    Case("canary-20", "canary: 20 % errors", canary(0.2), 45, taken_back, prepare=to_canary),
    Case("stop-one", "SIGSTOP of one replica", stop_one),
    Case("disk-full", "home's file system full", disk_full, 5),
    Case("control-dead", "control plane dead", control_dead, 60),
    Case("memory", "both replicas leak to their memory limit", memory, 8),
    Case("canary-5", "canary: 5 % errors", canary(0.05), 60, taken_back, prepare=to_canary),
    Case("crash-loop", "one replica killed, none starts", crash_loop, 10),
    Case("swap", "another version to 100 %", swap, 60, swapped, planned=True),
    Case("corrupt", "artifact altered, one replica killed", corrupt, 5),
    Case("gateway-hot", "hot restart of both gateways", hot_restart, 15, planned=True),
    Case("gateway-end", "one gateway drained and ended", gateway_end, planned=True),
)  # fmt: skip
