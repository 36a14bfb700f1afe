"""The live policy of a service: one small file, replaced by rename, polled off the hot path."""

import os
from pathlib import Path

import msgspec

from mlg.core.predict import ServingPolicy


class PolicyFile:
    """The newest valid policy of one service; an invalid file keeps the last one.

    Args:
        path: `<home>/services/<service>/policy.json`; it may be missing.
        service: The service that the policy must name.
    """

    def __init__(self, path: Path, service: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.current = ServingPolicy(service=service, version="default")
        self.errors = 0
        """Invalid or unreadable files met so far."""
        self.problem = ""
        """What was wrong with the newest file; empty when it is in force."""

    def poll(self) -> bool:
        """Read the file if it changed; return whether another policy is now in force."""
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            return False
        except OSError as error:
            return self._reject(str(error))
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            policy = msgspec.json.decode(self._path.read_bytes(), type=ServingPolicy)
        except (msgspec.MsgspecError, ValueError, OSError) as error:
            return self._reject(str(error))
        if policy.service != self.current.service:
            return self._reject(
                f"expected a policy of {self.current.service!r}, got {policy.service!r}"
            )
        changed = policy != self.current
        self.current, self.problem = policy, ""
        return changed

    def _reject(self, problem: str) -> bool:
        self.errors += 1
        self.problem = problem
        return False
