"""Services that call each other: order, limits, and what a failure of one does to the rest."""

import json
import os
import re
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Cli, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "stack"

# ends by a MemoryError that nobody catches, as a server that leaks does in the end
GREEDY = """
import os, socket
hoard = []
listening = socket.create_server(("127.0.0.1", int(os.environ["MLG_PORT"])))
while True:
    peer, _ = listening.accept()
    with peer:
        asked = peer.recv(4096)
        if b"/eat" in asked:
            hoard.append(bytearray(1 << 30))
        peer.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Cli]:
    folder = tmp_path / "stack"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".mlg"))
    run = Cli(folder)
    yield run
    run("down", code=None)


def ports(cli: Cli) -> dict[str, int]:
    return json.loads((cli.home / "control.json").read_bytes())


def services(cli: Cli) -> dict[str, dict[str, Any]]:
    told = get(ports(cli)["port"], "/api/v1/services")
    return {one["service"]: one for one in told["services"]}


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.loads(answer.read())


def started(cli: Cli) -> list[str]:
    """Return the processes that became ready, in the log's order."""
    events = get(ports(cli)["port"], "/api/v1/events?newest=200")["events"]
    rows = [
        (e["seq"], e["nodes"][0]["name"]) for e in events if e["type"] == "mlg.process.started"
    ]
    return [name for _, name in sorted(rows)]


def test_a_stack_comes_up_in_order_and_outlives_its_parts(stack: Cli) -> None:
    manifest = stack.folder / "mlg.yaml"
    good = manifest.read_text()
    manifest.write_text(
        good.replace("depends_on: [profiles, catalog]", "depends_on: [profils]")
    )
    stack("up", "--wait", "--port", "0")
    for command in (("plan",), ("apply", "--yes")):
        said = stack(*command, code=2)
        assert "mlg.yaml:17:18" in said
        assert "did you mean profiles?" in said

    # profiles is there and not well: ranking waits and says for whom
    profiles = stack.folder / "profiles.py"
    sound = profiles.read_text()
    profiles.write_text(sound.replace("serve(answer)", "import time; time.sleep(600)"))
    (stack.folder / "greedy.py").write_text(GREEDY)
    greedy = (
        "  greedy: {command: [python, greedy.py], health: /, resources: {memory: 256MiB}}\n"
    )
    manifest.write_text(good + greedy)
    stack("apply", "--yes")
    until(lambda: services(stack)["catalog"]["live"])
    until(lambda: services(stack)["greedy"]["live"])
    waits = services(stack)["ranking"]
    assert waits["waits_for"] == ["profiles has no ready replica of command."]
    assert waits["replicas"] == []
    assert "ranking waits: profiles has no ready replica" in stack("status")

    profiles.write_text(sound)
    stack("apply", "--yes")
    until(lambda: services(stack)["ranking"]["live"])
    order = [name.split("-")[1] for name in started(stack)]
    first = order.index("ranking")
    assert {"catalog", "profiles"} <= set(order[:first])

    port = ports(stack)["gateway_port"]
    # viewer 7 likes TAGS[7 % 3] = music, which items 2, 5, 8, … have
    page = (Path(__file__).parents[2] / "docs" / "stack.md").read_text()
    (asked,) = re.findall(r"^curl 'http://127\.0\.0\.1:7080(/\S+)'$", page, re.MULTILINE)
    assert asked.endswith("/rank?viewer=7&k=3")
    assert get(port, asked) == {"items": [2, 5, 8], "likes": "music"}
    # both replicas of the catalogue are asked by the gateway
    seen = {get(port, "/v1/services/catalog/search?k=1")["from"] for _ in range(40)}
    assert seen == {one["pid"] for one in services(stack)["catalog"]["replicas"]}

    _limits_bite(stack, port)

    # a dependency that falls stops nobody, and comes back by itself
    before = services(stack)
    os.kill(before["profiles"]["replicas"][0]["pid"], signal.SIGKILL)
    assert len(get(port, asked)["items"]) == 3
    until(lambda: get(port, asked)["likes"] == "music")
    assert services(stack)["ranking"]["replicas"] == before["ranking"]["replicas"]


def _limits_bite(stack: Cli, port: int) -> None:
    for one in services(stack)["catalog"]["replicas"]:
        process = Path(f"/proc/{one['pid']}")
        lines = (process / "limits").read_text().splitlines()
        files = next(line for line in lines if line.startswith("Max open files"))
        assert files.split()[3:5] == ["256", "256"]
        status = (process / "status").read_text().splitlines()
        cores = next(line for line in status if line.startswith("Cpus_allowed_list"))
        assert cores.split()[1].isdigit()  # one core, and no range of them
    (greedy,) = services(stack)["greedy"]["replicas"]
    with pytest.raises(OSError, match=r"50\d|reset|closed"):
        get(port, "/v1/services/greedy/eat")
    log = stack.home / "run" / f"{greedy['id']}.log"
    until(lambda: "MemoryError" in log.read_text())
    # it is started again, and answers
    until(
        lambda: (
            [r["pid"] for r in services(stack)["greedy"]["replicas"] if r["ready"]]
            not in ([], [greedy["pid"]])
        )
    )
