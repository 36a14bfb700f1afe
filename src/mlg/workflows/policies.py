"""The live policy of a service, changed by one writer at a time and recorded."""

import threading
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import msgspec

from mlg.core.ports import Files, GraphStore
from mlg.core.predict import ServingPolicy
from mlg.core.uris import Uri
from mlg.graph import record_services
from mlg.graph.record import Recorder
from mlg.workflows.record import append_once


class Policies:
    """Replaces `services/<service>/policy.json`; each change is a version and an event.

    Args:
        files: The instance's small files.
        store: The event log.
    """

    def __init__(self, files: Files, store: GraphStore) -> None:
        self._files, self._store = files, store
        self._lock = threading.Lock()

    def read(self, service: str) -> ServingPolicy | None:
        """Return the policy in force, or None before the first."""
        content = self._files.read(_path(service))
        return msgspec.json.decode(content, type=ServingPolicy) if content else None

    def change(
        self,
        recorder: Recorder,
        service: str,
        how: Callable[[ServingPolicy], ServingPolicy],
        *,
        reason: str,
        caused_by: Uri | None = None,
    ) -> bool:
        """Put in force what `how` makes of the policy; return whether it is another one.

        The version is given here. The event comes before the file: after a crash between
        them the next change has the same version, and is recorded unless it is the same.

        Raises:
            BackendError: The store or the file could not be written.
        """
        with self._lock:
            old = self.read(service)
            base = old or ServingPolicy(service=service, version="0")
            new = replace(how(base), version=base.version)
            if old is not None and new == old:
                return False
            new = replace(new, version=str(int(base.version) + 1))
            event = record_services.policy_changed(
                recorder,
                key=f"policy:{service}:{new.version}:{_digest(new)}",
                policy=new,
                previous=old.version if old else None,
                reason=reason,
                caused_by=caused_by,
            )
            append_once(self._store, (event,))
            self._files.write(_path(service), msgspec.json.encode(new))
            return True


def _digest(policy: ServingPolicy) -> str:
    return sha256(msgspec.json.encode(policy)).hexdigest()[:8]


def _path(service: str) -> str:
    return f"services/{service}/policy.json"
