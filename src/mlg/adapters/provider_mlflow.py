"""The provider of MLflow: a tracking server, a SQLite database or a file store."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from mlg.adapters.mlflow_files import MlflowFiles
from mlg.adapters.mlflow_rest import Credentials, MlflowRest
from mlg.adapters.mlflow_sqlite import MlflowSqlite
from mlg.adapters.network_paced import PacedNetwork
from mlg.adapters.provider_context import ProviderContext
from mlg.core.clock import Clock
from mlg.core.errors import BackendError, ManifestError
from mlg.core.providers import Thing, Told
from mlg.graph import mlflow

if TYPE_CHECKING:
    from mlg.core.ports import Provider

Json = Mapping[str, Any]
T = TypeVar("T")

_HINT: Final = "expected http://HOST, https://HOST, sqlite:///FILE, file:FOLDER or a folder."


class MlflowReads(Protocol):
    """How a store of MLflow is read, in the words of its REST API."""

    def pages(self, what: str, within: str = "") -> Iterator[Json]:
        """Yield everything of a sort."""
        ...

    def one(self, what: str, id_: str) -> Json | None:
        """Return one thing, or None."""
        ...


class MlflowProvider:
    """Tells experiments, runs, registered models and their versions.

    Args:
        reads: The store.
        namespace: Tells servers apart in URIs.
        clock: When the store was asked.
    """

    def __init__(self, reads: MlflowReads, namespace: str, clock: Clock) -> None:
        self._reads, self._clock = reads, clock
        self._names = mlflow.Names(namespace=namespace)

    def types(self) -> tuple[str, ...]:
        return mlflow.TYPES

    def tell(self, thing: Thing) -> tuple[Told, ...]:
        if thing.type not in {*mlflow.TYPES, mlflow.EVALUATION}:
            raise ValueError(f"expected one of {mlflow.TYPES}, got {thing.type!r}")
        at = self._clock.now()
        absent = mlflow.gone(self._names, thing, at)
        told = self._understood(lambda: self._tell(thing, at))
        return told if any(one.thing == thing for one in told) else (*told, absent)

    def tell_all(self) -> Iterator[Told]:
        names = self._names
        for found in self._reads.pages("experiments"):
            at = self._clock.now()
            experiment = self._understood(lambda: mlflow.experiment(names, found, at))  # noqa: B023
            yield experiment
            for run in self._reads.pages("runs", experiment.thing.id):
                at = self._clock.now()
                yield from self._understood(lambda: mlflow.run(names, run, at))  # noqa: B023
        for found in self._reads.pages("models"):
            at = self._clock.now()
            yield from self._understood(lambda: self._whole(found, at))  # noqa: B023

    def _tell(self, thing: Thing, at: datetime) -> tuple[Told, ...]:
        """Return the thing with what changes together with it; nothing when it is not there."""
        if thing.type in {"registered_model", "model_version"}:
            name = thing.id if thing.type[0] == "r" else mlflow.version_id(thing.id)[0]
            model = self._reads.one("model", name)
            return self._whole(model, at) if model is not None else ()
        sort = "experiment" if thing.type == "experiment" else "run"
        found = self._reads.one(sort, thing.id)
        if found is None:
            return ()
        if sort == "run":
            return mlflow.run(self._names, found, at)
        return (mlflow.experiment(self._names, found, at),)

    def _whole(self, found: Json, at: datetime) -> tuple[Told, ...]:
        """Return a model with all its versions; each run is asked for once."""
        runs: dict[str, Json | None] = {}

        def run_of(id_: str) -> Json | None:
            if id_ not in runs:
                runs[id_] = self._reads.one("run", id_)
            return runs[id_]

        versions = self._reads.pages("versions", str(found.get("name")))
        return tuple(mlflow.model(self._names, found, versions, run_of, at))

    def _understood(self, told: Callable[[], T]) -> T:
        """Return what was told.

        Raises:
            BackendError: It has no sense.
        """
        try:
            return told()
        except ValueError as wrong:
            raise BackendError(
                f"MLflow told what has no sense: {wrong}"[:300],
                where=self._names.namespace,
                hint="is this the address of an MLflow tracking server?",
            ) from wrong


def open_provider(context: ProviderContext) -> MlflowProvider:
    """Return the provider of the store at `context.url`.

    Raises:
        ManifestError: The address has another form.
    """
    namespace = context.namespace or namespace_of(context.url)
    return MlflowProvider(_reads(context), namespace, context.clock)


def namespace_of(url: str) -> str:
    """Return what tells this store from others: host and port, or the end of the path.

    Raises:
        ManifestError: The address has another form.

    Examples:
        >>> namespace_of("http://Ada:secret@tracking:5000/")
        'tracking:5000'
        >>> namespace_of("sqlite:////data/movies/mlflow.db")
        'movies/mlflow.db'
        >>> namespace_of("./movies/mlruns")
        'movies/mlruns'
    """
    parts = _split(url)
    if parts.scheme in {"http", "https"}:
        return parts.netloc.rpartition("@")[2].lower()
    path = _path(url).resolve()
    return "/".join(part for part in path.parts[-2:] if part != "/") or "mlflow"


def _reads(context: ProviderContext) -> MlflowReads:
    parts = _split(context.url)
    if parts.scheme in {"http", "https"}:
        if parts.username or parts.password:
            raise ManifestError(
                "expected no password in the address, got one",
                where="url",
                hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
            )
        network = PacedNetwork(context.network, context.clock, context.requests_per_s)
        given = Credentials(
            token=context.token, username=context.username, password=context.password
        )
        return MlflowRest(context.url, network, given, context.secrets, context.clock)
    path = context.folder / _path(context.url)
    if parts.scheme == "sqlite":
        return MlflowSqlite(path.resolve(), context.url)
    return MlflowFiles(path.resolve(), context.url)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"", "file", "sqlite"} or (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        known, parts = False, urlsplit("")
    if not known or not url:
        raise ManifestError(
            f"expected the address of an MLflow store, got {url[:200]!r}",
            where="url",
            hint=_HINT,
        )
    return parts


def _path(url: str) -> Path:
    """Return the path of a file or SQLite address; `sqlite:///x` is relative, as in MLflow."""
    scheme = _split(url).scheme
    if scheme == "sqlite":
        return Path(unquote(url.removeprefix("sqlite:///")))
    if scheme == "file":
        rest = url.removeprefix("file:")
        return Path(unquote(rest.removeprefix("//")))
    return Path(url)


if TYPE_CHECKING:
    from mlg.core.clock import ManualClock

    _: Provider = MlflowProvider(MlflowFiles(Path(), ""), "x", ManualClock())
