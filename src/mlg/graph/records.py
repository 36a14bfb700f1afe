"""What a notebook or a foreign training script records: its runs, data and models.

A record is one act, with the key and the time that its script gave it, so that a record sent
twice, or long after, is the same event.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from mlg.core.clock import parse_time
from mlg.core.errors import ManifestError
from mlg.core.events import EdgeFact, Event, NodeFact
from mlg.core.nodes import Attr
from mlg.core.uris import Uri, make_uri
from mlg.graph.encode import encode
from mlg.graph.openlineage_names import OPENLINEAGE, location_name
from mlg.graph.record import Recorder, edge, model_uri, node, run_uri

FORMAT: Final = 1
"""Version of the records that this control plane reads."""
MAX_URI: Final = 2_048
"""Longest URI in characters; databases index no longer ones."""

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = 2**53
_BY: Final = "mlg.Client"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Text = Annotated[str, msgspec.Meta(max_length=1_000)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Scalars = Annotated[dict[Name, str | int | float | bool | None], msgspec.Meta(max_length=500)]
Numbers = Annotated[dict[Name, int | float], msgspec.Meta(max_length=500)]


class RecordError(ManifestError):
    """A record that is not taken; `where` is a JSON path."""

    code = "record"


class DataRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table or a file that a run read or wrote."""

    uri: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
    """Where it lies (`s3://lake/users`), or a name of the project's own (`users`)."""
    version: Name | None = None
    """None: it has no version that anyone knows."""
    digest: Sha256 | None = None
    rows: Annotated[int, msgspec.Meta(ge=0)] | None = None


DataRefs = Annotated[list[DataRef], msgspec.Meta(max_length=200)]


class CodeRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The commit that a script ran at."""

    commit: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{7,64}$")]
    repository: Text = ""
    """Address without user and password; empty when it has none."""
    branch: Text = ""
    dirty: bool | None = None
    """Files of the repository were changed and not committed; None: not known."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z._:-]{8,100}$")]
    """Idempotency key, chosen when the record was made."""
    at: str
    """When it happened: RFC 3339 with a zone."""
    run_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    name: Name
    """The run's name: what is trained, and the pipeline it is a run of."""
    project: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """Empty: the project of the control plane."""


class RunStarted(_Record, tag_field="kind", tag="run_started", frozen=True, kw_only=True):
    """A run began."""

    inputs: DataRefs = []
    params: Scalars = {}
    code: CodeRef | None = None
    by: Text = ""
    """Account and machine."""


class RunLogged(_Record, tag_field="kind", tag="run_logged", frozen=True, kw_only=True):
    """A run told of parameters, metrics, or data."""

    inputs: DataRefs = []
    outputs: DataRefs = []
    params: Scalars = {}
    metrics: Numbers = {}


class ModelRegistered(
    _Record, tag_field="kind", tag="model_registered", frozen=True, kw_only=True
):
    """A run made a version of a model."""

    model: Name
    version: Name
    digest: Sha256 | None = None
    """sha256 of its file or folder."""
    size_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    trained_on: DataRefs = []
    params: Scalars = {}
    metrics: Numbers = {}


class RunFinished(_Record, tag_field="kind", tag="run_finished", frozen=True, kw_only=True):
    """A run reached its end."""

    seconds: Annotated[float, msgspec.Meta(ge=0)]
    inputs: DataRefs = []
    outputs: DataRefs = []


class RunFailed(_Record, tag_field="kind", tag="run_failed", frozen=True, kw_only=True):
    """A run ended by an error."""

    seconds: Annotated[float, msgspec.Meta(ge=0)]
    error: Name
    """Type of the error."""
    message: Text = ""


Record = RunStarted | RunLogged | ModelRegistered | RunFinished | RunFailed


def read(value: Any) -> Record:
    """Return the record that a JSON value holds.

    Raises:
        RecordError: It is none, with the JSON path of what is wrong.
    """
    try:
        return msgspec.convert(value, Record)
    except (msgspec.ValidationError, RecursionError) as wrong:
        text = str(wrong)
        what, _, where = text.rpartition(" - at `")
        raise RecordError(
            (what or text)[:300],
            where=where.rstrip("`")[:300] if what else "$",
            hint="see docs/record.md.",
        ) from wrong


