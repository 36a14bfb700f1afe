"""Processes that only seem to run, for tests and the simulator."""

from dataclasses import replace
from typing import TYPE_CHECKING

from mlg.core.clock import Clock
from mlg.core.errors import BackendError
from mlg.core.ports import Ids
from mlg.core.processes import ProcessSpec, ProcessState

if TYPE_CHECKING:
    from mlg.core.ports import Launcher


class MemoryLauncher:
    """Keeps states in a dict; `crash` ends a process as a fault would.

    Args:
        clock: Start times.
        ids: Nonces.
    """

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock, self._ids = clock, ids
        self._states: dict[str, ProcessState] = {}
        self._pids = 1_000
        self._ports = 40_000
        self.taken: set[int] = set()
        """Ports that somebody else listens on."""

    def start(self, spec: ProcessSpec) -> ProcessState:
        there = self._states.get(spec.id)
        if there is not None and there.alive:
            if there.digest == spec.digest:
                return there
            if not spec.handover:
                raise BackendError(
                    f"{spec.id} runs under another digest (pid {there.pid})",
                    where=spec.id,
                    hint="stop it first",
                )
        self._pids += 1
        state = ProcessState(
            id=spec.id,
            kind=spec.kind,
            service=spec.service,
            version=spec.version,
            digest=spec.digest,
            pid=self._pids,
            port=self._port(spec),
            nonce=self._ids.new_id(),
            started_at=self._clock.now(),
            alive=True,
            health_path=spec.health_path,
        )
        self._states[spec.id] = state
        return state

    def stop(self, id: str, *, grace_s: float = 5.0) -> None:  # noqa: A002, ARG002
        self._states.pop(id, None)

    def state(self) -> tuple[ProcessState, ...]:
        return tuple(state for _, state in sorted(self._states.items()))

    def crash(self, name: str, exit_code: int = -9) -> None:
        """End a process without being asked to."""
        self._states[name] = replace(self._states[name], alive=False, exit_code=exit_code)

    def _port(self, spec: ProcessSpec) -> int:
        if not spec.port:
            self._ports += 1
            return self._ports
        ours = {s.port for s in self._states.values() if s.alive}
        if spec.port in self.taken or (spec.listen and spec.port in ours):
            raise BackendError(
                f"port {spec.port} is in use",
                where=f"127.0.0.1:{spec.port}",
                hint="end what listens there, or choose another port",
            )
        return spec.port


if TYPE_CHECKING:
    from mlg.adapters.ids_uuid7 import Uuid7Ids
    from mlg.core.clock import ManualClock

    _: Launcher = MemoryLauncher(ManualClock(), Uuid7Ids(ManualClock()))
