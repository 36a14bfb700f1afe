"""Commit hooks: verified, recorded, followed by runs of the pipelines that they touch."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import msgspec

from mlg.app.manifests import Manifests
from mlg.app.pipeline_runs import run_id_of, run_request
from mlg.app.touched import files_by_pipeline
from mlg.automations.hooks import Hook, Refusal, pipelines_for, verify_hook
from mlg.core.clock import Clock
from mlg.core.errors import ConflictError, NotFoundError
from mlg.core.events import Event
from mlg.core.ports import ArtifactStore, Files, GraphStore, Secrets
from mlg.core.principal import Principal
from mlg.graph import record_automations
from mlg.graph.record import Recorder
from mlg.workflows import durable
from mlg.workflows.record import append_once
from mlg.workflows.train import Train, TrainRequest

_SEEN: Final = "hooks/"
_REFUSALS_PER_S: Final = 1.0


class CommitHooks:
    """Implements the API's `Hooks`.

    Args:
        secret: `secret://…` of the signing key; None takes no hook.
        secrets: Resolves it at use.
        files: Keeps which hooks were followed.
        clock: Wall time: senders know nothing of event time.
        store: The event log.
        manifests: The pipelines in force.
        artifacts: Keeps the folder in force, with the pipelines' files.
        train: Runs them.
        recorder: Gives a recorder in the name of an actor.
    """

    def __init__(
        self,
        *,
        secret: str | None,
        secrets: Secrets,
        files: Files,
        clock: Clock,
        store: GraphStore,
        manifests: Manifests,
        artifacts: ArtifactStore,
        train: Train,
        recorder: Callable[[str], Recorder],
    ) -> None:
        self._secret, self._secrets, self._files, self._clock = secret, secrets, files, clock
        self._store, self._manifests, self._train = store, manifests, train
        self._artifacts, self._recorder = artifacts, recorder
        self._owed = _Owed(files)
        self._lock = threading.Lock()
        self._refused_s = float("-inf")

    def commit(
        self, headers: Mapping[str, str], body: bytes, principal: Principal
    ) -> tuple[int, dict[str, Any]]:
        """Take one hook; see `api.operations.Hooks`.

        Raises:
            NotFoundError: No secret for hooks is set, or it cannot be found.
        """
        if self._secret is None:
            raise NotFoundError(
                "no secret for hooks is set, so none is taken",
                where="MLG_HOOK_SECRET",
                hint="set MLG_HOOK_SECRET=secret://env/NAME before `mlg up`.",
            )
        secret = self._secrets.resolve(self._secret)
        with self._lock:
            hook = verify_hook(headers, body, secret, _Seen(self._files), self._clock.now())
            if isinstance(hook, Refusal):
                self._tell_refused(hook, principal)
                return hook.http_status, _answer(hook.cause, hook.what, hook.id, {})
            runs, refused = self._follow(hook)
            on_branch = self._on_branch(hook)
        words = f"runs started: {len(runs)}" if runs or refused else _why_none(hook, on_branch)
        words = "; ".join((words, *refused))
        return 202, _answer("accepted", words, hook.id, runs)

    def _on_branch(self, hook: Hook) -> bool:
        """Whether a pipeline starts on commits to the hook's branch."""
        spec = self._manifests.spec()
        found = spec.pipelines.values() if spec else ()
        return any(one.on is not None and one.on.commit == hook.branch for one in found)

    def _follow(self, hook: Hook) -> tuple[dict[str, str], tuple[str, ...]]:
        """Record the hook and start its runs; a crash between is made good by a repeat.

        Returns:
            Run by pipeline, and why others were refused: they are in quarantine.
        """
        spec = self._manifests.spec()
        hook = self._owed.added_to(hook)
        files = files_by_pipeline(self._manifests, self._artifacts)
        names = pipelines_for(hook, spec, files) if spec else ()
        wanted: dict[str, TrainRequest] = {}
        refused: dict[str, ConflictError] = {}
        for name in names:
            try:
                run_id = run_id_of(f"{hook.id}:{name}")
                wanted[name] = run_request(self._manifests, self._files, name, run_id)
            except ConflictError as error:
                refused[name] = error
        runs = {name: request.run_id for name, request in wanted.items()}
        recorder = self._recorder(f"hook:{hook.sender}")
        facts = {
            "branch": hook.branch or "",
            "author": hook.author,
            "sender": hook.sender,
            "delivery": hook.delivery,
            "tests_passed": hook.tests_passed,
            "paths_changed": None if hook.changed_paths is None else len(hook.changed_paths),
            **{f"refused.{name}": str(error) for name, error in refused.items()},
        }
        append_once(
            self._store,
            (
                record_automations.hook_accepted(
                    recorder,
                    key=f"hook:{hook.id}",
                    repository=hook.repository,
                    commit=hook.commit,
                    facts=facts,
                    runs=runs,
                ),
            ),
        )
        for request in wanted.values():
            durable.start_run(self._train, request)
        if self._on_branch(hook):
            self._owed.keep(hook)
        self._files.write(_seen_path(hook.id), b"")
        return runs, tuple(str(error) for error in refused.values())

    def _tell_refused(self, refusal: Refusal, principal: Principal) -> None:
        """Record a refusal; a flood of them is thinned to one a second."""
        if refusal.cause == "ignored":
            return
        now_s = self._clock.monotonic_s()
        if now_s - self._refused_s < 1.0 / _REFUSALS_PER_S:
            return
        self._refused_s = now_s
        recorder = self._recorder(principal.subject)
        event: Event = record_automations.hook_refused(
            recorder,
            key=f"hook refused:{recorder.ids.new_id()}",
            outcome=refusal.cause,
            reason=refusal.what,
            hook_id=refusal.id,
        )
        try:
            self._store.append((event,))
        except ConflictError:
            return


