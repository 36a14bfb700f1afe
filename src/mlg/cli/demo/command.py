"""`mlg demo`: the story of one recommender, each step confirmed by the graph."""

from pathlib import Path

import typer

from mlg.cli.instance import JsonOption, reported


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
    from mlg.cli.demo.telling import play  # numpy and the manifest's reader

    with reported(as_json):
        confirmed = play(
            example, passes, quick=quick, clean_seeds=clean_seeds, keep=keep, folder=folder,
            as_json=as_json,
        )  # fmt: skip
        raise typer.Exit(0 if confirmed else 1)
