"""What a viewer likes; made up from the number of the viewer."""

from typing import Any

from serving import serve

TAGS = ("space", "music", "nature")


def answer(path: str, _: dict[str, str]) -> Any:
    """Return what the viewer at `/viewers/<number>` likes."""
    viewer = path.removeprefix("/viewers/")
    return {"likes": TAGS[int(viewer) % len(TAGS)]} if viewer.isdigit() else None


if __name__ == "__main__":
    serve(answer)
