"""What MLflow keeps, as states of the graph; pure.

The JSON is that of MLflow's REST API, version 2.0; the readers of file and SQLite stores
make the same. An experiment is a `pipeline`, its run a `run`; a field of an unexpected
shape adds nothing and refuses nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mlg.core.events import EdgeFact, NodeFact
from mlg.core.nodes import Attr
from mlg.core.providers import Thing, Told
from mlg.core.uris import Uri, make_uri
from mlg.graph.mlflow_fields import (
    MOST,
    clip,
    fields,
    items,
    number,
    pairs,
    text,
    time_of,
)
from mlg.graph.record import edge, node

PROVIDER: Final = "mlflow"
TYPES: Final = ("experiment", "model_version", "registered_model", "run")
EVALUATION: Final = "evaluation"
"""Type of what a run judged; told with its run, and no thin event names it."""

_ENDED: Final = frozenset(("FINISHED", "FAILED", "KILLED"))
_JUDGING: Final = frozenset(("eval", "evaluation", "test", "testing", "validation"))

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The URIs of one MLflow server's things."""

    namespace: str
    """Tells servers apart; constant for one server."""

    def uri(self, kind: str, name: str, version: str | None = None) -> Uri:
        """Return the URI of a thing.

        Raises:
            ValueError: A part is empty.
        """
        return make_uri(kind, self.namespace, name, version, provider=PROVIDER)


def experiment(names: Names, found: Json, observed_at: datetime) -> Told:
    """Return the state of an experiment.

    Raises:
        ValueError: It has no id.
    """
    id_ = text(found.get("experiment_id"))
    tags, left = pairs(found.get("tags"))
    return Told(
        thing=Thing(type="experiment", id=id_),
        subject=names.uri("pipeline", id_),
        name=clip(text(found.get("name"))) or id_,
        observed_at=observed_at,
        since=time_of(found.get("creation_time")),
        changed_at=time_of(found.get("last_update_time")),
        attrs=_attrs(
            {
                "experiment_id": id_,
                "lifecycle_stage": clip(text(found.get("lifecycle_stage"))) or None,
                "description": clip(tags.get("mlflow.note.content", "")) or None,
                "left_out": left or None,
                **_tags(tags),
            }
        ),
    )


def run(names: Names, found: Json, observed_at: datetime) -> tuple[Told, ...]:
    """Return the state of a run, and that of its evaluation if it read data to judge by.

    Raises:
        ValueError: It has no id.
    """
    info, data = fields(found.get("info")), fields(found.get("data"))
    id_ = text(info.get("run_id")) or text(info.get("run_uuid"))
    subject = names.uri("run", id_)
    tags, left_tags = pairs(data.get("tags"))
    measured, left = _measured(data)
    status = text(info.get("status"))
    since, ended = time_of(info.get("start_time")), time_of(info.get("end_time"))
    said = _Said(names)
    _work(said, subject, text(info.get("experiment_id")), tags, text(info.get("user_id")))
    judged = [uri for uri, context in said.data(found, subject) if context in _JUDGING]
    attrs: dict[str, Attr] = {
        "state": status or None,
        "outcome": status if status in _ENDED else None,
        "lifecycle_stage": clip(text(info.get("lifecycle_stage"))) or None,
        "experiment_id": text(info.get("experiment_id")) or None,
        "user": clip(tags.get("mlflow.user") or text(info.get("user_id"))) or None,
        "source": clip(tags.get("mlflow.source.name", "")) or None,
        "source_type": clip(tags.get("mlflow.source.type", "")) or None,
        "git_branch": clip(tags.get("mlflow.source.git.branch", "")) or None,
        "git_dirty": clip(tags.get("mlflow.source.git.dirty", "")) or None,
        "description": clip(tags.get("mlflow.note.content", "")) or None,
        "left_out": left + left_tags or None,
        **measured,
        **_tags(tags),
    }
    name = text(info.get("run_name")) or tags.get("mlflow.runName", "")
    whole = Told(
        thing=Thing(type="run", id=id_),
        subject=subject,
        name=clip(name) or id_,
        observed_at=observed_at,
        since=since,
        changed_at=ended if status in _ENDED else None,
        attrs=_attrs(attrs),
        nodes=said.nodes(),
        edges=said.edges(),
        named=said.named(),
    )
    return (whole, _evaluation(names, whole, judged)) if judged else (whole,)


