"""What acts by itself: rules and their proposals, and the freeze of all of it."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import (
    HomeOption,
    JsonOption,
    connect,
    home_of,
    out,
    reported,
    show,
    table,
)

_PROPOSAL = typer.Argument(help="Key of the proposal, from `mlg automations list`.")
_REASON = typer.Option("", "--reason", help="Why; kept on the graph.")


def freeze(
    reason: str = _REASON,
    lift: bool = typer.Option(False, "--lift", help="Let everything go on."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Stop every act that nobody asked for but rollbacks, until it is lifted.

    Example: mlg freeze --reason "the big launch"
    Example: mlg freeze --lift
    """
    with reported(as_json):
        document = connect(home_of(home)).freeze(not lift, reason)
        show(document, as_json, _print_freeze)


def _print_freeze(found: dict[str, Any]) -> None:
    if not found["frozen"]:
        out.print("not frozen: rules, healing and rollouts act")
        return
    why = f": {found['reason']}" if found["reason"] else ""
    out.print(
        f"frozen by {found['by']} at {found['at']}{why}; only rollbacks act. "
        "mlg freeze --lift lets everything go on",
        markup=False,
        soft_wrap=True,
    )


def listing(home: Path | None = HomeOption, as_json: bool = JsonOption) -> None:
    """Show the rules in force, what they answered lately, and what waits for a person.

    Example: mlg automations list
    """
    with reported(as_json):
        show(connect(home_of(home)).automations(), as_json, _print_listing)


def approve(
    proposal: str = _PROPOSAL,
    reason: str = _REASON,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Let what a rule proposed be done.

    Example: mlg automations approve automation:promo-guard:0a1b2c3d4e5f6071
    """
    _answer(proposal, True, reason, home, as_json)


def dismiss(
    proposal: str = _PROPOSAL,
    reason: str = _REASON,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Turn down what a rule proposed.

    Example: mlg automations dismiss automation:promo-guard:0a1b2c3d4e5f6071
    """
    _answer(proposal, False, reason, home, as_json)


def _answer(proposal: str, act: bool, reason: str, home: Path | None, as_json: bool) -> None:
    with reported(as_json):
        done = connect(home_of(home)).answer_proposal(proposal, act, reason)
        words = "is being done" if act else "is turned down"
        show(done, as_json, lambda told: out.print(f"{told['rule']}: {words}"))


def _print_listing(found: dict[str, Any]) -> None:
    if found["frozen"]:
        out.print("frozen: only rollbacks act; mlg freeze --lift lets everything go on")
    rules: list[list[object]] = [
        [r["rule"], r["autonomy"], ", ".join(f"{k}: {v}" for k, v in r["on"].items()), r["if"]]
        for r in found["rules"]
    ]
    table("rules", ["rule", "autonomy", "on", "if"], rules)
    table(
        "waiting for a person",
        ["proposal", "event", "subject", "actions"],
        [
            [p["proposal"], p["event_type"], p["subject"], "; ".join(p["actions"])]
            for p in found["proposals"]
        ],
    )
    table(
        "newest answers",
        ["at", "rule", "outcome", "state", "actions", "reason"],
        [
            [
                r["at"],
                *(r.get(k, "") for k in ("rule", "outcome", "state", "actions", "reason")),
            ]
            for r in found["runs"]
        ],
    )
