"""What the graph says of signatures, and of a model that a server refused."""

from itertools import count

from mlg.core.clock import ManualClock
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.uris import Digest, Uri
from mlg.graph.record import Recorder, deployment_uri, image_uri, model_uri
from mlg.graph.record_models import model_packaged, model_refused, model_signed


class Counted:
    def __init__(self) -> None:
        self._numbers = count(1)

    def new_id(self) -> str:
        return f"id-{next(self._numbers)}"


RECORDER = Recorder(project="movies", actor="test", clock=ManualClock(), ids=Counted())
MODEL = model_uri(RECORDER, "ranker", "ab" * 6)
IMAGE = image_uri(RECORDER, "movies", "cd" * 32)


def attrs(event: Event, uri: Uri) -> dict[str, Attr]:
    return {k: v for n in event.nodes if n.uri == uri for k, v in n.attrs}


def test_a_refusal_names_the_process_the_deployment_and_the_rollout() -> None:
    deployment = deployment_uri(RECORDER, "home", "d-1")
    event = model_refused(
        RECORDER,
        key="k",
        model="ranker",
        version="ab" * 6,
        reason="a.npy: the file was altered",
        process_id="replica-home-2",
        service="home",
        deployment=deployment,
        rollout="d-1",
    )
    assert (event.type, event.subject) == ("mlg.model_version.refused", MODEL)
    assert dict(event.data) == {
        "reason": "a.npy: the file was altered",
        "process": "replica-home-2",
        "service": "home",
        "deployment": deployment,
        "rollout": "d-1",
    }
    check = RECORDER.uri("health_check", "replica-home-2")
    assert attrs(event, check)["verdict"] == "FAIL"
    assert {(e.src, e.role, e.dst) for e in event.edges} == {
        (MODEL, "checked_by", check),
        (deployment, "checked_by", check),
    }


def test_signatures_are_attributes_of_the_version_and_of_its_image() -> None:
    model, image, key = Digest("12" * 32), Digest("34" * 32), "56" * 32
    signed = model_signed(
        RECORDER,
        key="k",
        model="ranker",
        version="ab" * 6,
        artifact=Digest("ab" * 32),
        signature=model,
        key_id=key,
        reason="it is older",
        image=IMAGE,
        image_signature=image,
    )
    assert attrs(signed, MODEL)["signature_digest"] == model
    assert attrs(signed, IMAGE) == {"signature_digest": image, "signature_key_id": key}
    packaged = model_packaged(
        RECORDER,
        key="p",
        model="ranker",
        version="ab" * 6,
        artifact=Digest("ab" * 32),
        image="movies",
        image_digest=Digest("cd" * 32),
        image_signature=image,
        signature_key=key,
    )
    assert attrs(packaged, IMAGE)["signature_key_id"] == key
    unsigned = model_packaged(
        RECORDER,
        key="q",
        model="ranker",
        version="ab" * 6,
        artifact=Digest("ab" * 32),
        image="movies",
        image_digest=Digest("cd" * 32),
    )
    assert "signature_key_id" not in attrs(unsigned, IMAGE)
