"""What a viewer is shown: asks profiles, then catalog; without profiles, what is popular."""

import json
import os
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode

from serving import serve

PROFILES = os.environ["MLG_SERVICE_PROFILES_URL"]
CATALOG = os.environ["MLG_SERVICE_CATALOG_URL"]


def ask(url: str) -> Any:
    """Return what another service answers; its address comes from the environment."""
    with urllib.request.urlopen(url, timeout=1.0) as reply:  # noqa: S310 (mlg's own address)
        return json.load(reply)


def answer(path: str, query: dict[str, str]) -> Any:
    """Return the items for `/rank?viewer=…&k=…`."""
    if path != "/rank":
        return None
    asked = {"k": query.get("k", "10")}
    with suppress(URLError):
        asked["tag"] = ask(f"{PROFILES}/viewers/{query.get('viewer', '')}")["likes"]
    items = ask(f"{CATALOG}/search?{urlencode(asked)}")["items"]
    return {"items": [item["id"] for item in items], "likes": asked.get("tag")}


if __name__ == "__main__":
    serve(answer)