def model(
    names: Names,
    found: Json,
    versions: Iterable[Json],
    run_of: Callable[[str], Json | None],
    observed_at: datetime,
) -> Iterator[Told]:
    """Yield the state of a registered model and of all its versions.

    Aliases hang on the model, so that moving one changes two versions: they are told together.

    Args:
        names: The URIs.
        found: The model.
        versions: Its versions.
        run_of: Returns a run by its id, or None.
        observed_at: When the server was asked.

    Raises:
        ValueError: It has no name.
    """
    name = text(found.get("name"))
    tags, left = pairs(found.get("tags"))
    aliases, _ = pairs(found.get("aliases"), key="alias", value="version")
    yield Told(
        thing=Thing(type="registered_model", id=name),
        subject=names.uri("model", name),
        name=clip(name),
        observed_at=observed_at,
        since=time_of(found.get("creation_timestamp")),
        changed_at=None if aliases else time_of(found.get("last_updated_timestamp")),
        attrs=_attrs(
            {
                "description": clip(text(found.get("description"))) or None,
                "left_out": left or None,
                **{f"alias.{alias}": version for alias, version in aliases.items()},
                **_tags(tags),
            }
        ),
    )
    for version in versions:
        number = text(version.get("version"))
        if number:
            mine = sorted(alias for alias, of in aliases.items() if of == number)
            yield _version(names, name, version, mine, run_of, observed_at)


def gone(names: Names, thing: Thing, observed_at: datetime) -> Told:
    """Return that MLflow has a thing no more.

    Raises:
        ValueError: The id is empty, or no `name/number` of a model version.
    """
    if thing.type == "model_version":
        name, number = version_id(thing.id)
        subject = names.uri("model_version", name, number)
    else:
        kinds = {"experiment": "pipeline", "registered_model": "model"}
        subject = names.uri(kinds.get(thing.type, thing.type), thing.id)
    return Told(thing=thing, subject=subject, name="", observed_at=observed_at, gone=True)


def version_id(id_: str) -> tuple[str, str]:
    """Return the name and number of a model version's id.

    Raises:
        ValueError: It has another form.

    Examples:
        >>> version_id("ranker/3")
        ('ranker', '3')
    """
    name, _, number = id_.rpartition("/")
    if not name or not number.isdecimal():
        raise ValueError(f"expected NAME/NUMBER of a model version, got {id_[:200]!r}")
    return name, number


def _version(
    names: Names,
    model_name: str,
    found: Json,
    aliases: list[str],
    run_of: Callable[[str], Json | None],
    observed_at: datetime,
) -> Told:
    number, run_id = text(found.get("version")), text(found.get("run_id"))
    subject = names.uri("model_version", model_name, number)
    tags, left = pairs(found.get("tags"))
    stage, source = text(found.get("current_stage")), text(found.get("source"))
    said = _Said(names)
    said.edge(names.uri("model", model_name), "version_of", subject, declared=True)
    measured: dict[str, Attr] = {}
    made_by = run_of(run_id) if run_id else None
    if run_id:
        said.edge(said.name(names.uri("run", run_id), "run", run_id), "produced", subject)
    if made_by is not None:
        measured, more = _measured(fields(made_by.get("data")))
        left += more
        said.trained(made_by, subject, names.uri("evaluation", run_id))
    said.owner(text(found.get("user_id")), subject)
    attrs: dict[str, Attr] = {
        "model": clip(model_name),
        "version": number,
        "aliases": ",".join(aliases) or None,
        "stage": stage if stage not in {"", "None"} else None,
        "status": text(found.get("status")) or None,
        "status_message": clip(text(found.get("status_message"))) or None,
        "description": clip(text(found.get("description"))) or None,
        "source": clip(source) or None,
        "run_id": run_id or None,
        "run_link": clip(text(found.get("run_link"))) or None,
        "logged_model_id": _logged(found, source) or None,
        "left_out": left or None,
        **measured,
        **_tags(tags),
    }
    return Told(
        thing=Thing(type="model_version", id=f"{model_name}/{number}"),
        subject=subject,
        name=clip(f"{model_name}@{number}"),
        observed_at=observed_at,
        since=time_of(found.get("creation_timestamp")),
        # nobody keeps when an alias was set, so it is known from when it was seen
        changed_at=None if aliases else time_of(found.get("last_updated_timestamp")),
        attrs=_attrs(attrs),
        nodes=said.nodes(),
        edges=said.edges(),
        named=said.named(),
    )


def _logged(found: Json, source: str) -> str:
    if source.startswith("models:/m-"):
        return clip(source.removeprefix("models:/"))
    return clip(text(found.get("model_id")))


def _evaluation(names: Names, whole: Told, judged: list[Uri]) -> Told:
    subject = names.uri("evaluation", whole.thing.id)
    edges = [edge(uri, "evaluated_on", subject, provenance="observed") for uri in judged]
    edges.append(edge(whole.subject, "produced", subject, provenance="observed"))
    return Told(
        thing=Thing(type=EVALUATION, id=whole.thing.id),
        subject=subject,
        name=whole.name,
        observed_at=whole.observed_at,
        since=whole.since,
        changed_at=whole.changed_at,
        attrs=tuple(pair for pair in whole.attrs if pair[0].startswith("metric.")),
        edges=tuple(edges),
    )


