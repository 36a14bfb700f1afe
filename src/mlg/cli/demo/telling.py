"""How `mlg demo` goes: the folder, the steps in their order, the end."""

import json
import os
import secrets
import shutil
import signal
import sysconfig
import time
from pathlib import Path

from mlg.cli.commands_instance import end_all
from mlg.cli.demo.account import accounted
from mlg.cli.demo.canary import HOOK_KEY, second_version
from mlg.cli.demo.clean import PASSES, clean
from mlg.cli.demo.opening import released, stand_up, train, viewers
from mlg.cli.demo.shift import healed, shifted
from mlg.cli.demo.story import Story
from mlg.cli.demo.traffic import Traffic
from mlg.cli.instance import emit, err
from mlg.core.errors import BackendError, ConflictError

MARK = ".mlg-demo"


def play(
    example: str,
    passes: int,
    *,
    quick: bool,
    clean_seeds: int,
    keep: bool,
    folder: Path,
    as_json: bool,
) -> bool:
    """Run the demo and return whether the graph confirmed each step."""
    folder = folder.resolve()
    work = folder if clean_seeds else _fresh(folder, example)
    home = work / ".mlg"
    story = Story(console=err)
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell ignores Ctrl-C
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    try:
        if clean_seeds:
            clean(story, folder, clean_seeds, _fresh, PASSES)
        else:
            _tell(story, work, example, passes, whole=not quick and example == "movies")
    finally:
        story.close()
        if not keep or not story.confirmed:
            end_all(home)
    err.print(f"{time.monotonic() - began:.0f} s in all; the graph is kept in {home}")
    if keep:
        err.print(f"it goes on running; end it with: mlg down --home {home}")
    if as_json:
        emit({"confirmed": story.confirmed, "home": str(home), "steps": story.as_dicts()})
    return story.confirmed


def _tell(story: Story, work: Path, example: str, passes: int, *, whole: bool) -> None:
    home = work / ".mlg"
    client = stand_up(story, home, work)
    run = train(story, client)
    service = released(story, client, run)
    traffic = Traffic(client=client, home=home, work=work, example=example, service=service)
    viewers(story, traffic, run, passes)
    if whole:
        second = second_version(story, traffic, work, run)
        plan = shifted(story, traffic, second)
        healed(story, traffic, plan)
    accounted(story, client, home, traffic.last["last_model_prediction_id"])


def _fresh(folder: Path, example: str) -> Path:
    """Return an empty working folder with the example in it.

    Raises:
        ConflictError: The folder holds something that is no demo.
    """
    if folder.exists():
        if not (folder / MARK).exists() and any(folder.iterdir()):
            raise ConflictError(
                "the folder holds something else", where=str(folder), hint="name another: --dir"
            )
        if (folder / ".mlg").exists():
            end_all(folder / ".mlg")
        for path in (folder / ".mlg" / "artifacts").rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)
    shutil.copytree(_example(example), folder)
    (folder / MARK).write_text(json.dumps({"example": example, "pid": os.getpid()}))
    (folder / HOOK_KEY).touch(mode=0o600)
    (folder / HOOK_KEY).write_text(secrets.token_hex(32))
    (folder / "mlg.env.yaml").write_text(f'hooks: {{secret: "secret://file/{HOOK_KEY}"}}\n')
    return folder


def _example(name: str) -> Path:
    """Return the folder of an example: beside the source tree, or installed with the wheel.

    Raises:
        BackendError: It is in neither place.
    """
    source = Path(__file__).parents[4] / "examples" / name
    installed = Path(sysconfig.get_path("data")) / "share" / "mlg" / "examples" / name
    for path in (source, installed):
        if (path / "mlg.yaml").exists():
            return path
    raise BackendError(f"no example {name!r}", where=str(installed), hint="movies or fashion")
