"""Which backends an instance uses: `mlg.env.yaml`, and `MLG_*` variables above it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from mlg.adapters.notify_email import SmtpServer, smtp_server
from mlg.core.errors import ManifestError
from mlg.manifest.tree import parse_tree, plain

SETTINGS_FILE: Final = "mlg.env.yaml"

GatewayXds = Literal["files", "ads"]
"""How gateways are told what to do."""
Launch = Literal["artifact", "image"]
"""What replicas are started from."""


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`smtp:` the mail server."""

    url: str
    """`smtp://`, `smtp+starttls://` or `smtps://`, `[user@]host[:port]`."""
    password: str = ""
    """`secret://env/NAME` or `secret://file/PATH`."""
    sender: str = msgspec.field(name="from", default="")
    """Address in `From`."""


class HookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`hooks:` who may tell of commits."""

    secret: str
    """`secret://…` of the key that signs commit hooks."""


class GraphSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`graph:` the database of the graph, where it is not the home's own file."""

    url: str
    """`postgresql://user@host:port/database`, without a password."""
    password: str = ""
    """`secret://env/NAME` or `secret://file/PATH`."""


class EventSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`events:` the server that predictions and feedback are copied to, for other hosts."""

    url: str
    """`nats://[user@]host:4222` or `tls://…`, without a password."""
    password: str = ""
    """`secret://env/NAME` or `secret://file/PATH`."""
    namespace: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+$")] = "mlg"
    """Hosts of one instance share it; instances on one server do not."""
    keep_days: Annotated[float, msgspec.Meta(ge=0)] = 7.0
    """After which the server forgets a record; 0 keeps all. In force where a stream is made."""


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`providers: NAME:` one source of truth that thin events may name."""

    url: str
    """Address of the source, without a password."""
    plugin: str = ""
    """Which plug-in reads it; empty: that of the provider's own name."""
    namespace: str = ""
    """Second part of its URIs; empty: taken from the address."""
    token: str = ""
    """`secret://env/NAME` or `secret://file/PATH`."""
    username: str = ""
    password: str = ""
    """`secret://env/NAME` or `secret://file/PATH`."""
    requests_per_s: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 10.0
    sweep_every_s: Annotated[float, msgspec.Meta(ge=0)] = 3_600.0
    """Seconds between two looks at everything; 0 never looks."""


class SigningSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`signing:` whose signatures are believed beside the instance's own."""

    trusted: tuple[str, ...] = ()
    """Files of public keys (PEM), beside the settings or absolute."""


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`gateway:` how the gateways are told what to do."""

    xds: GatewayXds = "files"
    """`files` that they watch, or `ads`: one stream each; needs the extra `ads`."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    smtp: SmtpSettings | None = None
    hooks: HookSettings | None = None
    graph: GraphSettings | None = None
    events: EventSettings | None = None
    providers: dict[str, ProviderSettings] = {}
    signing: SigningSettings | None = None
    gateway: GatewaySettings = GatewaySettings()
    launch: Launch = "artifact"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one instance; they name secrets and hold none."""

    smtp: SmtpServer | None = None
    """None: no mail can be sent."""
    hook_secret: str | None = None
    """`secret://…`; None: no commit hook is taken."""
    graph: GraphSettings | None = None
    """None: SQLite, in the home."""
    events: EventSettings | None = None
    """None: monitors read the home's own segment files, on this host alone."""
    providers: dict[str, ProviderSettings] = {}
    trusted: tuple[Path, ...] = ()
    """Files of public keys that are believed beside the home's own."""
    xds: GatewayXds = "files"
    """How the gateways are told what to do."""
    launch: Launch = "artifact"
    """What replicas are started from: the model's artifact, or the layers of its image."""


