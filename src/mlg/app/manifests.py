"""Plan and apply: the manifest on disk against the one in force."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from mlg.app.catalogue import described
from mlg.app.standing import stand
from mlg.automations.check import check_automations, not_acting
from mlg.core.errors import BackendError, ManifestError
from mlg.core.ports import ArtifactStore, Files, GraphStore
from mlg.core.uris import Digest, Uri
from mlg.graph import record_acts
from mlg.graph.record import Recorder
from mlg.graph.record_catalogue import things_described
from mlg.manifest.inactive import inactive_keys
from mlg.manifest.load import Manifest, load_manifest, manifest_from_source
from mlg.manifest.personal import personal_fields
from mlg.manifest.plan import plan
from mlg.manifest.specs import ManifestSpec
from mlg.pipeline.code import stage
from mlg.workflows.policies import Policies
from mlg.workflows.state import APPLIED, Applied, read_applied


class Manifests:
    """The manifest in force, and how another one comes into force.

    Args:
        home: The instance's folder; no part of the manifest's, even beside it.
        files: The instance's small files.
        artifacts: Keeps each applied folder.
        store: The event log.
    """

    def __init__(
        self, home: Path, files: Files, artifacts: ArtifactStore, store: GraphStore
    ) -> None:
        self._home, self._files, self._artifacts, self._store = home, files, artifacts, store
        self._in_force: tuple[Applied, Manifest] | None = None
        self.policies = Policies(files, store)
        """The services' live policies; everything that changes one goes through it."""

    def applied(self) -> Applied | None:
        """Return what is in force, or None before the first apply."""
        applied = read_applied(self._files)
        if applied is None:
            return None
        if self._in_force is None or self._in_force[0] != applied:
            self._in_force = (applied, manifest_from_source(applied.source, applied.path))
        return applied

    def spec(self) -> ManifestSpec | None:
        """Return the manifest in force, typed, or None before the first apply."""
        self.applied()
        return self._in_force[1].spec if self._in_force else None

    def plan(self, path: Path) -> dict[str, Any]:
        """Return what apply would change, and which keys do not act yet."""
        return plan_document(checked_manifest(path), self._current())

    def apply(self, path: Path, recorder: Recorder) -> dict[str, Any]:
        """Put the manifest in force; the same one again changes nothing.

        Args:
            path: The manifest.
            recorder: Makes events in the name of who asked.

        Raises:
            ManifestError: The manifest is wrong; the former one stays in force.
            BackendError: Its folder could not be stored; the former one stays in force.
        """
        manifest = checked_manifest(path)
        document = plan_document(manifest, self._current())
        folder = self._store_folder(path.parent)
        applied = Applied(
            source=manifest.source, digest=manifest.digest, folder=folder, path=path.name
        )
        former, former_spec = self.applied(), self.spec()
        if former == applied:
            return {**document, "folder": folder, "summary": "nothing to change"}
        spec = manifest.spec
        for name, service in spec.services.items():
            self._write_policy(recorder, name, service.confidence)
        self._files.write(APPLIED, msgspec.json.encode(applied))
        removed = [
            recorder.uri(change["kind"], change["name"])
            for change in document["changes"]
            if change["action"] == "retire"
            and change["kind"] in {"dataset", "pipeline", "service"}
        ]
        head = self._store.head().seq
        told = things_described(
            recorder,
            key=f"describe:{folder}:{manifest.digest[:12]}:{head}",
            subject=recorder.uri("commit", "manifest", folder[:12]),
            before=described(former_spec, spec.project),
            after=described(spec, spec.project),
        )
        self._store.append(
            (
                record_acts.manifest_applied(
                    recorder,
                    key=f"apply:{folder}:{manifest.digest[:12]}:{head}",
                    folder=folder,
                    datasets={n: d.source.uri for n, d in spec.datasets.items()},
                    personal=personal_fields(spec),
                    pipelines=sorted(spec.pipelines),
                    services={n: s.model or "" for n, s in spec.services.items()},
                    removed=[Uri(uri) for uri in removed],
                    facts={
                        "manifest": manifest.digest,
                        "file": path.name,
                        "monitors": ", ".join(
                            f"{name} of {one.watch}" for name, one in spec.monitors.items()
                        ),
                    },
                ),
                *([told] if told else []),
                *stand(
                    self._files, recorder, spec, former_spec, f"{manifest.digest[:12]}:{head}"
                ),
            )
        )
        count = len(document["changes"])
        summary = f"{count} changes applied" if count else "code changed; manifest as before"
        return {**document, "folder": folder, "summary": summary}

    def _current(self) -> Manifest | None:
        self.applied()
        return self._in_force[1] if self._in_force else None

    def _store_folder(self, folder: Path) -> Digest:
        """Store the manifest's folder without hidden files and caches.

        Raises:
            BackendError: It could not be read or stored.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="mlg-apply-") as beside:
                copy = Path(beside) / "folder"
                copy.mkdir()
                stage(folder, copy, without=self._home)
                return self._artifacts.put(copy)
        except OSError as error:
            raise BackendError(
                f"the manifest's folder could not be stored: {error}",
                where=str(folder),
                hint="check that its files can be read and that the disk has room.",
            ) from error

    def _write_policy(self, recorder: Recorder, service: str, confidence: Any) -> None:
        abstain = confidence.abstain_below if confidence else 0.0
        explore = confidence.explore_bp if confidence else 100
        self.policies.change(
            recorder,
            service,
            lambda old: replace(old, abstain_below=abstain, explore_bp=explore),
            reason="manifest applied",
        )


def checked_manifest(path: Path) -> Manifest:
    """Return the manifest, its rules checked too.

    Raises:
        ManifestError: Something in it is wrong, with its place.
    """
    manifest = load_manifest(path)
    check_automations(manifest)
    folder = path.resolve().parent
    for name, service in sorted(manifest.spec.services.items()):
        listed = service.fallback_list
        if listed is None:
            continue
        inside = (folder / listed).resolve().is_relative_to(folder)
        if not inside or not (folder / listed).is_file():
            raise ManifestError(
                f"expected a file in the manifest's folder, got {listed!r}",
                where=manifest.where("services", name, "fallback_list"),
                hint="write item ids best first, as a JSON list.",
            )
    return manifest


def plan_document(manifest: Manifest, current: Manifest | None) -> dict[str, Any]:
    """Return the plan as `mlg plan --json` prints it."""
    changes = plan(current, manifest)
    return {
        "project": manifest.spec.project,
        "digest": manifest.digest,
        "changes": [msgspec.to_builtins(change) for change in changes],
        "inactive": [
            *(msgspec.to_builtins(note) for note in inactive_keys(manifest)),
            *({"key": k, "where": w, "why": y} for k, w, y in not_acting(manifest)),
        ],
    }