def to_event(recorder: Recorder, record: Record) -> Event:
    """Return what a record says, as an event of the graph.

    Args:
        recorder: Whose words these are; its project where the record names none.
        record: What was told.

    Raises:
        RecordError: A time, a name or a number has no place in the graph.
    """
    if record.project:
        recorder = replace(recorder, project=record.project)
    at = _time(record.at)
    try:
        event = _event(recorder, record, at)
        encode(event)
    except RecordError:
        raise
    except (ValueError, OverflowError) as wrong:
        raise RecordError(str(wrong)[:300], where="$", hint="see docs/record.md.") from wrong
    return event


def _event(recorder: Recorder, record: Record, at: datetime) -> Event:
    said = _Said(recorder, record)
    kind = _TYPES[type(record)]
    match record:
        case RunStarted():
            said.started(record)
        case RunLogged():
            said.attrs |= _numbered(record.params, "param.")
            said.attrs |= _numbered(record.metrics, "metric.")
        case ModelRegistered():
            said.model(record)
        case RunFinished():
            said.attrs |= {"state": "succeeded", "seconds": record.seconds}
        case RunFailed():
            said.attrs |= {
                "state": "failed",
                "seconds": record.seconds,
                "error": record.error,
                "what": _text(record.message, "$.message") or record.error,
            }
    for place, ref in enumerate(getattr(record, "inputs", ())):
        said.edge(said.data(ref, f"$.inputs[{place}]"), "used", said.run)
    for place, ref in enumerate(getattr(record, "outputs", ())):
        said.edge(said.run, "produced", said.data(ref, f"$.outputs[{place}]"))
    made = recorder.event(
        kind,
        key=f"record:{record.key}",
        subject=said.subject,
        nodes=said.nodes(),
        edges=said.edges,
        facts={"recorded_by": _BY},
        at=at,
    )
    # how far ahead the script's clock was depends on when it was sent: the key must not
    ahead = {"ahead": True} if "ahead_s" in dict(made.data) else {}
    return replace(made, data=tuple(sorted({"recorded_by": _BY, **ahead}.items())))


