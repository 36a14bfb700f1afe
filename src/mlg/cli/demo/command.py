"""`mlg demo`: the story of one recommender, each step confirmed by the graph."""

import json
import os
import secrets
import shutil
import signal
import sysconfig
import time
from pathlib import Path

import typer

from mlg.cli.commands_instance import end_all
from mlg.cli.demo.account import accounted
from mlg.cli.demo.canary import HOOK_KEY, second_version
from mlg.cli.demo.clean import PASSES, clean
from mlg.cli.demo.opening import released, stand_up, train, viewers
from mlg.cli.demo.shift import healed, shifted
from mlg.cli.demo.story import Story
from mlg.cli.demo.traffic import Traffic
from mlg.cli.instance import JsonOption, emit, err, reported
from mlg.core.errors import BackendError, ConflictError

MARK = ".mlg-demo"


def demo(
    example: str = typer.Option("movies", help="movies or fashion."),
    passes: int = typer.Option(3, help="How often the held-out period is replayed at first."),
    quick: bool = typer.Option(
        False, "--quick", help="Leave out the canary, the shift and the healing."
    ),
    clean_seeds: int = typer.Option(
        0, "--clean", help="Instead: so many replays of usual traffic, where nothing may alarm."
    ),
    keep: bool = typer.Option(False, "--keep", help="Leave everything running."),
    folder: Path = typer.Option(Path("mlg-demo"), "--dir", help="Where the demo works."),
    as_json: bool = JsonOption,
) -> None:
    """Train, release, watch, heal and account for a recommender on real data, in minutes.

    Eight steps: it stands; trains; is released; answers real viewers; a commit trains a
    second version that wins by canary; the traffic shifts and is found to; a healed version
    takes over; one answer is accounted for. The fashion example has no viewers to follow
    from answer to answer, so it leaves out what --quick leaves out.

    The folder keeps the graph afterwards, so that trace, why, production and audit go on
    answering; a second demo starts it anew.

    Example: mlg demo --keep
    """
    with reported(as_json):
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
        raise typer.Exit(0 if story.confirmed else 1)


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
