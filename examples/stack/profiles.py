"""What a viewer likes; made up from the number of the viewer."""

from typing import Any

from serving import serve

TAGS = ("space", "music", "nature")


def answer(path: str, query: dict[str, str]) -> Any:
    viewer = path.removeprefix("/viewers/")
    return {"likes": TAGS[int(viewer) % len(TAGS)]} if viewer.isdigit() else None


if __name__ == "__main__":
    serve(answer)
