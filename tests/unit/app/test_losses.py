"""What the graph is told of lost log records, and what is known after a restart."""

from datetime import UTC, datetime, timedelta

import pytest

from mlg.adapters.files_memory import MemoryFiles
from mlg.app.alert_desk import AlertDesk
from mlg.app.losses import KIND, MONITOR, LogLosses
from mlg.automations.happened import event_data
from mlg.automations.triggers import matches
from mlg.core.clock import ManualClock
from mlg.core.events import Event
from mlg.graph.record import Recorder
from mlg.manifest.specs_automations import TriggerSpec
from mlg.monitors.hold import Silence, silenced
from mlg.monitors.losses import QUIET_S, LossFacts, LossLook

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Numbers:
    def __init__(self) -> None:
        self.last = 0

    def new_id(self) -> str:
        self.last += 1
        return f"id-{self.last}"


RECORDER = Recorder(
    project="movies", actor="system:replicas", clock=ManualClock(AT), ids=Numbers()
)


def look(losses: LogLosses, now_s: float, total: int) -> list[Event]:
    one = LossLook(process="replica-home-1", life="a", service="home", total=total)
    return losses.look(RECORDER, LossFacts(now_s=AT.timestamp() + now_s, looks=(one,)))


def test_a_loss_is_told_with_an_alert_that_it_caused() -> None:
    lost, alert, incident = look(LogLosses(MemoryFiles(), "ab12"), 0.0, 3)
    assert [e.type for e in (lost, alert, incident)] == [
        "mlg.log.records_lost", "mlg.alert.opened", "mlg.incident.opened",
    ]  # fmt: skip
    assert {alert.cause, incident.cause} == {lost.id}
    told = event_data(alert)
    assert (told["kind"], told["monitor"], told["n"]) == (KIND, MONITOR, 3)
    assert told["text"] == (
        "3 answers or feedback of home could not be written to its log by replica-home-1"
    )
    assert alert.subject == "mlg://alert/mlg/movies/mlg.log-home%3A1%2Frecords_lost@ab12"


def test_what_was_kept_is_not_told_again_and_the_alert_goes_on() -> None:
    files = MemoryFiles()
    losses = LogLosses(files, "ab12")
    look(losses, 0.0, 3)
    losses.keep()
    again = LogLosses(files, "cd34")
    assert look(again, 1.0, 3) == []
    alert = again.open("home")
    assert alert is not None
    assert again.uri(RECORDER, alert).endswith("@ab12")
    closed = look(again, QUIET_S, 3)
    assert [e.type for e in closed] == ["mlg.alert.closed", "mlg.incident.closed"]
    assert (again.open("home"), again.numbers()) == (None, {"home": 1})


def test_what_was_not_kept_is_told_again_by_the_same_keys() -> None:
    files = MemoryFiles()
    first = [e.key for e in look(LogLosses(files, "ab12"), 0.0, 3)]
    assert [e.key for e in look(LogLosses(files, "ab12"), 5.0, 3)] == first


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"born": 1}'])
def test_a_damaged_memory_begins_anew(content: bytes) -> None:
    files = MemoryFiles()
    files.write("log-losses.json", content)
    losses = LogLosses(files, "cd34")
    assert losses.open("home") is None
    assert len(look(losses, 0.0, 1)) == 3
    losses.keep()
    assert LogLosses(files, "ef56").open("home") == losses.open("home")


def test_a_silenced_loss_is_told_and_marked() -> None:
    files = MemoryFiles()
    desk = AlertDesk(files, ManualClock(AT))
    one = Silence(
        id="", monitor=MONITOR, until=AT + timedelta(hours=1), reason="full disk", by="a", at=AT
    )
    desk.write(silenced(desk.read(), one, now=AT)[0])
    _, alert, _ = look(LogLosses(files, "ab12", desk.hold), 0.0, 3)
    told = event_data(alert)
    assert told["standing"] == "silenced"
    assert "full disk" in str(told["held"])
    assert not matches(TriggerSpec(alert=KIND), alert)
    _, alert, _ = look(LogLosses(files, "cd34"), 0.0, 3)
    assert matches(TriggerSpec(alert=KIND), alert)
