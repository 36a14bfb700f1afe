"""What is known of an incident beside its windows: skew, quarantine, of real artifacts."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.recsys.conftest import START, film_tables, fit_films

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_memory import MemoryFiles
from mlg.app.manifests import Manifests
from mlg.app.pipeline_runs import run_request
from mlg.app.skew import SkewWatch
from mlg.core.errors import ConflictError
from mlg.core.predict import Query
from mlg.core.uris import Digest
from mlg.recsys.two_stage import TwoStage
from mlg.serving.log import hashed
from mlg.workflows.sources import Quarantine, hold

KEY = b"k" * 32
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalArtifacts, Digest, Rows]:
    """Return a real artifact in its store, and a maker of rows as replicas log them."""
    folder = tmp_path_factory.mktemp("known")
    fitted = fit_films(film_tables())
    made = folder / "made"
    made.mkdir()
    fitted.save(made)
    artifacts = LocalArtifacts(folder / "artifacts")
    digest, model = artifacts.put(made), TwoStage(fitted)

    def rows(count: int, *, older: float = 0.0, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for number in range(count):
            viewer = number % 60
            ranked = model.recommend(Query(user_id=viewer, k=5, at=START))
            features = list(ranked.features)
            features[model.logged_features.index("viewer:age")] += older
            row = {"viewer": hashed(KEY, viewer), "model_version": "v1", "features": features}
            found.append({**row, "given": False, **more})
        return found

    return artifacts, digest, rows


def test_rows_that_differ_from_the_artifact_are_counted(
    served: tuple[LocalArtifacts, Digest, Rows],
) -> None:
    artifacts, digest, rows = served
    watch, versions = SkewWatch(artifacts, lambda: KEY), {"v1": digest}
    assert watch.share("home", rows(60), versions) is None, "too few to tell"
    assert watch.share("home", rows(60), versions) == 0.0
    assert watch.share("home", rows(40, older=1.0), versions) == pytest.approx(40 / 160)
    assert watch.share("other", rows(120, older=1.0), versions) == 1.0


@pytest.mark.parametrize(
    "more",
    [{"given": True}, {"given": None}, {"viewer": "stranger"}, {"model_version": "v9"}],
    ids=["the request brought them", "an old row", "not a known viewer", "not a known version"],
)
def test_what_cannot_be_compared_is_no_skew(
    served: tuple[LocalArtifacts, Digest, Rows], more: dict[str, Any]
) -> None:
    artifacts, digest, rows = served
    watch = SkewWatch(artifacts, lambda: KEY)
    assert watch.share("home", rows(150, older=1.0, **more), {"v1": digest}) is None


def test_an_artifact_without_viewers_is_not_compared(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.json").write_text('{"features": ["history_length"]}')
    artifacts = LocalArtifacts(tmp_path / "artifacts")
    watch = SkewWatch(artifacts, lambda: KEY)
    row = {"viewer": "v", "model_version": "v1", "features": [1.0], "given": False}
    assert watch.share("home", [row] * 150, {"v1": artifacts.put(tmp_path / "made")}) is None


def test_only_a_person_trains_in_a_quarantine() -> None:
    files = MemoryFiles()
    services = {"home": SimpleNamespace(model="ranker")}
    spec = SimpleNamespace(project="p", pipelines={"ranker": None}, services=services)
    applied = SimpleNamespace(source="{}", folder=Digest("f" * 64))
    manifests = cast("Manifests", SimpleNamespace(spec=lambda: spec, applied=lambda: applied))
    assert run_request(manifests, files, "ranker", "r1").services == ("home",)
    hold(files, "home", Quarantine(incident="m:1", reason="broken input"))
    with pytest.raises(ConflictError, match="in quarantine by incident m:1: broken input"):
        run_request(manifests, files, "ranker", "r2")
    assert run_request(manifests, files, "ranker", "r3", asked_by_person=True).run_id == "r3"
