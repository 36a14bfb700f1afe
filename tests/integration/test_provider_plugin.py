"""A provider that another package brings: the one of docs/providers.md, by its entry point."""

import re
from pathlib import Path
from typing import Any

import pytest

from mlg.adapters.network_memory import MemoryNetwork
from mlg.adapters.provider_context import ProviderContext
from mlg.adapters.providers import opener, plugins
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.core.clock import ManualClock
from mlg.core.errors import ManifestError
from mlg.core.providers import Thing

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"


def block(language: str, holding: str) -> str:
    found = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    (text,) = [one for one in found if holding in one]
    return text


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "site" / "mypackage"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "csv_runs.py").write_text(block("python", "class CsvRuns"))
    told = tmp_path / "site" / "mypackage-1.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: mypackage\nVersion: 1\n")
    named = block("toml", "mlg.providers").replace('"mlg.providers"', "mlg.providers")
    named = named.replace("project.entry-points.", "").replace('"', "")
    (told / "entry_points.txt").write_text(f"{named}broken = mypackage.none:nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path


def context(folder: Path, **more: Any) -> ProviderContext:
    return ProviderContext(
        url="runs.csv",
        folder=folder,
        network=MemoryNetwork(),
        secrets=MemorySecrets({}),
        clock=ManualClock(),
        **more,
    )


def test_the_provider_of_the_docs_is_found_and_keeps_the_protocol(installed: Path) -> None:
    (installed / "runs.csv").write_text("id,score,data\na,0.5,plays\nb,1,plays\n")
    assert plugins() == ("broken", "csv_runs", "mlflow")
    provider = opener("csv_runs")(context(installed))
    told = {one.thing.id: one for one in provider.tell_all()}
    assert set(told) == {"a", "b"}
    assert provider.tell(Thing(type="run", id="a")) == (told["a"],)
    assert (dict(told["a"].attrs), told["a"].edges[0].role) == ({"score": 0.5}, "used")
    (gone,) = provider.tell(Thing(type="run", id="c"))
    assert gone.gone
    with pytest.raises(ValueError, match="expected a run"):
        provider.tell(Thing(type="model", id="a"))


def test_a_plug_in_that_is_not_there_or_broken_is_told(installed: Path) -> None:
    with pytest.raises(ManifestError, match="known are broken, csv_runs, mlflow"):
        opener("none")
    with pytest.raises(ManifestError, match="cannot be loaded"):
        opener("broken")


def test_a_context_shows_no_secret(installed: Path) -> None:
    shown = repr(context(installed, token="t0ken", password="hunter2"))
    assert "t0ken" not in shown
    assert "hunter2" not in shown
