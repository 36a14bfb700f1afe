"""Services whose version no release brings: commands, and adopted recommenders."""

from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from mlg.core.events import Event
from mlg.core.ports import Files
from mlg.core.traffic import FULL_BP
from mlg.core.uris import Digest
from mlg.graph import record_services
from mlg.graph.record import Recorder, model_uri
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_services import ServiceSpec
from mlg.workflows.state import Wanted as ToRun
from mlg.workflows.state import WantedVersion, read_wanted, write_wanted

COMMAND: Final = "command"
"""The version of a service that is a program of the operator's own."""
ADOPTED: Final = "adopted"
"""The version of a recommender that mlg did not train."""
_NONE: Final = Digest("")


def stand(
    files: Files, recorder: Recorder, spec: ManifestSpec, former: ManifestSpec | None, key: str
) -> tuple[Event, ...]:
    """Write which of these services should run; return what the graph is to be told.

    A service that has released versions keeps them: what was adopted serves until the first
    of them takes over, and comes back by `mlg rollout rollback`.

    Args:
        files: Take what should run.
        recorder: Makes events in the name of who applied the manifest.
        spec: The manifest that comes into force.
        former: The one before, if there was one.
        key: What makes the events' keys unique to this change.
    """
    told: list[Event] = []
    for name, service in sorted(spec.services.items()):
        before = read_wanted(files, name)
        released = tuple(v for v in before.versions if v.version not in {COMMAND, ADOPTED})
        wanted = before.versions
        if service.command is not None:
            wanted = (
                WantedVersion(version=COMMAND, artifact=_NONE, bp=FULL_BP, deployment=""),
            )
        elif service.adopt is None:
            wanted = wanted if len(released) == len(wanted) else ()
        elif not released or service.model is None:
            wanted = (_whole(ADOPTED, ADOPTED),)
            was = former.services.get(name) if former else None
            if wanted != before.versions or was is None or was.adopt != service.adopt:
                told.append(_adopted(recorder, name, service, key))
        if wanted != before.versions:
            write_wanted(files, ToRun(service=name, versions=wanted))
    return tuple(told)


def _whole(version: str, deployment: str) -> WantedVersion:
    """Return a version with all of the traffic and no artifact."""
    return WantedVersion(version=version, artifact=_NONE, bp=FULL_BP, deployment=deployment)


def address_of(url: str) -> str:
    """Return an address without the name and password that it may carry.

    Examples:
        >>> address_of("http://user:word@models:8000/v2/models/r/infer?key=1")
        'http://models:8000/v2/models/r/infer'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _adopted(recorder: Recorder, name: str, service: ServiceSpec, key: str) -> Event:
    address = address_of(service.adopt or "")
    return record_services.deployment_started(
        recorder,
        key=f"adopt:{name}:{key}",
        service=name,
        deployment_id=ADOPTED,
        model_version=model_uri(recorder, service.model or name, ADOPTED),
        image_digest=sha256(address.encode()).hexdigest(),
        facts={"adopted": address},
        model_facts={"adopted": address},
    )
