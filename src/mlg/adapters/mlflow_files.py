"""An MLflow file store (`./mlruns`), read without MLflow; nothing is ever written.

MLflow keeps this form in maintenance only, so it does not change any more.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from ruamel.yaml import YAML, YAMLError

from mlg.core.errors import BackendError

Json = Mapping[str, Any]

_STATUS: Final = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_NO_EXPERIMENT: Final = frozenset((".trash", "models", "traces", "gateway"))
_DELETED_STAGE: Final = "Deleted_Internal"


class MlflowFiles:
    """Answers as MLflow's REST API would, from its folders.

    Args:
        folder: The store.
        where: How messages name it.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self._folder, self._where = folder, where

    def pages(self, what: str, within: str = "") -> Iterator[Json]:
        """Yield everything of a sort; see `MlflowRest.pages`.

        Raises:
            BackendError: The folder cannot be read, or is no file store.
        """
        self._check()
        try:
            if what == "experiments":
                yield from (self._experiment(folder) for folder in self._experiments())
            elif what == "runs":
                folder = self._experiment_folder(within)
                yield from (self._run(one) for one in _folders(folder)) if folder else ()
            elif what == "models":
                yield from (self._model(folder) for folder in self._models())
            else:
                folder = self._model_folder(within)
                yield from self._versions(folder) if folder else ()
        except (OSError, UnicodeDecodeError, YAMLError) as wrong:
            raise self._unreadable(wrong) from wrong

    def one(self, what: str, id_: str) -> Json | None:
        """Return an `experiment`, `run` or `model`; see `MlflowRest.one`.

        Raises:
            BackendError: The folder cannot be read, or is no file store.
        """
        self._check()
        try:
            if what == "experiment":
                folder = self._experiment_folder(id_)
                return self._experiment(folder) if folder else None
            if what == "model":
                folder = self._model_folder(id_)
                return self._model(folder) if folder else None
            for experiment in self._experiments():
                if _is_name(id_) and (experiment / id_ / "meta.yaml").is_file():
                    return self._run(experiment / id_)
        except (OSError, UnicodeDecodeError, YAMLError) as wrong:
            raise self._unreadable(wrong) from wrong
        return None

    def _experiments(self) -> list[Path]:
        """Return the folders of experiments; deleted ones lie in the trash."""
        found = [one for one in _folders(self._folder) if one.name not in _NO_EXPERIMENT]
        return [*found, *_folders(self._folder / ".trash")]

    def _experiment_folder(self, id_: str) -> Path | None:
        return next((one for one in self._experiments() if one.name == id_), None)

    def _models(self) -> list[Path]:
        return _folders(self._folder / "models")

    def _model_folder(self, name: str) -> Path | None:
        return next((one for one in self._models() if one.name == name), None)

    def _experiment(self, folder: Path) -> Json:
        return {**_yaml(folder), "tags": _texts(folder / "tags")}

    def _run(self, folder: Path) -> Json:
        info = _yaml(folder)
        status = info.get("status")
        shown = _STATUS.get(status) if isinstance(status, int) else status
        return {
            "info": {**info, "status": shown},
            "data": {
                "metrics": _metrics(folder / "metrics"),
                "params": _texts(folder / "params"),
                "tags": _texts(folder / "tags"),
            },
            "inputs": {"dataset_inputs": list(_inputs(folder))},
        }

    def _model(self, folder: Path) -> Json:
        aliases = [
            {"alias": one["key"], "version": one["value"]} for one in _texts(folder / "aliases")
        ]
        return {**_yaml(folder), "tags": _texts(folder / "tags"), "aliases": aliases}

    def _versions(self, folder: Path) -> Iterator[Json]:
        for one in _folders(folder):
            if not one.name.startswith("version-"):
                continue
            found = {**_yaml(one), "tags": _texts(one / "tags")}
            if found.get("current_stage") != _DELETED_STAGE:
                yield found

    def _check(self) -> None:
        if not self._folder.is_dir():
            raise BackendError(
                "no such folder", where=self._where, hint="name MLflow's file store: ./mlruns"
            )

    def _unreadable(self, wrong: Exception) -> BackendError:
        return BackendError(
            f"MLflow's file store cannot be read: {wrong}"[:300],
            where=self._where,
            hint="was it written to meanwhile? Try again.",
        )


def _is_name(text: str) -> bool:
    return bool(text) and "/" not in text and text not in {".", ".."}


def _folders(folder: Path) -> list[Path]:
    """Return the folders inside that have a `meta.yaml`, sorted."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if (one / "meta.yaml").is_file())


def _yaml(folder: Path) -> dict[str, Any]:
    found = YAML(typ="safe", pure=True).load((folder / "meta.yaml").read_text("utf-8"))
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _texts(folder: Path) -> list[dict[str, str]]:
    """Return the files below a folder as names and texts; a name may have slashes."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        {
            "key": path.relative_to(folder).as_posix(),
            "value": path.read_text("utf-8").rstrip("\n"),
        }
        for path in files
    ]


def _metrics(folder: Path) -> list[Json]:
    """Return the newest of each metric: by step, then time, then value, as MLflow does."""
    found: list[Json] = []
    for one in _texts(folder):
        points = [line.split(" ") for line in one["value"].splitlines() if line.strip()]
        newest = max(
            ((int(p[2]) if len(p) > 2 else 0, int(p[0]), float(p[1])) for p in points),
            default=None,
        )
        if newest is not None:
            found.append({"key": one["key"], "value": newest[2]})
    return found


def _inputs(run: Path) -> Iterator[Json]:
    for link in _folders(run / "inputs"):
        said = _yaml(link)
        data = run.parent / "datasets" / str(said.get("source_id"))
        if said.get("source_type") != "DATASET" or not (data / "meta.yaml").is_file():
            continue
        tags = said.get("tags") or {}
        yield {
            "dataset": _yaml(data),
            "tags": [{"key": str(key), "value": str(value)} for key, value in tags.items()],
        }
