"""A key of a gate either changes the plan of a rollout, or `mlg plan` says that it does not."""

import pytest

from mlg.manifest.check import _GATE_KEYS
from mlg.manifest.inactive import inactive_keys
from mlg.manifest.load import Manifest, parse_manifest
from mlg.release.rollout_plan import plan_of
from mlg.release.rollout_types import RolloutPlan

SERVICE = """
version: 1
project: radio
datasets:
  plays:
    source: {{uri: "csv://plays.csv"}}
    columns: {{user: {{type: int64}}, at: {{type: timestamp}}}}
pipelines:
  ranker:
    steps:
      train:
        model: popularity
        in: [plays]
        roles: {{interactions: {{table: plays, item: user, at: at}}}}
services:
  home: {{model: ranker, rollout: {{{rollout}}}}}
"""
VALUES = {"alpha": "0.0001", "max_increase": "7%", "max_drop": "7%", "max": "7%", "min": "7%"}
EVERY = [(gate, key) for gate, keys in _GATE_KEYS.items() for key in ("from", *keys)]


def manifest(rollout: str) -> Manifest:
    return parse_manifest(SERVICE.format(rollout=rollout))


def plan(rollout: str) -> RolloutPlan:
    return plan_of(manifest(rollout).spec.services["home"].rollout)


def told(rollout: str) -> dict[str, str]:
    start = "services.home.rollout."
    return {note.key.removeprefix(start): note.why for note in inactive_keys(manifest(rollout))}


@pytest.mark.parametrize(("gate", "key"), EVERY)
def test_a_gates_key_changes_the_plan_or_is_told(gate: str, key: str) -> None:
    value = VALUES.get(key, "10%")
    rest = "" if key == "alpha" else ", alpha: 0.0002"  # a gate has to say something
    with_key = f"canary: {{}}, gates: {{{gate}: {{{key}: {value}{rest}}}}}"
    changed = plan(with_key) != plan(f"canary: {{}}, gates: {{{gate}: {{alpha: 0.0002}}}}")
    notes = told(with_key)
    assert changed != bool({f"gates.{gate}", f"gates.{gate}.{key}"} & notes.keys()), notes


@pytest.mark.parametrize(
    ("gate", "key"),
    [
        ("errors", "max"),
        ("rescue", "max"),
        ("ctr", "max_drop"),
        ("latency_p99", "max_increase"),
    ],
)
def test_a_margin_of_nothing_is_told_to_be_the_default(gate: str, key: str) -> None:
    nothing = f"canary: {{}}, gates: {{{gate}: {{{key}: 0%, alpha: 0.0002}}}}"
    assert plan(nothing) == plan(f"canary: {{}}, gates: {{{gate}: {{alpha: 0.0002}}}}")
    assert "default margin" in told(nothing)[f"gates.{gate}.{key}"]


def test_gates_without_a_canary_are_told_once() -> None:
    without = "gates: {errors: {max: 1%}, ctr: {min: 1%}}"
    assert plan(without) == plan("")
    assert list(told(without)) == ["gates"]
