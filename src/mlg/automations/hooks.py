"""Whether a commit hook is genuine, fresh and new: a function of its bytes.

Three signatures are known: ours (`mlg-signature: t=<unix seconds>,v1=<hex>`, an HMAC-SHA256
over ``<t>.<body>``), GitHub's (`X-Hub-Signature-256`) and GitLab's (Standard Webhooks, or
the older `X-Gitlab-Token`, which signs nothing).
"""

import base64
import binascii
import hmac
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final, Literal

import msgspec

from mlg.automations.hook_payloads import (
    Commit,
    NothingToDo,
    Reader,
    read_github,
    read_gitlab,
    read_ours,
)
from mlg.manifest.specs import ManifestSpec

WINDOW_S: Final = 300
"""How far a signed time may be from ours, either way."""
MAX_BODY_BYTES: Final = 1_048_576

Sender = Literal["mlg", "github", "gitlab"]
Cause = Literal["unsigned", "wrong_signature", "stale", "replayed", "malformed", "ignored"]

HTTP_STATUS: Final[dict[Cause, int]] = {
    "unsigned": 403,
    "wrong_signature": 403,
    "stale": 403,
    "replayed": 200,
    "malformed": 422,
    "ignored": 200,
}
"""A replay is answered with 200, so that its sender stops repeating it; it does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A genuine commit hook."""

    id: str
    """Made of what was signed: the same hook again has the same, whatever its headers say.
    Of a plain hook with a delivery it is made of that, so it may be signed anew."""
    sender: Sender
    delivery: str
    """The sender's own id of the delivery, for people; not signed by GitHub."""
    repository: str
    ref: str
    commit: str
    """Lower-case hex."""
    author: str
    changed_paths: tuple[str, ...] | None
    """Relative to the repository; None where they are not known."""
    tests_passed: bool | None
    """None where the sender did not say."""
    folder: str | None = None
    """The manifest's folder in the repository, empty for its root; None where not told."""

    @property
    def branch(self) -> str | None:
        """The branch of the ref, or None for a tag."""
        name = self.ref.removeprefix("refs/heads/")
        return None if name.startswith("refs/") else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a hook is not followed."""

    cause: Cause
    what: str
    """One sentence; it holds neither the secret nor the body."""
    id: str = ""
    """The hook's id where it was genuine."""

    @property
    def http_status(self) -> int:
        """The status of the answer."""
        return HTTP_STATUS[self.cause]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """A genuine hook before its body is read."""

    id: str
    sender: Sender
    delivery: str
    read: Reader


