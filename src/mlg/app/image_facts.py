"""What the graph knows of a packaged version, for the labels of its image."""

from pathlib import Path
from typing import Final

from mlg.app.graphs import Reader, open_reader
from mlg.core.errors import NotFoundError
from mlg.core.nodes import Node
from mlg.core.reading import NodeQuery, WalkOptions
from mlg.core.uris import Digest

MODEL_VERSION: Final = "mlg.model_version"
CODE: Final = "mlg.code"
DATASETS: Final = "mlg.datasets"
RUN: Final = "mlg.run"

_DATA: Final = ("mlg://dataset_version/", "mlg://feature_snapshot/")
_PAGE: Final = 10_000


def labels_of(home: Path, artifact: Digest) -> tuple[dict[str, str], dict[str, str]]:
    """Return labels that equal inputs give again, and what is another with each run.

    The first are of the image; the second, the run's URI, is told beside it: a run has an
    id of its own, and the image's digest would have it too.

    Raises:
        BackendError: The graph cannot be read.
    """
    try:
        reader = open_reader(home)
    except NotFoundError:
        return {}, {}
    model = _model(reader, artifact)
    if model is None:
        return {}, {}
    attrs = dict(model.attrs)
    labels = {MODEL_VERSION: str(model.uri)}
    if isinstance(attrs.get("code"), str):
        labels[CODE] = str(attrs["code"])
    near = reader.walk(model.uri, "up", WalkOptions(depth=1)).edges
    data = {str(e.src) for e in near if e.role == "trained_on" and e.src.startswith(_DATA)}
    if data:
        labels[DATASETS] = " ".join(sorted(data))
    steps = sorted(str(e.src) for e in near if e.role == "produced")
    runs: set[str] = set()
    for step in steps[:1]:
        above = reader.walk(model.uri.__class__(step), "up", WalkOptions(depth=1)).edges
        runs |= {str(e.src) for e in above if e.src.startswith("mlg://run/")}
    return labels, {RUN: min(runs)} if runs else {}


def newest_version(home: Path, pipeline: str) -> str:
    """Return the newest packaged version of a pipeline's model.

    Raises:
        NotFoundError: There is no instance, or no such version.
        BackendError: The graph cannot be read.
    """
    found = [
        node
        for node in _models(open_reader(home))
        if node.name.partition("@")[0] == pipeline and dict(node.attrs).get("packaged")
    ]
    if not found:
        raise NotFoundError(
            f"no version of {pipeline!r} was packaged here",
            where=str(home),
            hint="run the pipeline: mlg run PIPELINE --follow.",
        )
    return (max(found, key=lambda node: node.valid_from).digest or "")[:12]


def _model(reader: Reader, artifact: Digest) -> Node | None:
    found = [node for node in _models(reader) if node.digest == artifact]
    return found[0] if found else None


def _models(reader: Reader) -> list[Node]:
    nodes: list[Node] = []
    cursor: str | None = None
    while True:
        query = NodeQuery(kinds=("model_version",), limit=_PAGE, cursor=cursor)
        page = reader.nodes(query)
        nodes += [node for node in page.nodes if node.valid_to is None]
        cursor = page.cursor
        if cursor is None:
            return nodes