class _Said:
    """Nodes, arrows and names that one state tells besides its subject; each once."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._nodes: dict[Uri, NodeFact] = {}
        self._edges: dict[tuple[Uri, str, Uri], EdgeFact] = {}
        self._named: dict[tuple[Uri, Thing], None] = {}

    def node(self, uri: Uri, name: str, attrs: Mapping[str, Attr] | None = None) -> Uri:
        said = {key: value for key, value in (attrs or {}).items() if value is not None}
        self._nodes[uri] = node(uri, said, name=clip(name))
        return uri

    def edge(self, src: Uri, role: str, dst: Uri, *, declared: bool = False) -> None:
        how = "declared" if declared else "observed"
        self._edges[src, role, dst] = edge(src, role, dst, provenance=how)

    def name(self, uri: Uri, type_: str, id_: str) -> Uri:
        self._named[uri, Thing(type=type_, id=id_)] = None
        return uri

    def owner(self, user: str, owned: Uri) -> None:
        if user:
            actor = self.node(self.names.uri("actor", user), user)
            self.edge(actor, "owned_by", owned)

    def data(self, found: Json, reader: Uri) -> list[tuple[Uri, str]]:
        """Say what a run read; return each data version with the context of its use."""
        used: list[tuple[Uri, str]] = []
        for one in items(fields(found.get("inputs")).get("dataset_inputs")):
            data = fields(one.get("dataset"))
            name, digest = text(data.get("name")), text(data.get("digest"))
            if not name or not digest:
                continue
            version = self._dataset(name, digest, data)
            self.edge(version, "used", reader)
            context = pairs(one.get("tags"))[0].get("mlflow.data.context", "")
            used.append((version, context.lower()))
        return used

    def trained(self, made_by: Json, version: Uri, evaluation: Uri) -> None:
        """Say the data that a version's run learned from and was judged by."""
        subject = self.names.uri("run", _run_id(made_by))
        run_said = _Said(self.names)
        for uri, context in run_said.data(made_by, subject):
            if context in _JUDGING:
                self.edge(version, "evaluated_on", evaluation)
            else:
                self.edge(uri, "trained_on", version)

    def nodes(self) -> tuple[NodeFact, ...]:
        return tuple(self._nodes[uri] for uri in sorted(self._nodes))

    def edges(self) -> tuple[EdgeFact, ...]:
        return tuple(self._edges[key] for key in sorted(self._edges))

    def named(self) -> tuple[tuple[Uri, Thing], ...]:
        return tuple(sorted(self._named))

    def _dataset(self, name: str, digest: str, data: Json) -> Uri:
        plain = self.node(self.names.uri("dataset", name), name)
        version = self.node(
            self.names.uri("dataset_version", name, digest),
            f"{name}@{digest}",
            {
                "source_type": clip(text(data.get("source_type"))) or None,
                "source": clip(text(data.get("source"))) or None,
                "schema": clip(text(data.get("schema"))) or None,
                "profile": clip(text(data.get("profile"))) or None,
            },
        )
        self.edge(plain, "version_of", version, declared=True)
        return version


def _work(
    said: _Said, subject: Uri, experiment_id: str, tags: Mapping[str, str], user: str
) -> None:
    """Say what a run belongs to: experiment, commit, user, parent."""
    names = said.names
    if experiment_id:
        above = said.name(names.uri("pipeline", experiment_id), "experiment", experiment_id)
        said.edge(above, "version_of", subject, declared=True)
    commit = tags.get("mlflow.source.git.commit", "")
    if commit:
        repository = tags.get("mlflow.source.git.repoURL") or "git"
        uri = names.uri("commit", repository, commit)
        said.node(uri, commit[:12], {"revision": commit, "repository": clip(repository)})
        said.edge(uri, "used", subject)
    said.owner(tags.get("mlflow.user") or user, subject)
    parent = tags.get("mlflow.parentRunId", "")
    if parent:
        said.edge(said.name(names.uri("run", parent), "run", parent), "triggered", subject)


def _run_id(found: Json) -> str:
    info = fields(found.get("info"))
    return text(info.get("run_id")) or text(info.get("run_uuid"))


def _measured(data: Json) -> tuple[dict[str, Attr], int]:
    """Return parameters and newest metrics as attributes, and how many were left out."""
    params, left_params = pairs(data.get("params"))
    found = {f"param.{name}": clip(value) for name, value in params.items()}
    metrics = {
        text(one.get("key")): number(one.get("value")) for one in items(data.get("metrics"))
    }
    metrics.pop("", None)
    kept = sorted(metrics)[:MOST]
    shown = {f"metric.{name}": metrics[name] for name in kept}
    return {**found, **shown}, left_params + len(metrics) - len(kept)


def _tags(tags: Mapping[str, str]) -> dict[str, Attr]:
    return {
        f"tag.{name}": clip(value)
        for name, value in tags.items()
        if not name.startswith("mlflow.")
    }


def _attrs(found: Mapping[str, Attr]) -> tuple[tuple[str, Attr], ...]:
    """Return attributes without those that say nothing; names too long are cut."""
    said = {clip(name): value for name, value in found.items() if value is not None}
    return tuple(sorted(said.items()))
