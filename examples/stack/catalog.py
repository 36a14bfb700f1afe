"""Search in a small catalogue: items with a tag, best first; without a tag, all of them."""

import os
from typing import Any

from serving import serve

ITEMS = [
    {"id": n, "tag": tag, "score": round(1 / n, 3)}
    for n, tag in enumerate(("space", "music", "nature") * 10, start=1)
]


def answer(path: str, query: dict[str, str]) -> Any:
    """Return what `/search?tag=…&k=…` finds."""
    if path != "/search":
        return None
    found = [item for item in ITEMS if item["tag"] == query.get("tag", item["tag"])]
    return {"items": found[: int(query.get("k", 10))], "from": os.getpid()}


if __name__ == "__main__":
    serve(answer)
