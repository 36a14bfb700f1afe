"""`mlg simulate rollout`: from a manifest to when each step passes, without an instance."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlg.cli.main import app

MANIFEST = Path(__file__).parents[2] / "examples" / "movies" / "mlg.yaml"


def simulate(tmp_path: Path, *more: str, code: int = 0) -> Any:
    words = ["simulate", "rollout", "--file", str(MANIFEST), "--home", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--runs", "40", *more])
    assert done.exit_code == code, done.output
    return done.output


def test_each_step_says_when_it_passes_and_what_it_finds(tmp_path: Path) -> None:
    found = json.loads(simulate(tmp_path, "home", "--rate", "400", "--json"))
    assert [step["share_bp"] for step in found["steps"]] == [50, 500, 2_500]
    first = found["steps"][0]
    assert first["candidate_hz"] == pytest.approx(2.0)
    # 50 units rule out 8.8 %: the closed form of docs/release.md
    assert first["smallest"] == pytest.approx(0.088, abs=0.0005)
    assert first["healthy"]["median_s"] >= 50 / 2.0
    faults = dict(first["faults"])
    assert faults["errors 100 %"]["median_requests"] <= faults["errors 20 %"]["median_requests"]
    assert "ctr -10 %" not in faults, "read from 5 % on"
    assert found["healthy_s"] > 25
    # twice the traffic, half the time
    twice = json.loads(simulate(tmp_path, "home", "--rate", "800", "--json"))
    ratio = found["healthy_s"] / twice["healthy_s"]
    assert ratio == pytest.approx(2.0, rel=0.25)


def test_it_is_told_in_words(tmp_path: Path) -> None:
    said = simulate(tmp_path, "home", "--rate", "400")
    assert "home at 400 requests/s: a healthy version takes" in said
    assert "errors 20 %" in said
    assert "not read" in said


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("nowhere",), 3, "there is: home"),
        (("home", "--latency", "uniform"), 2, "latency"),
        (("home", "--rate", "0"), 2, "rate"),
        (("home", "--requests-per-unit", "0.5"), 2, "requests-per-unit"),
        (("home", "--errors", "2"), 2, "errors"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    assert says in simulate(tmp_path, *words, code=code)
