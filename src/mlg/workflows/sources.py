"""What is wrong with data: sources as runs last found them, and pipelines in quarantine."""

from collections.abc import Collection
from typing import Literal, TypeVar

import msgspec

from mlg.core.errors import BackendError, ContractError, LifecycleError
from mlg.core.ports import Files

_SOURCES = "sources"
_HELD = "quarantine"
_Kept = TypeVar("_Kept", bound=msgspec.Struct)


class SourceFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why the last run could not use a source."""

    kind: Literal["broken", "late"]
    """`broken`: the contract is not kept, freshness included; `late`: it could not be read."""
    reason: str
    run: str


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """An incident because of which nothing is learned from a service's traffic."""

    incident: str
    reason: str


def note_source(files: Files, dataset: str, run: str, error: LifecycleError | None) -> None:
    """Keep how a run found a source; None is in order and forgets what was wrong."""
    path = f"{_SOURCES}/{dataset}.json"
    if error is None:
        if files.read(path) is not None:
            files.remove(path)
        return
    kind = "broken" if isinstance(error, ContractError) else "late"
    files.write(path, msgspec.json.encode(SourceFault(kind=kind, reason=str(error), run=run)))


def source_faults(files: Files, datasets: Collection[str]) -> dict[str, SourceFault]:
    """Return what is wrong, by dataset; those in order are left out.

    Raises:
        BackendError: A file is damaged.
    """
    found = {name: _read(files, f"{_SOURCES}/{name}.json", SourceFault) for name in datasets}
    return {name: fault for name, fault in found.items() if fault}


def hold(files: Files, service: str, quarantine: Quarantine) -> None:
    """Begin a quarantine of a service; a later one takes the place of an earlier one."""
    files.write(f"{_HELD}/{service}.json", msgspec.json.encode(quarantine))


def lift(files: Files, service: str, incident: str) -> None:
    """End the quarantine that this incident began; another one's stays."""
    found = _read(files, f"{_HELD}/{service}.json", Quarantine)
    if found is not None and found.incident == incident:
        files.remove(f"{_HELD}/{service}.json")


def held(files: Files, services: Collection[str]) -> Quarantine | None:
    """Return the quarantine of the first of the services that is in one, or None.

    Raises:
        BackendError: A file is damaged.
    """
    found = (_read(files, f"{_HELD}/{name}.json", Quarantine) for name in sorted(services))
    return next((one for one in found if one), None)


def _read(files: Files, path: str, kind: type[_Kept]) -> "_Kept | None":
    content = files.read(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise BackendError(
            f"the file is damaged: {error}",
            where=path,
            hint="remove it; the next run tells anew.",
        ) from error
