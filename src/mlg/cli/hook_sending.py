"""A commit's hook: made, signed, sent again until it is taken or refused."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mlg.adapters.git_local import GitCommit
from mlg.adapters.secrets_local import LocalSecrets
from mlg.automations.hook_payloads import MAX_PATHS
from mlg.automations.hooks import signature
from mlg.client.wire import error_of
from mlg.core.errors import (
    BackendError,
    DeniedError,
    LifecycleError,
    ManifestError,
    NotFoundError,
)
from mlg.core.ports import Network

PATH: Final = "/api/v1/hooks/commit"
TESTS: Final[dict[str, bool | None]] = {"passed": True, "failed": False, "unknown": None}
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_AGAIN: Final = frozenset((0, 429, 500, 502, 503, 504))
"""Statuses after which the same hook may be taken a little later; 0 is no answer."""
_ANSWER_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A hook to be sent."""

    url: str
    """Address of the control plane."""
    body: bytes

    @property
    def target(self) -> str:
        """Where it goes."""
        return self.url.rstrip("/") + PATH


def body_of(
    commit: GitCommit, *, repository: str, tests: str, folder: str | None, delivery: str = ""
) -> bytes:
    """Return the body of a commit's hook.

    Args:
        commit: What git says of it.
        repository: Its name.
        tests: `passed`, `failed` or `unknown`.
        folder: The manifest's folder in the repository; None where it is not known.
        delivery: Id of what is told; empty: made of commit, branch and tests, so that a job
            that runs again tells nothing new.

    Raises:
        ManifestError: Another word of the tests.
    """
    if tests not in TESTS:
        raise ManifestError(
            f"expected {', '.join(TESTS)}, got {tests!r}",
            where="--tests",
            hint="only a commit whose tests passed starts a run.",
        )
    paths = commit.changed_paths
    told: dict[str, Any] = {
        "repository": repository,
        "ref": f"refs/heads/{commit.branch}",
        "commit": commit.commit,
        "author": commit.author[:500],
        "changed_paths": list(paths) if paths is not None and len(paths) <= MAX_PATHS else None,
        "tests_passed": TESTS[tests],
        "folder": folder,
        "delivery": delivery or f"{commit.commit}:{commit.branch}:{tests}"[:200],
    }
    return json.dumps({k: v for k, v in told.items() if v is not None}).encode()


def secret_of(ref: str, env: Mapping[str, str], folder: Path) -> str:
    """Return the text of the secret that a reference names.

    Raises:
        ManifestError: It is no reference; it is not repeated, for it may be the secret.
        NotFoundError: There is nothing there, or only an empty text.
    """
    if not ref.startswith("secret://"):
        raise ManifestError(
            "expected secret://env/NAME or secret://file/PATH"
            + (", got something else" if ref else ", got nothing"),
            where="--secret",
            hint="name the secret, also in MLG_HOOK_SECRET; never write it out.",
        )
    try:
        text = LocalSecrets(env, folder).resolve(ref)
    except NotFoundError as error:
        raise NotFoundError(
            "the secret is not there",
            where=ref,
            hint="set the variable, or let this account read the file.",
        ) from error
    if not text:
        raise NotFoundError(
            "the secret is empty", where=ref, hint="an empty one signs nothing."
        )
    return text


def deliver(
    network: Network,
    sending: Sending,
    secret: str,
    *,
    now: Callable[[], datetime],
    wait: Callable[[float], None],
    tries: int,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Send the hook until it is taken; return the control plane's answer.

    Each try is signed anew; the delivery in the body makes them one hook.

    Args:
        network: Reaches the control plane.
        sending: What is sent.
        secret: Text of the secret.
        now: Wall time.
        wait: Waits for some seconds.
        tries: How often at most.
        note: Told of each try that failed and is followed by another.

    Raises:
        BackendError: Nobody answered, or only with errors, up to the last try.
        DeniedError: The signature, or the caller, is refused.
        NotFoundError: The control plane takes no hooks.
        ManifestError: It is genuine, but not understood.
    """
    pause_s = _FIRST_WAIT_S
    for number in range(1, tries + 1):
        headers = (
            ("content-type", "application/json"),
            ("mlg-signature", signature(secret, sending.body, now())),
        )
        reply = network.request(
            "POST", sending.target, body=sending.body, headers=headers, timeout_s=_ANSWER_S
        )
        if reply.status not in _AGAIN:
            return _taken(reply.status, reply.body, sending)
        what = f"status {reply.status}" if reply.status else "no answer"
        if number < tries:
            note(f"{what} from {sending.url}; again in {pause_s:g} s ({number} of {tries})")
            wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_WAIT_S)
        elif reply.status:
            raise error_of(reply.status, reply.body)
    raise BackendError(
        f"no answer from the control plane in {tries} tries: the commit is not told",
        where=sending.url,
        hint="start it (mlg up), or name it (--url, --home); then send again.",
    )


def _taken(status: int, body: bytes, sending: Sending) -> dict[str, Any]:
    try:
        found: object = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "outcome" not in found:
        if status < 300:
            raise BackendError(
                "the answer is not that of a control plane",
                where=sending.url,
                hint="does another program listen at this address?",
            )
        raise error_of(status, body)
    answer: dict[str, Any] = found
    if status < 300:
        return {"status": status, **answer}
    raise _refused(str(answer["outcome"]), str(answer.get("reason", "")), sending)


def _refused(outcome: str, reason: str, sending: Sending) -> LifecycleError:
    hints = {
        "wrong_signature": "the secret here is not the one that the control plane was given.",
        "stale": "set this machine's clock, or the control plane's.",
        "malformed": "is the control plane older than this command?",
    }
    kind = ManifestError if outcome == "malformed" else DeniedError
    return kind(f"{outcome}: {reason}", where=sending.url, hint=hints.get(outcome, ""))
