"""What other systems keep: an import of all that MLflow has, and where providers stand."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.network_http import HttpNetwork
from mlg.adapters.provider_context import ProviderContext
from mlg.adapters.providers import opener
from mlg.adapters.secrets_local import LocalSecrets
from mlg.app.settings import mlflow_sign_in
from mlg.cli.instance import (
    HomeOption,
    JsonOption,
    connect,
    err,
    home_of,
    out,
    reported,
    show,
    table,
)
from mlg.client.client import Client
from mlg.core.errors import ManifestError
from mlg.core.ports import Provider
from mlg.core.providers import Told
from mlg.core.uris import parse_uri
from mlg.workflows.enrich import Listed, vanished

BATCH: Final = 200
BATCH_BYTES: Final = 900_000
LARGEST: Final = 1_048_000
TOLD: Final = 100
"""Most refused states that are told one by one."""
PAGE: Final = 1_000


@dataclass(slots=True)
class _Sum:
    """What became of the states so far."""

    recorded: int = 0
    unchanged: int = 0
    refused: int = 0
    gone: int = 0
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    problems: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    seen: set[str] = field(default_factory=set[str])

    def document(self, *, complete: bool) -> dict[str, Any]:
        return {
            "recorded": self.recorded,
            "unchanged": self.unchanged,
            "refused": self.refused,
            "gone": self.gone,
            "kinds": dict(sorted(self.kinds.items())),
            "complete": complete,
            "problems": self.problems,
        }

    def refuse(self, place: str, what: str) -> None:
        self.refused += 1
        if len(self.problems) < TOLD:
            self.problems.append({"place": place, "what": what})


def mlflow(
    uri: str = typer.Argument(
        help="http://HOST:5000, https://…, sqlite:///mlflow.db, file:./mlruns or a folder."
    ),
    namespace: str = typer.Option(
        "", help="Second part of the URIs; default: host and port, or the end of the path."
    ),
    token: str = typer.Option(
        "", help="secret://env/NAME or secret://file/PATH; default: MLFLOW_TRACKING_TOKEN."
    ),
    username: str = typer.Option("", help="Default: MLFLOW_TRACKING_USERNAME."),
    password: str = typer.Option(
        "", help="secret://… as --token has it; default: MLFLOW_TRACKING_PASSWORD."
    ),
    requests_per_s: float = typer.Option(50.0, min=0.1, help="Most requests a second."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Bring an MLflow registry in: experiments, runs, data, models, versions, aliases.

    What is in already is left as it is, so a second import brings only what changed, and one
    that was broken off goes on.

    Example: mlg import mlflow http://127.0.0.1:5000
    """
    with reported(as_json):
        provider = _provider(uri, namespace, token, username, password, requests_per_s)
        client = connect(home_of(home))
        told = _Sum()
        complete = False
        try:
            bring(client, provider, told)
            complete = True
        except KeyboardInterrupt:
            err.print("interrupted; what is in stays, and the next import goes on")
        show(told.document(complete=complete), as_json, _print_sum)
    if not complete:
        raise typer.Exit(130)
    if told.refused:
        raise typer.Exit(1)


