"""Every provider keeps these; MLflow's over a file store that the test writes itself."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlg.adapters.mlflow_files import MlflowFiles
from mlg.adapters.provider_memory import MemoryProvider
from mlg.adapters.provider_mlflow import MlflowProvider
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError
from mlg.core.ports import Provider
from mlg.core.providers import Thing
from mlg.core.uris import parse_uri

RUN = Thing(type="run", id="r1")


@dataclass(frozen=True, slots=True)
class Source:
    """A provider with one run, `r1`, that read `ratings@d1`, and what a test may do to it."""

    provider: Provider
    plugin: str
    change: Callable[[], None]
    drop: Callable[[], None]
    cut: Callable[[], None]


def memory() -> Source:
    provider = MemoryProvider(ManualClock())
    provider.put("r1", {"score": 1}, ("ratings@d1",))

    def cut() -> None:
        provider.down = True

    return Source(
        provider,
        "memory",
        lambda: provider.put("r1", {"score": 2}, ("ratings@d1",)),
        lambda: provider.drop("r1"),
        cut,
    )


def mlflow(folder: Path) -> Source:
    run = folder / "1" / "r1"
    files = {
        "1/meta.yaml": "experiment_id: '1'\nname: one\ncreation_time: 1700000000000\n",
        "1/datasets/x/meta.yaml": "name: ratings\ndigest: d1\nsource_type: http\n",
        "1/r1/meta.yaml": "run_id: r1\nexperiment_id: '1'\nstatus: 3\n"
        "start_time: 1700000000000\nend_time: 1700000001000\nrun_name: first\n",
        "1/r1/inputs/x/meta.yaml": "source_type: DATASET\nsource_id: x\ntags: {}\n",
        "1/r1/metrics/score": "1700000000500 1 0\n",
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return Source(
        MlflowProvider(MlflowFiles(folder, "x"), "here", ManualClock()),
        "mlflow",
        lambda: (run / "metrics/score").write_text("1700000000500 2 0\n") and None,
        lambda: shutil.rmtree(run),
        lambda: shutil.rmtree(folder),
    )


@pytest.fixture(params=["memory", "mlflow"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    return memory() if request.param == "memory" else mlflow(tmp_path / "mlruns")


def test_names_its_types_sorted_and_refuses_others(source: Source) -> None:
    types = source.provider.types()
    assert "run" in types
    assert list(types) == sorted(types)
    with pytest.raises(ValueError, match="expected"):
        source.provider.tell(Thing(type="none", id="r1"))


def test_the_same_state_is_told_the_same_by_itself_and_among_all(source: Source) -> None:
    (told,) = source.provider.tell(RUN)
    assert source.provider.tell(RUN) == (told,)
    assert told in list(source.provider.tell_all())
    assert (told.thing, told.gone) == (RUN, False)
    assert [edge.dst for edge in told.edges if edge.role == "used"] == [told.subject]


def test_every_node_is_of_the_providers_own_part(source: Source) -> None:
    for told in source.provider.tell_all():
        named = [told.subject, *(fact.uri for fact in told.nodes)]
        named += [uri for edge in told.edges for uri in (edge.src, edge.dst)]
        assert {parse_uri(uri).provider for uri in named} == {source.plugin}


def test_a_change_is_told_about_the_same_node(source: Source) -> None:
    (before,) = source.provider.tell(RUN)
    source.change()
    (after,) = source.provider.tell(RUN)
    assert after.subject == before.subject
    assert after.attrs != before.attrs


def test_what_is_not_there_or_not_there_any_more_is_told_as_gone(source: Source) -> None:
    (told,) = source.provider.tell(RUN)
    source.drop()
    (gone,) = source.provider.tell(RUN)
    assert (gone.thing, gone.subject, gone.gone) == (RUN, told.subject, True)
    (never,) = source.provider.tell(Thing(type="run", id="never"))
    assert never.gone
    assert RUN not in {one.thing for one in source.provider.tell_all()}


def test_a_source_that_does_not_answer_is_a_backend_error(source: Source) -> None:
    source.cut()
    with pytest.raises(BackendError):
        source.provider.tell(RUN)
    with pytest.raises(BackendError):
        list(source.provider.tell_all())
