"""A recommender that was there before: gateway, list, audit, and a model that takes over."""

import json
import os
import signal
import urllib.request
from typing import Any

import psutil
import pytest
from tests.conftest import Cli, until
from tests.foreign import foreign
from tests.instance import Graph, check_arrows, check_whys

GATEWAYS = ("gateway-1", "gateway-2")


def ports(cli: Cli) -> dict[str, int]:
    return json.loads((cli.home / "control.json").read_bytes())


def ask(cli: Cli, viewer: int, service: str = "front") -> dict[str, Any]:
    port = ports(cli)["gateway_port"]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/services/{service}/recommend",
        data=json.dumps({"user_id": viewer, "k": 3}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def health(cli: Cli) -> dict[str, Any]:
    url = f"http://127.0.0.1:{ports(cli)['port']}/api/v1/services/front/health"
    with urllib.request.urlopen(url, timeout=10) as told:
        return json.loads(told.read())


def live(cli: Cli, version: str) -> bool:
    url = f"http://127.0.0.1:{ports(cli)['port']}/api/v1/services"
    with urllib.request.urlopen(url, timeout=10) as told:
        (front,) = json.loads(told.read())["services"]
    return front["live"] and {v["version"] for v in front["versions"] if v["share_bp"]} == {
        version
    }


def test_a_foreign_recommender_is_served_logged_rescued_and_replaced(cli: Cli) -> None:
    manifest = cli.folder / "mlg.yaml"
    trained = manifest.read_text()
    before, _, _ = trained.partition("services:\n")
    with foreign() as old:
        adopt = f"adopt: {old.url.replace('http://', 'http://me:secret@')}"
        listed = "fallback_list: popular.json"
        manifest.write_text(f"{before}services:\n  front: {{{adopt}, {listed}, replicas: 2}}\n")
        assert "got 'popular.json'" in cli("plan", code=2)
        (cli.folder / "popular.json").write_text("[29, 28, 27, 26]")
        cli("up", "--wait", "--port", "0")
        cli("apply", "--yes")
        assert cli.json("plan")["inactive"] == []
        until(lambda: live(cli, "adopted"))
        answer = ask(cli, 7)
        assert [item["id"] for item in answer["items"]] == [7, 8, 9]
        assert (answer["served_by"], answer["confidence"]) == ("model", 0.0)
        kinds = {n["kind"] for n in cli.json("trace", answer["prediction_id"])["nodes"]}
        assert {"prediction", "deployment", "model_version"} <= kinds
        graph = Graph(cli)
        told = json.dumps(graph.events())
        assert old.url in told
        assert "secret" not in told

        old.status = 500  # nobody sees it: the list answers
        rescued = ask(cli, 7)
        assert [item["id"] for item in rescued["items"]] == [29, 28, 27]
        assert (rescued["served_by"], rescued["reason"]) == ("fallback", "rescue")
        until(lambda: ask(cli, 7) and health(cli)["health"] == "degraded")
        assert "the adopted recommender answered 500" in health(cli)["reason"]
        status = cli("status")
        assert "degraded" in status
        assert "answered 500" in status
        old.status = 200
        until(lambda: ask(cli, 7)["served_by"] == "model")
        until(lambda: ask(cli, 7) and health(cli)["health"] == "healthy")
        assert health(cli)["reason"] == ""

        if os.environ.get("MLG_FULL"):
            _replaced(cli, f"{before}services:\n  front: {{{adopt}, {listed}, model: list}}\n")
            check_arrows(graph)
            check_whys(graph)
        assert cli.json("audit", "verify")["ok"]


def test_the_gateways_of_an_instance_are_told_by_ads_and_taken_up_again(cli: Cli) -> None:
    pytest.importorskip("envoy_data_plane", reason="needs the extra `ads`")
    manifest = cli.folder / "mlg.yaml"
    before, _, _ = manifest.read_text().partition("services:\n")
    (cli.folder / "mlg.env.yaml").write_text("gateway: {xds: ads}\n")
    with foreign() as old:
        manifest.write_text(f"{before}services:\n  front: {{adopt: {old.url}}}\n")
        cli("up", "--wait", "--port", "0")
        cli("apply", "--yes")
        until(lambda: live(cli, "adopted"))
        assert [item["id"] for item in ask(cli, 7)["items"]] == [7, 8, 9]
        told = json.loads((cli.home / "gateway" / "gateway-1.json").read_bytes())
        assert told["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"
        assert not (cli.home / "gateway" / "xds").exists()  # nothing came by files
        running = cli.pids()

        os.kill(running["control"], signal.SIGKILL)
        until(lambda: not psutil.pid_exists(running["control"]))
        assert [item["id"] for item in ask(cli, 7)["items"]] == [7, 8, 9]
        cli("up", "--wait")
        kept = cli.pids()
        assert {name: kept[name] for name in GATEWAYS} == {
            name: running[name] for name in GATEWAYS
        }
        manifest.write_text(f"{before}services:\n  back: {{adopt: {old.url}}}\n")
        cli("apply", "--yes")  # the gateways hear of it from the new control plane
        until(lambda: live(cli, "adopted"))
        assert [item["id"] for item in ask(cli, 7, "back")["items"]] == [7, 8, 9]


def _replaced(cli: Cli, manifest: str) -> None:
    """Let a model beside it take over, and give back."""
    (cli.folder / "mlg.yaml").write_text(manifest)
    cli("apply", "--yes")
    until(lambda: live(cli, "adopted"))
    cli("run", "list")
    until(lambda: ask(cli, 7)["model_version"] != "adopted", 120.0)
    version = ask(cli, 7)["model_version"]
    until(lambda: live(cli, version))
    cli("rollout", "rollback", "front")
    until(lambda: live(cli, "adopted"))
    assert [item["id"] for item in ask(cli, 7)["items"]] == [7, 8, 9]
