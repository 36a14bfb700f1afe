"""The API's public surface is kept in git; a difference is a decision."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlg.api.app import openapi_document
from mlg.api.graphql_schema import sdl

KEPT = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_the_document_in_git_is_the_one_that_is_served(client: Any) -> None:
    served = client.get("/schema/openapi.json")
    kept = json.loads(KEPT.read_bytes())
    assert kept == json.loads(openapi_document()), (
        "the API changed: run python docs/generate.py and add a change note"
    )
    assert served.json() == kept


def test_the_document_names_every_route_but_the_page(app: Any) -> None:
    served = {route.path_format for route in app.routes} - {"/"}
    documented = set(json.loads(KEPT.read_bytes())["paths"])
    assert {path for path in served if not path.startswith("/schema")} == documented


def test_the_graphql_schema_in_git_is_the_one_that_is_served() -> None:
    kept = KEPT.with_name("graphql.graphql").read_text("utf-8")
    assert kept == sdl(), "the schema changed: run python docs/generate.py, add a change note"


def test_the_command_line_and_the_replica_do_not_load_graphql() -> None:
    names = "{'strawberry', 'graphql', 'litestar'}"
    code = f"import sys, mlg.cli.main, mlg.app.replica; print({names} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