def providers(
    provider: str = typer.Option("", help="This provider only."),
    state: str = typer.Option("", help="Things of this state: waiting, enriched or failing."),
    limit: int = typer.Option(20, min=0, max=10_000, help="Most things to list."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show where each provider stands, and when its things were told last.

    Example: mlg providers --state failing
    """
    with reported(as_json):
        document = connect(home_of(home)).providers(provider, state, limit)
        show(document, as_json, _print_providers)


def bring(client: Client, provider: Provider, told: _Sum) -> None:
    """Send everything that the provider tells, then what it has no more.

    Raises:
        LifecycleError: The provider or the control plane failed; what was sent before stays.
    """
    for batch in _batches(_noted(provider.tell_all(), told)):
        _send(client, batch, told)
    for space in sorted({parse_uri(uri).namespace for uri in told.seen}):

        def page(kind: str, cursor: str) -> list[Listed]:
            found = client.nodes([kind], cursor=cursor, limit=PAGE)["nodes"]
            return [(one["uri"], one["attrs"], one["valid_to"] is not None) for one in found]

        for thing in vanished(page, "mlflow", space, told.seen):
            gone = [one for one in provider.tell(thing) if one.thing == thing and one.gone]
            told.gone += len(gone)
            _send(client, [(one, msgspec.json.encode(one)) for one in gone], told)


def _noted(told: Iterable[Told], noted: _Sum) -> Iterator[Told]:
    for one in told:
        noted.seen.add(one.subject)
        kind = parse_uri(one.subject).kind
        noted.kinds[kind] = noted.kinds.get(kind, 0) + 1
        yield one


def _batches(told: Iterable[Told]) -> Iterator[list[tuple[Told, bytes]]]:
    """Yield the states in parts that one request may carry."""
    part: list[tuple[Told, bytes]] = []
    size = 0
    for one in told:
        body = msgspec.json.encode(one)
        if part and (len(part) == BATCH or size + len(body) + 1 > BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append((one, body))
        size += len(body) + 1
    if part:
        yield part


def _send(client: Client, batch: list[tuple[Told, bytes]], told: _Sum) -> None:
    fitting = [(one, body) for one, body in batch if len(body) <= LARGEST]
    for one, body in batch:
        if len(body) > LARGEST:
            place = f"{one.thing.type} {one.thing.id}"
            told.refuse(place, f"a state may have {LARGEST} bytes, got {len(body)}")
    if not fitting:
        return
    states = b",".join(body for _, body in fitting)
    answer = client.states(b'{"provider":"mlflow","states":[' + states + b"]}")
    told.recorded += answer["recorded"]
    told.unchanged += answer["unchanged"]
    for result in answer["results"]:
        if result["status"] == "refused":
            told.refuse(f"{result['type']} {result['id']}", result["what"])
    if sys.stderr.isatty():
        err.print(f"{told.recorded} recorded, {told.unchanged} unchanged", end="\r")


def _provider(
    uri: str, namespace: str, token: str, username: str, password: str, requests_per_s: float
) -> Provider:
    for name, text in (("--token", token), ("--password", password)):
        if text and not text.startswith("secret://"):
            raise ManifestError(
                "expected secret://env/NAME or secret://file/PATH, got another text",
                where=name,
                hint="a command line is seen by every process of the machine.",
            )
    given: Mapping[str, str] = {"token": token, "username": username, "password": password}
    if not any(given.values()):
        given = mlflow_sign_in(os.environ)
    clock = SystemClock()
    return opener("mlflow")(
        ProviderContext(
            url=uri,
            namespace=namespace,
            token=given.get("token", ""),
            username=given.get("username", ""),
            password=given.get("password", ""),
            requests_per_s=requests_per_s,
            folder=Path.cwd(),
            network=HttpNetwork(),
            secrets=LocalSecrets(os.environ, Path.cwd()),
            clock=clock,
        )
    )


def _print_sum(told: dict[str, Any]) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in told["kinds"].items()) or "nothing"
    out.print(f"{kinds}", soft_wrap=True)
    out.print(
        f"{told['recorded']} recorded, {told['unchanged']} unchanged, "
        f"{told['refused']} refused, {told['gone']} gone"
    )
    for problem in told["problems"]:
        out.print(f"  {problem['place']}: {problem['what']}", markup=False, soft_wrap=True)


def _print_providers(found: dict[str, Any]) -> None:
    table(
        "Providers",
        ["provider", "state", "waiting", "enriched", "failing", "last told", "problem"],
        [
            [
                one["provider"],
                one["state"],
                one["waiting"],
                one["enriched"],
                one["failing"],
                one["last_enriched_at"] or "never",
                one["problem"],
            ]
            for one in found["providers"]
        ],
    )
    if found["things"]:
        table(
            "Things",
            ["provider", "type", "id", "state", "last told", "tries", "error"],
            [
                [
                    one["provider"],
                    one["type"],
                    one["id"],
                    one["state"],
                    one["last_enriched_at"] or "never",
                    one["tries"],
                    one["error"],
                ]
                for one in found["things"]
            ],
        )
