"""The Compose file of a stack, as values."""

from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from mlg.render.compose import PORT, Bind, Stack, StackService, compose
from mlg.render.text import yaml_text

REPLICA = StackService(
    name="home",
    image="localhost/ranker:3f2a",
    entrypoint=("/usr/bin/python3", "-m", "mlg.app.replica"),
    command=("--id", "a$b", "--k", "1"),
    env=(("A", "x$y"),),
    binds=(Bind(source="./keys", target="/var/lib/mlg/keys"),),
    home="/var/lib/mlg",
    needs=("profiles",),
    memory_bytes=2**30,
    cpu=1.5,
    open_files=256,
)
BESIDE = StackService(
    name="profiles",
    image="localhost/ranker:3f2a",
    entrypoint=("python",),
    published=False,
    working_dir="/srv/project",
)
ALONE = replace(REPLICA, needs=())


def test_a_container_has_no_right_and_its_port_is_on_loopback() -> None:
    made = compose(Stack(services=(ALONE,), labels=(("mlg.staging", "p"),)))
    (one,) = made["services"].values()
    assert one["ports"] == [f"127.0.0.1::{PORT}"]
    assert (one["read_only"], one["cap_drop"], one["user"]) == (True, ["ALL"], "65532:65532")
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["volumes"] == [
        {
            "type": "bind",
            "source": "./keys",
            "target": "/var/lib/mlg/keys",
            "read_only": True,
        }
    ]
    assert one["labels"] == {"mlg.staging": "p"}
    assert (one["mem_limit"], one["cpus"]) == (2**30, 1.5)
    assert one["ulimits"]["nofile"] == {"soft": 256, "hard": 256}
    assert "privileged" not in one
    assert "network_mode" not in one


def test_a_dollar_is_no_variable() -> None:
    one = compose(Stack(services=(ALONE,)))["services"]["home"]
    assert one["command"][1] == "a$$b"
    assert one["environment"] == {"A": "x$$y"}


def test_who_shares_a_network_is_published_by_its_owner_which_starts_before() -> None:
    inside = replace(REPLICA, inside="profiles")
    made = compose(Stack(services=(BESIDE, inside)))["services"]
    home, profiles = made["home"], made["profiles"]
    assert home["network_mode"] == "service:profiles"
    assert home["depends_on"] == ["profiles"]
    assert "ports" not in home
    assert profiles["ports"] == [f"127.0.0.1::{PORT}"]
    assert "mem_limit" not in profiles
    assert "depends_on" not in profiles
    # nobody asks a server of one's own from outside
    alone = compose(Stack(services=(BESIDE,)))["services"]["profiles"]
    assert "ports" not in alone


def test_names_are_there_and_once() -> None:
    for services in ((REPLICA,), (ALONE, ALONE), (replace(ALONE, inside="x"),)):
        with pytest.raises(ValueError, match="must be named once, and be there"):
            Stack(services=services)


def test_the_text_reads_back_as_the_same_value() -> None:
    made = compose(Stack(services=(ALONE, BESIDE), labels=(("on", "12e4"),)))
    assert YAML(typ="safe").load(yaml_text([made])) == made
