"""What runs found wrong with sources, and quarantines: kept, read, forgotten."""

import pytest

from mlg.adapters.files_memory import MemoryFiles
from mlg.core.errors import BackendError, ContractError
from mlg.workflows.sources import Quarantine, held, hold, lift, note_source, source_faults


def test_a_source_is_at_fault_until_a_run_reads_it_well() -> None:
    files = MemoryFiles()
    note_source(files, "plays", "r1", ContractError("no column 'stars'"))
    note_source(files, "people", "r1", BackendError("no such file"))
    note_source(files, "films", "r1", None)
    found = source_faults(files, ["plays", "people", "films"])
    assert {name: one.kind for name, one in found.items()} == {
        "plays": "broken",
        "people": "late",
    }
    assert "stars" in found["plays"].reason
    note_source(files, "plays", "r2", None)
    assert set(source_faults(files, ["plays", "people"])) == {"people"}


def test_a_quarantine_is_lifted_by_its_own_incident_only() -> None:
    files = MemoryFiles()
    assert held(files, ["home"]) is None
    hold(files, "home", Quarantine(incident="m:1", reason="broken"))
    lift(files, "home", "m:2")
    lift(files, "other", "m:1")
    kept = held(files, ["aside", "home"])
    assert kept is not None
    assert kept.incident == "m:1"
    for _ in range(2):
        lift(files, "home", "m:1")
    assert held(files, ["home"]) is None


def test_a_damaged_file_is_named() -> None:
    files = MemoryFiles()
    files.write("quarantine/home.json", b"{")
    with pytest.raises(BackendError, match="damaged"):
        held(files, ["home"])
