import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mlg.adapters.mlflow_rest import TRIES, Credentials, MlflowRest
from mlg.adapters.network_memory import MemoryNetwork, Request
from mlg.adapters.network_paced import PacedNetwork
from mlg.adapters.secrets_memory import MemorySecrets
from mlg.core.clock import ManualClock
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import Reply

URL = "http://mlflow:5000/base"
SECRETS = MemorySecrets({"secret://env/T": "t0ken", "secret://env/P": "hunter2"})


def reads(
    answer: Callable[[Request], Reply], clock: ManualClock | None = None, **given: str
) -> MlflowRest:
    network = MemoryNetwork()
    network.serve("http://mlflow:5000", answer)
    return MlflowRest(URL, network, Credentials(**given), SECRETS, clock or ManualClock())


def ok(**found: Any) -> Reply:
    return Reply(status=200, body=json.dumps(found).encode())


def test_every_page_is_read_until_there_is_no_token() -> None:
    asked: list[Any] = []

    def answer(request: Request) -> Reply:
        body = json.loads(request.body)
        asked.append((request.path, body.get("page_token")))
        page = int(body.get("page_token", 0))
        more = {"next_page_token": str(page + 1)} if page < 2 else {}
        return ok(runs=[{"n": page}], **more)

    assert [run["n"] for run in reads(answer).pages("runs", "1")] == [0, 1, 2]
    path = "/base/api/2.0/mlflow/runs/search"
    assert asked == [(path, None), (path, "1"), (path, "2")]


def test_a_name_with_quotes_is_asked_for_as_it_is() -> None:
    filters: list[str] = []

    def answer(request: Request) -> Reply:
        filters.extend(parse_qs(urlsplit(request.path).query)["filter"])
        return ok()

    for name in ("ranker", "it's"):
        assert list(reads(answer).pages("versions", name)) == []
    assert filters == ["name='ranker'", 'name="it\'s"']


def test_a_busy_server_is_asked_again_after_the_time_it_names() -> None:
    clock, answers = ManualClock(), [
        Reply(status=429, headers=(("retry-after", "7"),)),
        Reply(status=503),
        ok(run={"n": 1}),
    ]  # fmt: skip
    found = reads(lambda _: answers.pop(0), clock).one("run", "r")
    assert found == {"n": 1}
    assert clock.monotonic_s() == pytest.approx(7 + 1.0)  # then 0.5 s, doubled once


def test_a_server_that_stays_away_is_given_up_after_so_many_tries() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Reply:
        asked.append(request)
        return Reply(status=503)

    with pytest.raises(BackendError, match="503"):
        reads(answer).one("run", "r")
    assert len(asked) == TRIES


def test_what_is_not_there_is_none_and_another_404_is_an_error() -> None:
    def missing(_: Request) -> Reply:
        code = b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'
        return Reply(status=404, body=code)

    assert reads(missing).one("run", "r") is None
    with pytest.raises(BackendError, match="404"):
        reads(lambda _: Reply(status=404, body=b"<html>")).one("run", "r")
    with pytest.raises(BackendError, match="expected JSON"):
        reads(lambda _: Reply(status=200, body=b"<html>")).one("run", "r")


def test_secrets_are_resolved_at_use_and_never_in_a_message() -> None:
    seen: list[str] = []

    def answer(request: Request) -> Reply:
        seen.append(dict(request.headers)["authorization"])
        return Reply(status=401)

    given: list[dict[str, str]] = [
        {"token": "secret://env/T"},
        {"username": "ada", "password": "secret://env/P"},
    ]
    for one in given:
        with pytest.raises(BackendError) as caught:
            reads(answer, **one).one("run", "r")
        said = f"{caught.value} {caught.value.hint} {Credentials(**one)!r}"
        assert "t0ken" not in said
        assert "hunter2" not in said
    basic = base64.b64encode(b"ada:hunter2").decode()
    assert seen == ["Bearer t0ken", f"Basic {basic}"]
    with pytest.raises(NotFoundError):
        reads(answer, token="secret://env/NONE").one("run", "r")


def test_paced_requests_are_a_gap_apart() -> None:
    clock, network = ManualClock(), MemoryNetwork()
    network.serve("http://a", lambda _: Reply(status=200))
    paced = PacedNetwork(network, clock, 4.0)
    for _ in range(9):
        assert paced.request("GET", "http://a/").status == 200
    assert clock.monotonic_s() == pytest.approx((9 - 1) / 4.0)
    with pytest.raises(ValueError, match="more than 0"):
        PacedNetwork(network, clock, 0.0)