def read_settings(env: Mapping[str, str], folder: Path) -> Settings:
    """Return the settings of an instance.

    Args:
        env: `MLG_SMTP_URL`, `MLG_SMTP_PASSWORD`, `MLG_SMTP_FROM`, `MLG_HOOK_SECRET`,
            `MLG_GRAPH_URL`, `MLG_GRAPH_PASSWORD`, `MLG_EVENTS_URL`,
            `MLG_EVENTS_PASSWORD`, `MLG_MLFLOW_URL`, `MLG_SIGNING_TRUSTED`
            (files with `:` between), `MLG_GATEWAY_XDS`, `MLG_LAUNCH`; a variable that is set
            and not empty
            wins over the file's key.
        folder: Where `mlg.env.yaml` may lie: beside the manifest.

    Raises:
        ManifestError: The file or a variable is wrong, with its place.
    """
    path = folder / SETTINGS_FILE
    written = _from_file(path)
    smtp = written.smtp
    url = env.get("MLG_SMTP_URL") or (smtp.url if smtp else "")
    where = "MLG_SMTP_URL" if env.get("MLG_SMTP_URL") else f"{path.name}: smtp.url"
    server = None
    if url:
        server = smtp_server(
            url,
            password=env.get("MLG_SMTP_PASSWORD") or (smtp.password if smtp else ""),
            sender=env.get("MLG_SMTP_FROM") or (smtp.sender if smtp else ""),
            where=where,
        )
    named = written.hooks.secret if written.hooks else ""
    secret = env.get("MLG_HOOK_SECRET") or named
    if secret and not secret.startswith("secret://"):
        from_env = bool(env.get("MLG_HOOK_SECRET"))
        raise ManifestError(
            "expected secret://env/NAME or secret://file/PATH, got another text",
            where="MLG_HOOK_SECRET" if from_env else f"{path.name}: hooks.secret",
            hint="settings name secrets and hold none.",
        )
    graph = _graph(env, written.graph, path.name)
    told = env.get("MLG_SIGNING_TRUSTED", "").split(os.pathsep)
    named_keys = [one for one in told if one] or (
        written.signing.trusted if written.signing else ()
    )
    return Settings(
        smtp=server,
        hook_secret=secret or None,
        graph=graph,
        events=_events(env, written.events, path.name),
        providers=_providers(env, written.providers, path.name),
        trusted=tuple(folder / one for one in named_keys),
        xds=_xds(env, written.gateway),
        launch=_launch(env, written.launch),
    )


def _launch(env: Mapping[str, str], written: Launch) -> Launch:
    """Return what replicas are started from.

    Raises:
        ManifestError: The variable says neither.
    """
    told = env.get("MLG_LAUNCH") or written
    if told not in {"artifact", "image"}:
        raise ManifestError(
            f"expected artifact or image, got {told!r}",
            where="MLG_LAUNCH",
            hint="leave it out to start replicas from the model's folder.",
        )
    return "image" if told == "image" else "artifact"


def _xds(env: Mapping[str, str], written: GatewaySettings) -> GatewayXds:
    """Return how gateways are told.

    Raises:
        ManifestError: The variable says neither.
    """
    told = env.get("MLG_GATEWAY_XDS") or written.xds
    if told not in {"files", "ads"}:
        raise ManifestError(
            f"expected files or ads, got {told!r}",
            where="MLG_GATEWAY_XDS",
            hint="leave it out for files, which need no package.",
        )
    return "ads" if told == "ads" else "files"


def _providers(
    env: Mapping[str, str], written: Mapping[str, ProviderSettings], name: str
) -> dict[str, ProviderSettings]:
    """Return the providers; MLflow's also by its variables.

    Raises:
        ManifestError: A password or token is written into the settings.
    """
    found = dict(written)
    if env.get("MLG_MLFLOW_URL"):
        given = found.get("mlflow", ProviderSettings(url=""))
        found["mlflow"] = msgspec.structs.replace(given, url=env["MLG_MLFLOW_URL"])
    for provider, given in found.items():
        for key, text in (("token", given.token), ("password", given.password)):
            if text and not text.startswith("secret://"):
                raise ManifestError(
                    "expected secret://env/NAME or secret://file/PATH, got another text",
                    where=f"{name}: providers.{provider}.{key}",
                    hint="settings name secrets and hold none.",
                )
        if (given.plugin or provider) == "mlflow" and not (given.token or given.username):
            found[provider] = msgspec.structs.replace(given, **mlflow_sign_in(env))
    return found


