"""A run that is not ours, recorded as it goes: data, parameters, metrics, models."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from mlg.client.sources import digested, without_secrets
from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import LifecycleError, ManifestError

Scalar = str | int | float | bool | None

_LONGEST_NAME: Final = 200
_LONGEST_TEXT: Final = 1_000
_MOST: Final = 500
_EXACT: Final = 2**53

logger = logging.getLogger("mlg.client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A table or a file that a run reads or writes; made by `Client.dataset`."""

    uri: str
    version: str | None = None
    digest: str | None = None
    rows: int | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the dataset as a record has it."""
        told = {"version": self.version, "digest": self.digest, "rows": self.rows}
        return {"uri": self.uri, **{k: v for k, v in told.items() if v is not None}}


def dataset_of(
    uri: str, version: str | None = None, digest: str | None = None, rows: int | None = None
) -> Dataset:
    """Return a dataset, its names checked; user and password in an address are left out.

    Raises:
        ManifestError: A name is empty or too long, or the digest is none.
    """
    _name(uri, "dataset", longest=_LONGEST_TEXT)
    if version is not None:
        _name(version, "version")
    if digest is not None and (len(digest) != 64 or not set(digest) <= set("0123456789abcdef")):
        raise ManifestError(
            f"expected a sha256 as 64 hex characters, got {digest[:80]!r}", where="digest"
        )
    return Dataset(uri=without_secrets(uri), version=version, digest=digest, rows=rows)


class RecordedRun:
    """One run, from `with client.record_run(...)` to its end.

    Leaving the `with` by an error records the run as failed, and the error goes on.

    Args:
        name: What is trained; the pipeline that this is a run of.
        put: Takes each record.
        ended: Called once after the last record.
        clock: Where times come from.
        project: Empty: the control plane's.
        run_id: UUID of the run.
    """

    def __init__(
        self,
        name: str,
        *,
        put: Callable[[dict[str, Any]], None],
        ended: Callable[[], None],
        clock: Clock,
        project: str = "",
        run_id: str = "",
    ) -> None:
        self.name = _name(name, "name")
        self.run_id = run_id or str(uuid4())
        self._put, self._ended, self._clock, self._project = put, ended, clock, project
        self._inputs: list[Dataset] = []
        self._outputs: list[Dataset] = []
        self._params: dict[str, Scalar] = {}
        self._metrics: dict[str, float] = {}
        self._begun_s: float | None = None

    def begin(
        self,
        inputs: Sequence[Dataset],
        params: Mapping[str, Scalar],
        code: Mapping[str, Any] | None,
        by: str,
    ) -> Self:
        """Record that the run began.

        Raises:
            LifecycleError: It could be neither sent nor kept, or a name is wrong.
        """
        told = _scalars(params, "params")
        self._inputs += inputs
        self._begun_s = self._clock.monotonic_s()
        self._record(
            "run_started",
            inputs=[one.as_record() for one in inputs],
            params=told,
            code=None if code is None else dict(code),
            by=by,
        )
        self._params |= told
        return self

    def log(
        self,
        params: Mapping[str, Scalar] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Record parameters and metrics; the newest value of a name counts.

        Raises:
            ManifestError: A name is empty or too long, or a value is no finite number.
            LifecycleError: It could be neither sent nor kept.
        """
        told, numbers = _scalars(params or {}, "params"), _numbers(metrics or {})
        self._record("run_logged", params=told, metrics=numbers)
        self._params |= told
        self._metrics |= numbers

    def read(self, dataset: Dataset) -> None:
        """Record data that the run read.

        Raises:
            LifecycleError: It could be neither sent nor kept.
        """
        self._record("run_logged", inputs=[dataset.as_record()])
        self._inputs.append(dataset)

    def wrote(self, dataset: Dataset) -> None:
        """Record data that the run wrote.

        Raises:
            LifecycleError: It could be neither sent nor kept.
        """
        self._record("run_logged", outputs=[dataset.as_record()])
        self._outputs.append(dataset)

    def model(
        self,
        name: str,
        path: str | Path | None = None,
        *,
        version: str | None = None,
        params: Mapping[str, Scalar] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        """Record a version of a model that the run made, trained on what it read so far.

        Args:
            name: The model.
            path: Its file or folder, of which the digest is recorded; nothing is copied.
            version: Its version; without one, the first 12 characters of the digest, or of
                the run's id when there is no file.
            params: Its parameters; what was logged of the run counts too.
            metrics: Its metrics, likewise.

        Returns:
            The version.

        Raises:
            NotFoundError: There is no such file or folder.
            ManifestError: A name or a value is wrong.
            LifecycleError: It could be neither sent nor kept.
        """
        found = digested(Path(path)) if path is not None else None
        made = version or (found.digest[:12] if found else self.run_id.replace("-", "")[:12])
        self._record(
            "model_registered",
            model=_name(name, "model"),
            version=_name(made, "version"),
            digest=found.digest if found else None,
            size_bytes=found.size_bytes if found else None,
            trained_on=[one.as_record() for one in self._inputs],
            params=self._params | _scalars(params or {}, "params"),
            metrics=self._metrics | _numbers(metrics or {}),
        )
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record how the run ended; an error goes on."""
        del traceback
        seconds = self._clock.monotonic_s() - (self._begun_s or 0.0)
        if kind is None:
            self._record(
                "run_finished",
                seconds=seconds,
                inputs=[one.as_record() for one in self._inputs],
                outputs=[one.as_record() for one in self._outputs],
            )
        else:
            message = str(error).replace("\0", "")[:_LONGEST_TEXT]
            name = kind.__name__[:_LONGEST_NAME]
            try:
                self._record("run_failed", seconds=seconds, error=name, message=message)
            except LifecycleError as lost:  # the script's own error is what must be seen
                logger.warning("the end of run %s is not recorded: %s", self.run_id, lost)
        self._ended()

    def _record(self, kind: str, **told: Any) -> None:
        kept = {key: value for key, value in told.items() if value not in (None, [], {}, "")}
        self._put(
            {
                "kind": kind,
                "key": uuid4().hex,
                "at": _time(self._clock.now()),
                "run_id": self.run_id,
                "name": self.name,
                **({"project": self._project} if self._project else {}),
                **kept,
            }
        )


def _time(at: datetime) -> str:
    return rfc3339(at)


def _name(text: str, what: str, longest: int = _LONGEST_NAME) -> str:
    if not 0 < len(text) <= longest or "\0" in text:
        raise ManifestError(
            f"expected 1 to {longest} characters without NUL, got {len(text)}: {text[:40]!r}",
            where=what,
        )
    return text


def _scalars(found: Mapping[str, Scalar], where: str) -> dict[str, Scalar]:
    _most(found, where)
    return {_name(key, where): _scalar(value, f"{where}.{key}") for key, value in found.items()}


def _numbers(found: Mapping[str, float]) -> dict[str, float]:
    _most(found, "metrics")
    return {_name(key, "metrics"): _number(value, key) for key, value in found.items()}


def _most(found: Mapping[str, Any], where: str) -> None:
    if len(found) > _MOST:
        raise ManifestError(f"at most {_MOST} at a time, got {len(found)}", where=where)


def _scalar(value: Any, where: str) -> Scalar:
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT or "\0" in value:
            raise ManifestError(
                f"a text may have {_LONGEST_TEXT} characters and no NUL, got {len(value)}",
                where=where,
            )
        return value
    if value is None or isinstance(value, bool):
        return value
    return _number(value, where)


def _number(value: Any, where: str) -> float:
    """Return a finite number as JSON has it, also one of numpy's.

    Raises:
        ManifestError: It is no number, or one that JSON does not have.
    """
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise ManifestError(
            f"expected a number, got {type(value).__name__}",
            where=where,
            hint="keep what is nested in a file, or as text.",
        )
    if not math.isfinite(plain) or (isinstance(plain, int) and abs(plain) >= _EXACT):
        raise ManifestError(
            f"expected a finite number below 2**53, got {plain}"[:200], where=where
        )
    return plain
