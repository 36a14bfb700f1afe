import json

import pytest
from typer.testing import CliRunner

from mlg.cli.main import app


def told(*words: str) -> dict:
    done = CliRunner().invoke(app, ["drift", *words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout, parse_constant=pytest.fail)  # no NaN, no Infinity


@pytest.mark.parametrize(
    ("words", "published"),
    [
        ("--chart ewma --lam 0.1 --limit 2.814 --two-sided --shift 0.5", 31.3),
        ("--chart cusum --k 0.5 --h 4 --two-sided --shift 1", 8.38),
        ("--chart cusum --k 0.5 --h 4 --two-sided --shift 1 --head-start 2", 5.29),
        ("--chart cusum --k 0 --h 10 --shift -0.25", 2071.51),
        ("--chart shewhart --limit 3 --two-sided --shift 1", 43.89),
        ("--chart mewma --lam 0.25 --limit 16.38 --dims 4", 500.0),
        ("--chart runs --rules 1/1:3,2/3:2 --two-sided --shift 2", 3.65),
        ("--chart ewma --lam 0.03 --limit 2.437 --two-sided --state cyclical", 480.0),
    ],
)
def test_arl_tells_what_was_published(words: str, published: float) -> None:
    found = told("arl", *words.split())
    assert found["arl"] == pytest.approx(published, rel=5e-3)
    assert found["median"] <= found["arl"]


def test_arl_tells_the_steady_state_and_the_median_beside_the_mean() -> None:
    found = told("arl", "--chart", "ewma", "--limit", "2.814", "--two-sided", "--shift", "0.5")
    steady = told(
        "arl", "--chart", "ewma", "--limit", "2.814", "--two-sided", "--shift", "0.5",
        "--state", "steady",
    )  # fmt: skip
    assert found["steady_state"] == steady["arl"] < found["arl"]
    assert found["median"] == 25


def test_what_never_signals_is_null_with_a_note() -> None:
    found = told("arl", "--chart", "cusum", "--k", "0.5", "--h", "60")
    assert found["arl"] is None
    assert "infinite" in found["note"]


def test_design_finds_the_limit_and_tells_delays() -> None:
    found = told("design", "--chart", "ewma", "--two-sided", "--arl0", "500")
    assert found["limit"] == pytest.approx(2.814, abs=1e-3)
    assert found["arl0"] == pytest.approx(500)
    delays = {row["shift"]: row for row in found["delays"]}
    assert delays[0.5]["arl"] == pytest.approx(31.3, rel=5e-3)
    assert delays[0.5]["median"] <= 32
    one = told("design", "--chart", "cusum", "--k", "0.5", "--two-sided", "--arl0", "500",
               "--shift", "0.5")  # fmt: skip
    assert one["limit"] == one["h"] == pytest.approx(5.071, abs=2e-3)
    assert [row["shift"] for row in one["delays"]] == [0.5]


def test_design_of_counts_finds_whole_limits_that_keep_the_promise() -> None:
    found = told("design", "--chart", "np", "--rate", "0.1", "--size", "100", "--arl0", "370")
    assert found["limit"] == found["upper"] == 19
    assert found["arl0"] >= 370
    given = told("arl", "--chart", "np", "--rate", "0.1", "--size", "100", "--upper", "19")
    assert given["arl"] == pytest.approx(found["arl0"])


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("arl --chart cusum --k 0.5", "needs h"),
        ("arl --chart mewma --limit 9", "needs dims"),
        ("arl --chart ewma --limit 3 --k 1", "has no k"),
        ("arl --chart ewma --limit nan", "finite"),
        ("arl --chart bogus --limit 3", "expected a chart"),
        ("arl --chart runs --rules many", "rules like"),
        ("design --chart ewma --arl0 1", "arl0"),
        ("design --chart runs --two-sided --arl0 1000", "no limit"),
    ],
)
def test_a_wrong_word_is_told_with_exit_2(words: str, what: str) -> None:
    done = CliRunner().invoke(app, ["drift", *words.split(), "--json"])
    assert done.exit_code == 2
    assert what in json.loads(done.stdout)["what"]
    assert json.loads(done.stdout)["hint"]


def test_people_read_a_table() -> None:
    done = CliRunner().invoke(
        app, ["drift", "design", "--chart", "t2", "--dims", "2", "--arl0", "200"]
    )
    assert done.exit_code == 0
    assert "one false alarm in 200 points" in " ".join(done.stdout.split())
    assert "after long silence" in " ".join(done.stdout.split())


@pytest.mark.parametrize("command", ["arl", "design"])
def test_help_has_examples(command: str) -> None:
    done = CliRunner().invoke(app, ["drift", command, "--help"])
    assert f"mlg drift {command} --chart" in done.stdout
