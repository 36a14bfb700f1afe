from pathlib import Path

import pytest

from mlg.app.settings import SETTINGS_FILE, read_settings
from mlg.core.errors import ManifestError

FILE = """\
smtp: {url: "smtp+starttls://ada@mail.b.c", password: secret://env/P, from: mlg@b.c}
hooks: {secret: secret://file/hook.key}
"""


def test_without_anything_no_mail_and_no_hook(tmp_path: Path) -> None:
    found = read_settings({}, tmp_path)
    assert (found.smtp, found.hook_secret) == (None, None)


def test_the_file_names_the_server_and_the_secrets(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(FILE, encoding="utf-8")
    found = read_settings({}, tmp_path)
    assert found.smtp is not None
    assert (found.smtp.host, found.smtp.port, found.smtp.user) == ("mail.b.c", 587, "ada")
    assert (found.smtp.password, found.smtp.sender) == ("secret://env/P", "mlg@b.c")
    assert found.hook_secret == "secret://file/hook.key"


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(FILE, encoding="utf-8")
    env = {
        "MLG_SMTP_URL": "smtps://bob@other",
        "MLG_SMTP_PASSWORD": "secret://env/Q",
        "MLG_SMTP_FROM": "x@y.z",
        "MLG_HOOK_SECRET": "secret://env/H",
    }
    found = read_settings(env, tmp_path)
    assert found.smtp is not None
    assert (found.smtp.host, found.smtp.user, found.smtp.password, found.smtp.sender) == (
        "other", "bob", "secret://env/Q", "x@y.z",
    )  # fmt: skip
    assert found.hook_secret == "secret://env/H"
    assert read_settings({"MLG_SMTP_URL": ""}, tmp_path) == read_settings({}, tmp_path)


def test_gateways_are_told_by_files_unless_something_says_ads(tmp_path: Path) -> None:
    assert read_settings({}, tmp_path).xds == "files"
    assert read_settings({"MLG_GATEWAY_XDS": "ads"}, tmp_path).xds == "ads"
    (tmp_path / SETTINGS_FILE).write_text("gateway: {xds: ads}\n", encoding="utf-8")
    assert read_settings({}, tmp_path).xds == "ads"
    assert read_settings({"MLG_GATEWAY_XDS": "files"}, tmp_path).xds == "files"
    with pytest.raises(ManifestError, match="expected files or ads") as refused:
        read_settings({"MLG_GATEWAY_XDS": "grpc"}, tmp_path)
    assert refused.value.where == "MLG_GATEWAY_XDS"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("gateway: {xds: grpc}\n", SETTINGS_FILE, r"gateway\.xds"),
        ("smpt: {}\n", SETTINGS_FILE, "unknown field"),
        ("smtp: {url: 7}\n", SETTINGS_FILE, r"smtp\.url"),
        ("smtp: {url: x}\n", f"{SETTINGS_FILE}: smtp.url", "expected smtp://"),
        ("hooks: {secret: hunter2}\n", f"{SETTINGS_FILE}: hooks.secret", "expected secret://"),
        ("providers: {lab: {}}\n", SETTINGS_FILE, r"url"),
        ("providers: {lab: {url: x, requests_per_s: 0}}\n", SETTINGS_FILE, "requests_per_s"),
        (
            "providers: {lab: {url: x, token: hunter2}}\n",
            f"{SETTINGS_FILE}: providers.lab.token",
            "expected secret://",
        ),
        ("a: [\n", f"{SETTINGS_FILE}:2:1", "expected YAML"),
        ("[]\n", SETTINGS_FILE, "expected settings"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, text: str, where: str, words: str
) -> None:
    (tmp_path / SETTINGS_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=words) as caught:
        read_settings({}, tmp_path)
    assert caught.value.where == where
    assert "hunter2" not in str(caught.value)


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read_settings({"MLG_SMTP_URL": "mail"}, tmp_path)
    assert caught.value.where == "MLG_SMTP_URL"
    with pytest.raises(ManifestError) as caught:
        read_settings({"MLG_HOOK_SECRET": "hunter2"}, tmp_path)
    assert caught.value.where == "MLG_HOOK_SECRET"
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_foreign_keys_are_files_beside_the_settings(tmp_path: Path) -> None:
    assert read_settings({}, tmp_path).trusted == ()
    (tmp_path / SETTINGS_FILE).write_text("signing: {trusted: [keys/team.pem, /etc/ci.pem]}\n")
    found = read_settings({}, tmp_path).trusted
    assert found == (tmp_path / "keys" / "team.pem", Path("/etc/ci.pem"))
    other = read_settings({"MLG_SIGNING_TRUSTED": "one.pem:two.pem"}, tmp_path).trusted
    assert other == (tmp_path / "one.pem", tmp_path / "two.pem")


def test_the_graphs_database_is_named_without_its_password(tmp_path: Path) -> None:
    assert read_settings({}, tmp_path).graph is None
    url, secret = "postgresql://mlg@db:5432/graph", "secret://env/G"
    (tmp_path / SETTINGS_FILE).write_text(f"graph: {{url: '{url}', password: '{secret}'}}\n")
    found = read_settings({}, tmp_path).graph
    assert found is not None
    assert (found.url, found.password) == (url, secret)
    other = read_settings({"MLG_GRAPH_URL": "postgres://h/d"}, tmp_path).graph
    assert other is not None
    assert other.url == "postgres://h/d"


@pytest.mark.parametrize(
    ("url", "password", "words"),
    [
        ("mysql://a@b/c", "", "expected postgresql://"),
        ("postgresql:///c", "", "expected postgresql://"),
        ("postgresql://b", "", "expected postgresql://"),
        ("postgresql://[b/c", "", "expected postgresql://"),
        ("postgresql://a:hunter2@b/c", "", "no password in the settings"),
        ("postgresql://a@b/c", "hunter2", "no password in the settings"),
    ],
)
def test_a_wrong_database_is_refused_and_no_password_is_shown(
    tmp_path: Path, url: str, password: str, words: str
) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        read_settings({"MLG_GRAPH_URL": url, "MLG_GRAPH_PASSWORD": password}, tmp_path)
    assert caught.value.where == "MLG_GRAPH_URL"
    assert "hunter2" not in str(caught.value)


def test_mlflow_is_named_by_its_variables_and_secrets_stay_references(tmp_path: Path) -> None:
    env = {"MLG_MLFLOW_URL": "http://tracking:5000", "MLFLOW_TRACKING_TOKEN": "t0ken"}
    found = read_settings(env, tmp_path).providers["mlflow"]
    assert (found.url, found.token) == (
        "http://tracking:5000", "secret://env/MLFLOW_TRACKING_TOKEN",
    )  # fmt: skip
    env |= {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
    found = read_settings(env, tmp_path).providers["mlflow"]
    assert (found.username, found.token) == ("ada", "")
    assert found.password == "secret://env/MLFLOW_TRACKING_PASSWORD"


def test_a_provider_of_the_file_keeps_what_its_variable_does_not_say(tmp_path: Path) -> None:
    text = "providers: {mlflow: {url: a, namespace: prod}, lab: {plugin: mlflow, url: b}}\n"
    (tmp_path / SETTINGS_FILE).write_text(text, encoding="utf-8")
    found = read_settings({"MLG_MLFLOW_URL": "http://c"}, tmp_path).providers
    assert (found["mlflow"].url, found["mlflow"].namespace) == ("http://c", "prod")
    assert (found["lab"].url, found["lab"].sweep_every_s) == ("b", 3_600.0)


def test_events_are_named_by_url_and_their_password_by_reference(tmp_path: Path) -> None:
    assert read_settings({}, tmp_path).events is None
    (tmp_path / SETTINGS_FILE).write_text(
        "events: {url: 'tls://mlg@bus:4222', password: secret://env/P, keep_days: 2}\n",
        encoding="utf-8",
    )
    found = read_settings({}, tmp_path).events
    assert found is not None
    assert (found.url, found.password) == ("tls://mlg@bus:4222", "secret://env/P")
    assert (found.namespace, found.keep_days) == ("mlg", 2.0)
    told = read_settings({"MLG_EVENTS_URL": "nats://other"}, tmp_path).events
    assert told is not None
    assert (told.url, told.keep_days) == ("nats://other", 2.0)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"MLG_EVENTS_URL": "http://bus:4222"}, "nats://host:4222"),
        ({"MLG_EVENTS_URL": "nats://"}, "nats://host:4222"),
        ({"MLG_EVENTS_URL": "nats://bus:99999"}, "nats://host:4222"),
        ({"MLG_EVENTS_URL": "nats://a:b@bus"}, "no password"),
        ({"MLG_EVENTS_URL": "nats://bus", "MLG_EVENTS_PASSWORD": "x"}, "no password"),
    ],
)
def test_a_wrong_address_of_events_is_refused(
    tmp_path: Path, env: dict[str, str], words: str
) -> None:
    with pytest.raises(ManifestError, match=words) as refused:
        read_settings(env, tmp_path)
    assert refused.value.where == "MLG_EVENTS_URL"
