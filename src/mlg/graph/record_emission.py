"""Events of telling others: that it stopped working, and that it works again."""

from datetime import datetime

from mlg.core.errors import LifecycleError
from mlg.core.events import Event
from mlg.core.uris import Uri
from mlg.graph.record import Recorder, node


def emission_uri(recorder: Recorder) -> Uri:
    """Return `health_check openlineage`: whether others can be told of our runs."""
    return recorder.uri("health_check", "openlineage")


def emission_interrupted(recorder: Recorder, *, seq: int, error: LifecycleError) -> Event:
    """Return the event that others could not be told of the event `seq` and wait for it."""
    subject = emission_uri(recorder)
    return recorder.event(
        "mlg.emission.interrupted",
        key=f"emission:{seq}:interrupted",
        subject=subject,
        nodes=[node(subject, {"state": "interrupted"}, name="openlineage")],
        facts={"seq": seq, **error.as_dict()},
    )


def emission_resumed(recorder: Recorder, *, seq: int, since: datetime) -> Event:
    """Return the event that others are told again, from the event `seq` on.

    Args:
        recorder: Whose event.
        seq: Place in the log of the event that had to wait.
        since: When it was first tried.
    """
    subject = emission_uri(recorder)
    waited_s = (recorder.clock.now() - since).total_seconds()
    return recorder.event(
        "mlg.emission.resumed",
        key=f"emission:{seq}:resumed",
        subject=subject,
        nodes=[node(subject, {"state": "working"}, name="openlineage")],
        facts={"seq": seq, "waited_s": waited_s},
    )
