"""The API's public surface is kept in git; a difference is a decision."""

import json
from pathlib import Path
from typing import Any

from mlg.api.app import openapi_document

KEPT = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_the_document_in_git_is_the_one_that_is_served(client: Any) -> None:
    served = client.get("/schema/openapi.json")
    kept = json.loads(KEPT.read_bytes())
    assert kept == json.loads(openapi_document()), (
        "the API changed: write openapi_document() to docs/openapi.json and add a change note"
    )
    assert served.json() == kept


def test_the_document_names_every_route_but_the_page(app: Any) -> None:
    served = {route.path_format for route in app.routes} - {"/"}
    documented = set(json.loads(KEPT.read_bytes())["paths"])
    assert {path for path in served if not path.startswith("/schema")} == documented
