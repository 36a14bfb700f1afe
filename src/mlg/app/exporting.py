"""Audit exports: the bundle of what was asked for, its event, and heads signed for it."""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from mlg.adapters import seal_parquet
from mlg.adapters.keys_local import anchor_key, anchor_over, newest_anchor
from mlg.api.schemas import ExportRequest
from mlg.app.parts import Parts
from mlg.core.clock import parse_time, rfc3339
from mlg.core.errors import ConflictError, ManifestError
from mlg.core.nodes import Attr
from mlg.core.principal import Principal
from mlg.core.reading import WalkOptions
from mlg.core.uris import Digest, Uri, make_uri, parse_uri
from mlg.graph import audit, bundle, record_acts
from mlg.graph.bundle import Files, SealedRow
from mlg.graph.bundle_account import Evidence
from mlg.graph.bundle_scope import segments_of
from mlg.graph.lineage import Answered
from mlg.graph.log_tree import LogTree, tree_from

TREE: Final = "log_tree.bin"
"""Roots of the log's full blocks; it may be deleted, and is made again."""

_TRIES: Final = 3
"""More than once, as events may come while a head is signed."""

Find = Callable[[str], tuple[Answered, SealedRow]]


def sign_head(parts: Parts) -> None:
    """Sign the head of the log and keep it outside the database; once for one head."""
    newest = newest_anchor(parts.files)
    if newest is not None and newest.seq == parts.store.last_seq():
        return
    tree = tree_from(parts.store, parts.files.read(TREE), newest)
    made = audit.make_anchor(
        parts.store,
        at=parts.clock.now(),
        private_key=anchor_key(parts.files),
        root=tree.root,
    )
    if made is not None:
        parts.files.write(TREE, tree.kept)
        parts.files.write(audit.anchor_path(made), audit.encode_anchor(made))


def export(
    parts: Parts, asked: ExportRequest, find: Find, principal: Principal
) -> tuple[str, bytes]:
    """Return name and bytes of the bundle that was asked for; who took it is an event.

    The same caller, subject and graph give the same bytes and one event.

    Args:
        parts: The control plane's.
        asked: A prediction, a model version, or a service with its period.
        find: Finds a prediction by id or URI.
        principal: Who asks.

    Raises:
        ManifestError: Not exactly one thing is asked for, or a period is wrong.
        NotFoundError: There is no such thing.
    """
    given = (asked.prediction_id, asked.model_version, asked.service)
    if sum(one is not None for one in given) != 1:
        raise ManifestError(
            "expected exactly one of a prediction, a model version and a service",
            where="audit export",
            hint="--prediction ID, --model-version URI, or --service NAME --from T --to T.",
        )
    if asked.service is None and (asked.from_ is not None or asked.to is not None):
        raise ManifestError(
            "a period is of a service only",
            where="audit export",
            hint="leave --from and --to out; the folder for the bundle is --out.",
        )
    if asked.prediction_id is not None:
        return _prediction(parts, asked.prediction_id, find, principal)
    if asked.model_version is not None:
        return _model(parts, asked.model_version, principal)
    return _service(parts, asked, principal)


def _prediction(
    parts: Parts, prediction: str, find: Find, principal: Principal
) -> tuple[str, bytes]:
    answered, sealed = find(prediction)
    files = _signed(parts, lambda e: bundle.prediction_files(e, answered, sealed))
    return _taken(parts, principal, files, answered.uri, answered.segment)


def _model(parts: Parts, model: str, principal: Principal) -> tuple[str, bytes]:
    uri = _uri(model, "model_version")
    files = _signed(parts, lambda e: bundle.model_files(e, uri))
    return _taken(parts, principal, files, uri, uri)


def _service(parts: Parts, asked: ExportRequest, principal: Principal) -> tuple[str, bytes]:
    since, until = _time(asked.from_, "--from"), _time(asked.to, "--to")
    if not since < until:
        raise ManifestError(
            f"expected a period, got {asked.from_} to {asked.to}",
            where="--from, --to",
            hint="--to is exclusive and lies after --from.",
        )
    name = asked.service or ""
    project = parts.recorder(principal.subject).project
    uri = _uri(name, "service") if "://" in name else make_uri("service", project, name)
    parts.reader.walk(uri, "down", WalkOptions(depth=0))  # not found: nothing is sealed for it
    if uri == make_uri("service", project, parse_uri(uri).name):
        parts.seals.seal(parse_uri(uri).name)
    digests = [node.digest for node in segments_of(parts.reader, uri, since, until)]
    paths = [parts.artifacts.open(d) for d in digests if d and parts.artifacts.has(d)]
    shown = seal_parquet.shown(paths)
    files = _signed(parts, lambda e: bundle.service_files(e, uri, since, until, shown))
    period: dict[str, Attr] = {"from": rfc3339(since), "to": rfc3339(until)}
    return _taken(parts, principal, files, uri, uri, period)


def _signed(parts: Parts, make: Callable[[Evidence], Files]) -> Files:
    """Return what `make` gives, after signing a head where none covers the events yet."""
    tree = tree_from(parts.store, parts.files.read(TREE), newest_anchor(parts.files))
    for _ in range(_TRIES):
        try:
            return make(_evidence(parts, tree))
        except ConflictError:
            sign_head(parts)
    return make(_evidence(parts, tree))


def _evidence(parts: Parts, tree: LogTree) -> Evidence:
    return Evidence(
        reader=parts.reader,
        log=parts.store,
        tree=tree,
        anchor_for=lambda seq: anchor_over(parts.files, seq),
        artifacts=parts.artifacts,
        private_key=anchor_key(parts.files),
    )


def _taken(
    parts: Parts,
    principal: Principal,
    files: Files,
    subject: Uri,
    of: Uri | None,
    facts: dict[str, Any] | None = None,
) -> tuple[str, bytes]:
    """Record who took the bundle and return its name and bytes."""
    content = bundle.zip_bytes(files)
    digest = Digest(sha256(content).hexdigest())
    event = record_acts.audit_exported(
        parts.recorder(principal.subject),
        key=f"export:{principal.subject}:{digest}",
        subject=subject,
        bundle=digest,
        files=len(files),
        of=of,
        facts=facts,
    )
    parts.store.append((event,))
    named = parse_uri(subject)
    if named.kind == "prediction":
        return f"audit-{named.version}.zip", content
    name = f"{named.name}-{named.version}" if named.version else named.name
    return f"audit-{named.kind.replace('_', '-')}-{name}.zip", content


def _uri(text: str, kind: str) -> Uri:
    try:
        found = parse_uri(text).kind
    except ValueError as error:
        raise ManifestError(
            str(error), where=f"--{kind.replace('_', '-')}", hint="mlg search finds URIs."
        ) from error
    if found != kind:
        raise ManifestError(
            f"expected a {kind}, got a {found}",
            where=f"--{kind.replace('_', '-')}",
            hint="mlg search finds URIs.",
        )
    return Uri(text)


def _time(text: str | None, where: str) -> datetime:
    if text is None:
        raise ManifestError(
            "a service needs a period", where=where, hint="--from T --to T, RFC 3339."
        )
    try:
        return parse_time(text)
    except ValueError as error:
        raise ManifestError(str(error), where=where, hint="RFC 3339 with a zone.") from error