class _Seen:
    """The ids of the hooks that were followed."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def __contains__(self, hook_id: object) -> bool:
        return isinstance(hook_id, str) and self._files.read(_seen_path(hook_id)) is not None


class _Owed:
    """What commits changed whose tests did not pass, until a later one's do on that branch."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def added_to(self, hook: Hook) -> Hook:
        """Return the hook with what is owed among its changed paths."""
        content = self._files.read(_owed_path(hook))
        if content is None:
            return hook
        try:
            owed = msgspec.json.decode(content, type=tuple[str, ...] | None)
        except msgspec.MsgspecError:
            owed = None  # a damaged file: nobody knows what changed, so everything may have
        known = owed is not None and hook.changed_paths is not None
        paths = tuple(sorted({*(owed or ()), *(hook.changed_paths or ())})) if known else None
        return replace(hook, changed_paths=paths)

    def keep(self, hook: Hook) -> None:
        """Keep what the hook changed, or nothing more once its tests passed."""
        if hook.tests_passed:
            self._files.remove(_owed_path(hook))
        else:
            self._files.write(_owed_path(hook), msgspec.json.encode(hook.changed_paths))


def _owed_path(hook: Hook) -> str:
    name = sha256(f"{hook.repository}\n{hook.ref}".encode()).hexdigest()[:32]
    return f"hooks-owed/{name}.json"


def _seen_path(hook_id: str) -> str:
    return f"{_SEEN}{hook_id.replace(':', '-')}"


def _why_none(hook: Hook, on_branch: bool) -> str:
    if hook.tests_passed is not True:
        return "noted; its tests are not known to have passed, so nothing was started"
    if on_branch:
        return "noted; it changes no file of a pipeline that starts on commits to its branch"
    return f"noted; no pipeline starts on commits to {hook.branch or hook.ref!r}"


def _answer(outcome: str, reason: str, hook_id: str, runs: Mapping[str, str]) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "reason": reason,
        "hook_id": hook_id,
        "runs": list(runs.values()),
        "pipelines": list(runs),
    }
