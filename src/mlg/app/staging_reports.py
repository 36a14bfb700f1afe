"""The newest report of each service's staging: where it lies, and what it says."""

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.app.staging import Staging
from mlg.app.staging_clock import opening_now
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.nodes import Attr
from mlg.core.ports import Files
from mlg.core.uris import Digest
from mlg.manifest.specs import ManifestSpec
from mlg.release.rollout_types import RolloutState
from mlg.release.staging import StagingReport
from mlg.workflows.state import read_wanted


def run_staging(
    staging: Staging,
    files: Files,
    spec: ManifestSpec | None,
    state: RolloutState,
    artifact: str,
    now: datetime,
) -> StagingReport:
    """Return what the battery says of a rollout's version, and keep it as the newest report.

    Args:
        staging: Asks.
        files: The instance's small files.
        spec: The manifest in force.
        state: The rollout.
        artifact: Digest of the version's model.
        now: Wall time.

    Raises:
        BackendError: No replica of the version is ready, or a file is damaged.
    """
    opening = None if state.waived else opening_now(spec, state, now)
    versions = read_wanted(files, state.service).versions
    found = staging.run(
        state.service,
        state.candidate,
        artifact,
        spec.services.get(state.service) if spec else None,
        production=next((one for one in versions if one.version == state.stable), None),
        until=opening.ends if opening else None,
        about=about(state, now),
    )
    keep_report(files, state, found)
    return found


def about(state: RolloutState, now: datetime) -> dict[str, Attr]:
    """Return what the report and the graph say of when staging ran, in order.

    Args:
        state: The rollout.
        now: Wall time at which the tests begin.
    """
    window, since = state.plan.window, state.scheduled_at
    return {
        "rollout": state.id,
        "window": window.words if window else "always",
        "waited_s": (now - since).total_seconds() if since else 0.0,
        "windows_missed": state.windows_missed,
        "waived": state.waived,
    }


def keep_report(files: Files, state: RolloutState, found: StagingReport) -> None:
    """Keep what the newest report of a service says, and where its page lies."""
    document = {
        "service": state.service,
        "version": state.candidate,
        "verdict": found.verdict,
        "reason": found.reason,
        "report": found.document,
        "results": [
            {"test": r.name, "verdict": r.verdict, "reason": r.reason, **dict(r.facts)}
            for r in found.results
        ],
        **dict(found.about),
    }
    files.write(_path(state.service), msgspec.json.encode(document))


def report_of(home: Path, service: str) -> tuple[dict[str, Any], Path]:
    """Return the newest report of a service's staging, and its page.

    Raises:
        NotFoundError: Nothing of the service was tested here, or its page is gone.
        BackendError: A file is damaged.
    """
    content = LocalFiles(home).read(_path(service))
    if content is None:
        raise NotFoundError(
            f"no staging of {service!r} yet", hint="mlg rollout status tells what it waits for."
        )
    try:
        found: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
        digest = Digest(found["report"])
    except (msgspec.MsgspecError, KeyError) as error:
        raise BackendError(f"cannot be read: {error!r}", where=_path(service)) from error
    return found, LocalArtifacts(home / "artifacts").open(digest)


def _path(service: str) -> str:
    return f"services/{service}/staging.json"