def mlflow_sign_in(env: Mapping[str, str]) -> dict[str, str]:
    """Return how MLflow's own variables say to sign in: references to them, no secrets."""
    if env.get("MLFLOW_TRACKING_USERNAME"):
        return {
            "username": env["MLFLOW_TRACKING_USERNAME"],
            "password": "secret://env/MLFLOW_TRACKING_PASSWORD",
        }
    if env.get("MLFLOW_TRACKING_TOKEN"):
        return {"token": "secret://env/MLFLOW_TRACKING_TOKEN"}
    return {}


def _graph(
    env: Mapping[str, str], written: GraphSettings | None, name: str
) -> GraphSettings | None:
    """Return the graph's database.

    Raises:
        ManifestError: The URL is no PostgreSQL's or carries a password.
    """
    url = env.get("MLG_GRAPH_URL") or (written.url if written else "")
    where = "MLG_GRAPH_URL" if env.get("MLG_GRAPH_URL") else f"{name}: graph.url"
    if not url:
        return None
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.hostname
    except ValueError:
        scheme = host = ""
        parts = urlsplit("")
    if scheme not in {"postgresql", "postgres"} or not host or not parts.path.strip("/"):
        raise ManifestError(
            "expected postgresql://user@host:port/database, got another text",
            where=where,
            hint="leave it out to keep the graph in the home's own file.",
        )
    password = env.get("MLG_GRAPH_PASSWORD") or (written.password if written else "")
    if parts.password is not None or (password and not password.startswith("secret://")):
        raise ManifestError(
            "expected no password in the settings, got one",
            where=where,
            hint="name it: password: secret://env/NAME or secret://file/PATH.",
        )
    return GraphSettings(url=url, password=password)


def _events(
    env: Mapping[str, str], written: EventSettings | None, name: str
) -> EventSettings | None:
    """Return the server of events.

    Raises:
        ManifestError: The URL is no NATS server's or carries a password.
    """
    url = env.get("MLG_EVENTS_URL") or (written.url if written else "")
    if not url:
        return None
    where = "MLG_EVENTS_URL" if env.get("MLG_EVENTS_URL") else f"{name}: events.url"
    try:
        parts = urlsplit(url)
        right = parts.scheme in {"nats", "tls"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, right = urlsplit(""), False
    if not right:
        raise ManifestError(
            "expected nats://host:4222 or tls://host:4222, got another text",
            where=where,
            hint="leave it out to run the monitors on this host alone.",
        )
    given = written or EventSettings(url=url)
    password = env.get("MLG_EVENTS_PASSWORD") or given.password
    if parts.password is not None or (password and not password.startswith("secret://")):
        raise ManifestError(
            "expected no password in the settings, got one",
            where=where,
            hint="name it: password: secret://env/NAME or secret://file/PATH.",
        )
    return msgspec.structs.replace(given, url=url, password=password)


def _from_file(path: Path) -> _File:
    """Return what the file says; nothing without a file.

    Raises:
        ManifestError: It cannot be read, or something in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return _File()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"expected a readable file, got: {error}",
            where=path.name,
            hint="check its permissions; it is UTF-8 text.",
        ) from error
    content: Any = plain(parse_tree(text, path.name))
    try:
        return msgspec.convert(content, _File)
    except msgspec.ValidationError as error:
        raise ManifestError(
            f"expected settings, got: {error}",
            where=path.name,
            hint="known are smtp: {url, password, from}, hooks: {secret},"
            " graph: {url, password}, events: {url, password, namespace, keep_days},"
            " providers: {NAME: {url, …}}, signing: {trusted},"
            " gateway: {xds: files or ads}, launch: artifact or image.",
        ) from error