def verify_hook(
    headers: Mapping[str, str], body: bytes, secret: str, seen: Container[str], now: datetime
) -> Hook | Refusal:
    """Return the commit that a hook tells of, or why it is not followed.

    Args:
        headers: Names in any case.
        body: The bytes as they came; they are what was signed.
        secret: The shared secret's text; `whsec_<base64>` for Standard Webhooks. An empty
            one refuses everything.
        seen: Ids of the hooks that were followed before.
        now: Wall time, aware UTC: senders know nothing of event time.

    Examples:
        >>> from datetime import UTC
        >>> verify_hook({}, b"{}", "s3cret", (), datetime(2026, 1, 1, tzinfo=UTC)).cause
        'unsigned'
    """
    if not secret:
        return Refusal(cause="unsigned", what="no secret is set, so no hook can be genuine")
    if len(body) > MAX_BODY_BYTES:
        return Refusal(cause="malformed", what=f"a hook may have {MAX_BODY_BYTES} bytes")
    lower = {name.lower(): value for name, value in headers.items()}
    proof = _proof(lower, body, secret, now)
    if isinstance(proof, Refusal):
        return proof
    if proof.id in seen:
        return Refusal(cause="replayed", what="this hook was followed before", id=proof.id)
    try:
        told = proof.read(body)
    except NothingToDo as nothing:
        return Refusal(cause="ignored", what=str(nothing), id=proof.id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = f"expected the JSON of a {proof.sender} hook: {error}"[:300]
        return Refusal(cause="malformed", what=what, id=proof.id)
    hook = _hook(proof, told)
    if hook.id != proof.id and hook.id in seen:
        return Refusal(cause="replayed", what="this delivery was followed before", id=hook.id)
    return hook


def signature(secret: str, body: bytes, at: datetime) -> str:
    """Return the value of `mlg-signature` for a body sent at a time.

    Examples:
        >>> from datetime import UTC
        >>> signature("key", b"{}", datetime(2026, 1, 1, tzinfo=UTC))[:16]
        't=1767225600,v1='
    """
    seconds = int(at.timestamp())
    return f"t={seconds},v1={_hex(secret, f'{seconds}.'.encode() + body)}"


def pipelines_for(
    hook: Hook, spec: ManifestSpec, files: Mapping[str, frozenset[str] | None]
) -> tuple[str, ...]:
    """Return the pipelines that the hook starts.

    Its branch is theirs, its tests passed, and it changes something of theirs. A hook that
    does not say what it changes is taken to change everything.

    Args:
        hook: A genuine hook.
        spec: The manifest in force.
        files: By pipeline, the files that it is made of, relative to the manifest's folder;
            None where that cannot be told: then every commit touches it.
    """
    if hook.tests_passed is not True:
        return ()
    return tuple(
        name
        for name, pipeline in sorted(spec.pipelines.items())
        if pipeline.on is not None
        and pipeline.on.commit == hook.branch
        and _touches(hook, files.get(name), pipeline.on.paths)
    )


def _touches(hook: Hook, files: frozenset[str] | None, patterns: tuple[str, ...]) -> bool:
    """Whether the commit changes one of the files, or a path that a pattern fits."""
    if hook.changed_paths is None or files is None:
        return True
    for path in hook.changed_paths:
        if any(
            inside in files or any(fnmatchcase(inside, one) for one in patterns)
            for inside in _inside(path, hook.folder)
        ):
            return True
    return False


def _inside(path: str, folder: str | None) -> tuple[str, ...]:
    """Return what a path may be, seen from the manifest's folder.

    Where nobody says which folder that is, it may be any above the file.

    Examples:
        >>> _inside("shop/sql/a.sql", "shop"), _inside("shop/sql/a.sql", "cart")
        (('sql/a.sql',), ())
        >>> _inside("shop/sql/a.sql", None)
        ('shop/sql/a.sql', 'sql/a.sql', 'a.sql')
    """
    if folder is None:
        parts = path.split("/")
        return tuple("/".join(parts[n:]) for n in range(len(parts)))
    if not folder:
        return (path,)
    return (path.removeprefix(f"{folder}/"),) if path.startswith(f"{folder}/") else ()


def _proof(
    headers: Mapping[str, str], body: bytes, secret: str, now: datetime
) -> _Proof | Refusal:
    if "mlg-signature" in headers:
        return _ours(headers["mlg-signature"], body, secret, now)
    if "webhook-signature" in headers:
        return _standard(headers, body, secret, now)
    if "x-hub-signature-256" in headers:
        return _github(headers, body, secret)
    if "x-gitlab-token" in headers:
        if not _same(headers["x-gitlab-token"], secret):
            return _wrong()
        delivery = headers.get("x-gitlab-event-uuid", "")
        return _gitlab(f"gitlab:{sha256(body).hexdigest()}", delivery)
    what = "expected mlg-signature, webhook-signature, X-Hub-Signature-256 or X-Gitlab-Token"
    return Refusal(cause="unsigned", what=what)


def _ours(value: str, body: bytes, secret: str, now: datetime) -> _Proof | Refusal:
    pairs = [part.strip().partition("=") for part in value.split(",")[:10]]
    times = [text for name, _, text in pairs if name == "t"]
    if len(times) != 1:
        return _wrong()
    signed = f"{times[0]}.".encode() + body
    expected = _hex(secret, signed)
    good = [_same(text.lower(), expected) for name, _, text in pairs if name == "v1"]
    if not any(good):
        return _wrong()
    late = _stale(times[0], now)
    if late is not None:
        return late
    identity = f"mlg:{sha256(signed).hexdigest()}"
    return _Proof(id=identity, sender="mlg", delivery="", read=read_ours)


def _standard(
    headers: Mapping[str, str], body: bytes, secret: str, now: datetime
) -> _Proof | Refusal:
    identity, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    coded = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(coded, validate=True) if coded != secret else secret.encode()
    except (binascii.Error, ValueError):
        what = "the secret after whsec_ is no base64"
        return Refusal(cause="wrong_signature", what=what)
    if not identity or not key:
        return _wrong()
    signed = f"{identity}.{seconds}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    given = [part.partition(",") for part in headers["webhook-signature"].split(" ")[:10]]
    if not any(_same(text, expected) for version, _, text in given if version == "v1"):
        return _wrong()
    late = _stale(seconds, now)
    if late is not None:
        return late
    name = f"gitlab:{sha256(identity.encode()).hexdigest()}"
    return _gitlab(name, identity)


def _github(headers: Mapping[str, str], body: bytes, secret: str) -> _Proof | Refusal:
    given = headers["x-hub-signature-256"]
    if not _same(given.lower(), f"sha256={_hex(secret, body)}"):
        return _wrong()
    kind = headers.get("x-github-event", "")

    def read(content: bytes) -> Commit:
        return read_github(kind, content)

    return _Proof(
        id=f"github:{sha256(body).hexdigest()}",
        sender="github",
        delivery=_printable(headers.get("x-github-delivery", "")),
        read=read,
    )


def _gitlab(identity: str, delivery: str) -> _Proof:
    return _Proof(id=identity, sender="gitlab", delivery=_printable(delivery), read=read_gitlab)


def _hook(proof: _Proof, told: Commit) -> Hook:
    identity = proof.id
    if told.delivery:
        name = f"{told.repository}\n{told.delivery}".encode()
        identity = f"mlg:{sha256(name).hexdigest()}"
    return Hook(
        id=identity,
        sender=proof.sender,
        delivery=_printable(told.delivery) or proof.delivery,
        repository=told.repository,
        ref=told.ref,
        commit=told.commit.lower(),
        author=_printable(told.author),
        changed_paths=told.changed_paths,
        tests_passed=told.tests_passed,
        folder=told.folder,
    )


def _stale(seconds: str, now: datetime) -> Refusal | None:
    if not (seconds.isascii() and seconds.isdecimal() and len(seconds) <= 12):
        return _wrong()
    apart = abs(int(seconds) - now.timestamp())
    if apart <= WINDOW_S:
        return None
    what = f"it was signed {apart:.0f} s away from now, {WINDOW_S} s are allowed"
    return Refusal(cause="stale", what=what)


def _wrong() -> Refusal:
    return Refusal(cause="wrong_signature", what="the signature is not that of the secret")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _hex(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, sha256).hexdigest()


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable())[:200]
