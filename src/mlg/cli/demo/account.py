"""The demo's last step: one recommendation traced to its sources, and accounted for."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from mlg.cli.demo.story import Story
from mlg.client.client import Client

NEEDED = {
    "prediction", "model_version", "deployment", "step", "run", "dataset_version",
    "source", "commit", "prediction_segment",
}  # fmt: skip
"""Kinds of nodes that lie between an answer and its sources."""


def accounted(story: Story, client: Client, home: Path, prediction_id: str) -> None:
    """Trace an answer up to its sources, export its bundle and verify that by itself."""
    with story.step("mlg trace, mlg audit export, verify") as line:
        walk = client.trace(prediction_id)
        missing = NEEDED - {node["kind"] for node in walk["nodes"]}
        name, content = client.audit_export(prediction_id)
        checked = _verified(home, name, content)
        log = client.audit_verify()
        exports = client.nodes(kinds=["audit_export"])["nodes"]
        sources = sorted(node["name"] for node in walk["nodes"] if node["kind"] == "source")
        said = "agrees" if not checked else f"says no: {checked}"
        line.happened = (
            f"{walk['total']} nodes up to {', '.join(sources)}; bundle of {len(content):,} "
            f"bytes, its own verify.py {said}; log of {log['events']} events "
            f"{'verifies' if log['ok'] else 'is damaged'}"
        )
        if missing:
            line.happened += f"; missing: {', '.join(sorted(missing))}"
        line.evidence = exports[0]["uri"] if exports else ""
        line.confirmed = not missing and not checked and log["ok"] and bool(exports)


def _verified(home: Path, name: str, content: bytes) -> str:
    """Return what the bundle's own program says against it; empty where it agrees."""
    bundles = home / "bundles"
    bundles.mkdir(exist_ok=True)
    (bundles / name).write_bytes(content)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(bundles / name) as archive:
            archive.extractall(folder)
        checked: Any = subprocess.run(
            [sys.executable, "-I", "verify.py"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    return "" if checked.returncode == 0 else (checked.stdout[-200:] or "no word")
