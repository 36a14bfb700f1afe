"""A whole instance whose graph lies in PostgreSQL."""

from uuid import uuid4

from tests.conftest import Cli, until
from tests.postgres import database


def test_an_instance_keeps_its_graph_in_postgres(cli: Cli, postgres_url: str) -> None:
    cli.env["MLG_GRAPH_URL"] = database(postgres_url, f"e2e-{uuid4().hex}")
    cli("up", "--wait", "--port", "0")
    cli("apply", "--yes")
    cli("run", "list")
    served = until(lambda: cli.json("production", "front")["versions"])
    version = served[0]["model_version"]
    cli("down")
    assert not (cli.home / "graph.sqlite3").exists()
    # the control plane is gone: the database answers
    kinds = {node["kind"] for node in cli.json("trace", version)["nodes"]}
    assert {"source", "dataset_version", "run", "model_version"} <= kinds
    assert cli.json("search", "list", "--kind", "pipeline")["nodes"]
    found = cli.json("audit", "verify")
    assert found["ok"]
    assert found["events"] > 10