class _Said:
    """What one record says; the run is always named."""

    def __init__(self, recorder: Recorder, record: Record) -> None:
        self._recorder = recorder
        _text(record.name, "$.name")
        self.run = _checked(run_uri(recorder, record.name, record.run_id), "$.name")
        self.subject = self.run
        self.attrs: dict[str, Attr] = {"pipeline": record.name, "run_id": record.run_id}
        self._nodes: list[NodeFact] = []
        self.edges: list[EdgeFact] = []

    def nodes(self) -> Sequence[NodeFact]:
        """Return what was said of nodes, the run first."""
        return [node(self.run, self.attrs), *self._nodes]

    def edge(self, src: Uri, role: str, dst: Uri) -> None:
        """Say an arrow once."""
        said = edge(src, role, dst, provenance="observed")
        if said not in self.edges:
            self.edges.append(said)

    def started(self, record: RunStarted) -> None:
        """Say the run's pipeline, parameters and commit."""
        pipeline = self._recorder.uri("pipeline", record.name)
        self._nodes.append(node(pipeline, {}, name=record.name))
        self.edge(pipeline, "version_of", self.run)
        self.attrs |= {"state": "running", "by": _text(record.by, "$.by") or None}
        self.attrs |= _numbered(record.params, "param.")
        if record.code is not None:
            self._code(record.code)

    def _code(self, code: CodeRef) -> None:
        repository = _text(code.repository, "$.code.repository")
        commit = (
            make_uri("commit", repository, code.commit, provider=OPENLINEAGE)
            if repository
            else self._recorder.uri("commit", "repository", code.commit)
        )
        self._nodes.append(node(_checked(commit, "$.code"), {}, name=code.commit))
        self.edge(commit, "used", self.run)
        self.attrs |= {"dirty": code.dirty, "branch": _text(code.branch, "$.code.branch")}

    def model(self, record: ModelRegistered) -> None:
        """Say a model and its version, made by the run."""
        _text(record.model, "$.model")
        _text(record.version, "$.version")
        parent = self._recorder.uri("model", record.model)
        version = _checked(model_uri(self._recorder, record.model, record.version), "$.model")
        attrs: dict[str, Attr] = {
            "model": record.model,
            "version": record.version,
            "recorded_by": _BY,
            **_numbered(record.params, "param."),
            **_numbered(record.metrics, "metric."),
        }
        if record.size_bytes is not None:
            attrs["size_bytes"] = record.size_bytes
        self._nodes += [
            node(parent, {}, name=record.model),
            node(version, attrs, name=f"{record.model}@{record.version}", digest=record.digest),
        ]
        self.edge(parent, "version_of", version)
        self.edge(self.run, "produced", version)
        for place, ref in enumerate(record.trained_on):
            uri = self.data(ref, f"$.trained_on[{place}]")
            if ref.version is not None:
                self.edge(uri, "trained_on", version)
        self.subject = version

    def data(self, ref: DataRef, where: str) -> Uri:
        """Say a dataset; return its version's URI, or its own when it has none."""
        _text(ref.uri, f"{where}.uri")
        named = location_name(ref.uri)
        if named is None:
            dataset = self._recorder.uri("dataset", ref.uri)
            version = ref.version and self._recorder.uri(
                "dataset_version", ref.uri, _text(ref.version, f"{where}.version")
            )
            name = ref.uri
        else:
            dataset = make_uri("dataset", *named, provider=OPENLINEAGE)
            version = ref.version and make_uri(
                "dataset_version", *named, ref.version, provider=OPENLINEAGE
            )
            name = named.name
        self._nodes.append(node(_checked(dataset, where), {}, name=name))
        if not version:
            return dataset
        attrs: dict[str, Attr] = {"dataset": name}
        if ref.rows is not None:
            attrs["rows"] = ref.rows
        made = node(_checked(version, where), attrs, name=f"{name}@{ref.version}",
                    digest=ref.digest)  # fmt: skip
        self._nodes.append(made)
        self.edge(dataset, "version_of", version)
        self.edge(dataset, "derived_from", version)
        return version


_TYPES: Final = {
    RunStarted: "mlg.run.started",
    RunLogged: "mlg.run.logged",
    ModelRegistered: "mlg.model_version.registered",
    RunFinished: "mlg.run.finished",
    RunFailed: "mlg.run.failed",
}


def _numbered(found: Mapping[str, Attr], prefix: str) -> dict[str, Attr]:
    return {
        prefix + _text(key, f"$.{prefix}"): _value(value, f"$.{prefix}{key}")
        for key, value in found.items()
    }


def _value(value: Attr, where: str) -> Attr:
    if isinstance(value, str):
        if len(value) > 1_000:
            raise RecordError(
                f"a text may have 1,000 characters, got {len(value)}", where=where[:300]
            )
        return _text(value, where)
    if isinstance(value, int) and abs(value) >= _EXACT:
        raise RecordError(
            f"a whole number must be less than 2**53, got {value}"[:200],
            where=where[:300],
            hint="send it as text.",
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError("a number must be finite", where=where[:300])
    return value


def _text(text: str, where: str) -> str:
    if "\0" in text:
        raise RecordError("a text may not hold NUL", where=where[:300])
    return text


def _checked(uri: Uri, where: str) -> Uri:
    if len(uri) > MAX_URI:
        raise RecordError(
            f"the names give a URI of {len(uri)} characters, at most {MAX_URI}", where=where
        )
    return uri


def _time(text: str) -> datetime:
    try:
        at = parse_time(text[:60].upper())
    except (ValueError, OverflowError) as wrong:
        raise RecordError(
            f"expected an RFC 3339 time with a zone, got {text[:60]!r}", where="$.at"
        ) from wrong
    if at < _EARLIEST:
        raise RecordError(f"expected a time since 1970, got {text[:60]!r}", where="$.at")
    return at
