"""An MLflow tracking server, read over its REST API, version 2.0."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

from mlg.core.clock import Clock
from mlg.core.errors import BackendError
from mlg.core.ports import Network, Reply, Secrets

PAGE: Final = 200
"""Things a page; a run has all its parameters, metrics and tags in it."""
TRIES: Final = 4
"""Requests until a server that does not answer, or is too busy, is given up."""
WAIT_S: Final = 0.5
"""Before the second try; twice as long before each next one."""
LONGEST_WAIT_S: Final = 30.0
TIMEOUT_S: Final = 30.0

_BUSY: Final = frozenset((0, 408, 429, 500, 502, 503, 504))
_LISTS: Final = {
    "experiments": "experiments",
    "runs": "runs",
    "models": "registered_models",
    "versions": "model_versions",
}
_ONE: Final = {
    "experiment": ("experiments/get", "experiment_id", "experiment"),
    "run": ("runs/get", "run_id", "run"),
    "model": ("registered-models/get", "name", "registered_model"),
}

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to sign in: by token, or by user and password; `secret://…` is resolved at use."""

    token: str = ""
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Return text without what it holds."""
        return "Credentials(…)"

    def header(self, secrets: Secrets) -> tuple[tuple[str, str], ...]:
        """Return the header that signs in; nothing when nothing is given.

        Raises:
            NotFoundError: A secret is not there.
        """
        token, username, password = (
            secrets.resolve(text) if text.startswith("secret://") else text
            for text in (self.token, self.username, self.password)
        )
        if username:
            coded = base64.b64encode(f"{username}:{password}".encode()).decode()
            return (("authorization", f"Basic {coded}"),)
        return (("authorization", f"Bearer {token}"),) if token else ()


class MlflowRest:
    """Reads a tracking server; what is busy is asked again with growing pauses.

    Args:
        url: `http://…` or `https://…` of the server, with any path before `/api`.
        network: Takes the requests; hand in a paced one to spare the server.
        credentials: Resolved at each request.
        secrets: Resolves them.
        clock: For the pauses.
        tries: Requests until it is given up.
    """

    def __init__(
        self,
        url: str,
        network: Network,
        credentials: Credentials,
        secrets: Secrets,
        clock: Clock,
        tries: int = TRIES,
    ) -> None:
        self._base = f"{url.rstrip('/')}/api/2.0/mlflow"
        self._where = url
        self._network, self._clock, self._tries = network, clock, tries
        self._credentials, self._secrets = credentials, secrets

    def pages(self, what: str, within: str = "") -> Iterator[Json]:
        """Yield everything of a sort, deleted ones too where the server still has them.

        Args:
            what: `experiments`, `runs` of an experiment, `models`, `versions` of a model.
            within: The experiment's id, or the model's name.

        Raises:
            BackendError: The server does not answer, or refuses.
        """
        token = ""
        while True:
            answer = self._page(what, within, token)
            found = answer.get(_LISTS[what])
            listed = cast("list[Json]", found) if isinstance(found, list) else []
            if what == "versions":  # a name that no filter can hold was not filtered by
                listed = [one for one in listed if one.get("name") == within]
            yield from listed
            following = answer.get("next_page_token")
            if not isinstance(following, str) or not following or following == token:
                return
            token = following

    def one(self, what: str, id_: str) -> Json | None:
        """Return an `experiment`, `run` or `model` by its id; None when there is none.

        Raises:
            BackendError: The server does not answer, or refuses.
        """
        path, name, key = _ONE[what]
        answer = self._asked("GET", f"{path}?{urlencode({name: id_}, quote_via=quote)}")
        found = answer.get(key) if answer is not None else None
        return cast("Json", found) if isinstance(found, dict) else None

    def _page(self, what: str, within: str, token: str) -> Json:
        asked: dict[str, Any] = {"max_results": PAGE}
        if token:
            asked["page_token"] = token
        if what == "experiments":
            answer = self._asked("POST", "experiments/search", {**asked, "view_type": "ALL"})
        elif what == "runs":
            chosen = {"experiment_ids": [within], "run_view_type": "ALL"}
            answer = self._asked("POST", "runs/search", {**asked, **chosen})
        elif what == "models":
            answer = self._asked("GET", f"registered-models/search?{urlencode(asked)}")
        else:
            if not {"'", '"'} <= set(within):
                asked["filter"] = f"name={_quoted(within)}"
            answer = self._asked("GET", f"model-versions/search?{urlencode(asked)}")
        return answer or {}

    def _asked(self, method: str, path: str, body: Json | None = None) -> Json | None:
        """Return the answer's object; None where the server has no such thing.

        Raises:
            BackendError: There is no answer, a refusal, or no JSON.
        """
        headers = self._credentials.header(self._secrets)
        content = json.dumps(body).encode() if body is not None else b""
        if body is not None:
            headers = (*headers, ("content-type", "application/json"))
        reply = self._tried(method, f"{self._base}/{path}", content, headers)
        if reply.status == 404 and _code(reply) == "RESOURCE_DOES_NOT_EXIST":
            return None
        if reply.status != 200:
            raise self._refused(reply)
        try:
            answer = json.loads(reply.body)
        except ValueError as wrong:
            raise BackendError(
                "expected JSON from MLflow, got something else",
                where=self._where,
                hint="is this the address of an MLflow tracking server?",
            ) from wrong
        return cast("Json", answer) if isinstance(answer, dict) else {}

    def _tried(
        self, method: str, url: str, body: bytes, headers: tuple[tuple[str, str], ...]
    ) -> Reply:
        for number in range(1, self._tries + 1):
            reply = self._network.request(
                method, url, body=body, headers=headers, timeout_s=TIMEOUT_S
            )
            if reply.status not in _BUSY or number == self._tries:
                return reply
            told = dict(reply.headers).get("retry-after", "")
            pause_s = float(told) if told.isdecimal() else WAIT_S * 2 ** (number - 1)
            self._clock.wait(min(pause_s, LONGEST_WAIT_S))
        return Reply(status=0)

    def _refused(self, reply: Reply) -> BackendError:
        if reply.status == 0:
            return BackendError(
                "MLflow does not answer",
                where=self._where,
                hint="is the tracking server up, and the address right?",
            )
        if reply.status in (401, 403):
            return BackendError(
                f"MLflow refused the credentials ({reply.status})",
                where=self._where,
                hint="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD.",
            )
        said = _code(reply) or "no MLflow error"
        return BackendError(
            f"MLflow answered {reply.status} ({said})",
            where=self._where,
            hint="is this the address of an MLflow tracking server?",
        )


def _code(reply: Reply) -> str:
    try:
        found = json.loads(reply.body)
    except ValueError:
        return ""
    code = found.get("error_code") if isinstance(found, dict) else ""
    return code[:80] if isinstance(code, str) else ""


def _quoted(text: str) -> str:
    """Return the text as MLflow's filters take it: they know both quotes, but no escape."""
    return f'"{text}"' if "'" in text else f"'{text}'"
