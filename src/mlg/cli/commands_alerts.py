"""Alerts of monitors: see them, say who has them, keep them from paging."""

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
from mlg.core.errors import ManifestError

_ALERT = typer.Argument(
    help="Id of the alert, from `mlg alerts list`; the birth may be left out."
)
_NOTE = typer.Option("", "--note", help="What you found; kept on the graph.")
_REASON = typer.Option("", "--reason", help="Why; kept on the graph.")
_ROWS = 10
"""Rows of a sample that are printed; --json prints all."""


def listing(
    everything: bool = typer.Option(False, "--all", help="Closed ones too."),
    service: str | None = typer.Option(None, "--service", help="Only this service's."),
    limit: int = typer.Option(100, "--limit", min=1, max=1_000, help="Alerts at most."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show open alerts, newest first, with the silences and maintenance windows.

    Example: mlg alerts list
    Example: mlg alerts list --all --service home
    """
    with reported(as_json):
        state = "all" if everything else "open"
        found = connect(home_of(home)).alerts(state=state, service=service, limit=limit)
        show(found, as_json, _print_listing)


def show_one(
    alert: str = _ALERT,
    sample: bool = typer.Option(
        False, "--sample", help="Logged rows behind it, personal fields masked."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show one alert: statistic, limits, window, slice, cause, remedy, and who has it.

    Example: mlg alerts show home-features:1/input_drift
    Example: mlg alerts show home-features:1/input_drift --sample --json
    """
    with reported(as_json):
        client = connect(home_of(home))
        found = client.alert(alert)
        if sample:
            found = {**found, "sample_rows": client.alert_sample(found["alert"])}
        show(found, as_json, _print_alert)


def ack(
    alert: str = _ALERT,
    note: str = _NOTE,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Say that you know of an alert: it pages no more; it stays open and on the graph.

    Example: mlg alerts ack home-features:1/input_drift --note "looking at the feed"
    """
    with reported(as_json):
        done = connect(home_of(home)).acknowledge_alert(alert, note)
        show(done, as_json, _say("{alert}: acknowledged by {acknowledged_by}"))


def handover(
    alert: str = _ALERT,
    to: str = typer.Argument(help="A person, or team:NAME."),
    note: str = _NOTE,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Say who has an alert from now on.

    Example: mlg alerts handover home-features:1/input_drift team:data --note "their feed"
    """
    with reported(as_json):
        done = connect(home_of(home)).hand_over_alert(alert, to, note)
        show(done, as_json, _say("{alert}: {owner} has it"))


def silence(
    until: str = typer.Option(
        ..., "--until", help="When it ends: 2h, or 2026-07-01T06:00:00Z; wall clock."
    ),
    reason: str = _REASON,
    service: str | None = typer.Option(None, "--service", help="Alerts of this service."),
    monitor: str | None = typer.Option(None, "--monitor", help="Alerts of this monitor."),
    kind: str | None = typer.Option(None, "--kind", help="input_drift, quality_drop, …"),
    feature: str | None = typer.Option(
        None, "--feature", help="Alerts in which only this feature signals."
    ),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Let matching alerts start no mail, no rule and no healing until a time.

    They stay on the graph, marked silenced. One that is open when the silence ends pages then.

    Example: mlg alerts silence --service home --kind input_drift --until 2h --reason "new feed"
    Example: mlg alerts silence --feature viewer:age --until 1d --reason "known, MLG-12"
    """
    with reported(as_json):
        done = connect(home_of(home)).silence_alerts(
            until=until,
            reason=reason or _no_reason(),
            service=service,
            monitor=monitor,
            kind=kind,
            feature=feature,
        )
        show(
            done, as_json, _say("silence {id} until {until}; mlg alerts unsilence {id} ends it")
        )


def unsilence(
    silence: str = typer.Argument(help="Id of the silence, from `mlg alerts list`."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """End a silence now; one that is over stays as it is.

    Example: mlg alerts unsilence s-1a2b3c4d
    """
    with reported(as_json):
        done = connect(home_of(home)).lift_hold(silence)
        show(done, as_json, _say("{id}: over"))


def maintenance(
    service: str | None = typer.Option(None, "--service", help="The service."),
    everything: bool = typer.Option(False, "--all", help="Every service."),
    begin: str | None = typer.Option(
        None, "--from", help="When it begins: a time, or a duration from now; default now."
    ),
    to: str | None = typer.Option(
        None, "--to", help="When it ends: a time, or a duration from its beginning."
    ),
    reason: str = _REASON,
    end: str | None = typer.Option(None, "--end", help="End this maintenance window now."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Declare planned work: alerts in it page nobody, and baselines learn nothing.

    Example: mlg alerts maintenance --service home --to 2h --reason "moving the feed"
    Example: mlg alerts maintenance --all --from 2026-07-01T02:00:00Z --to 1h --reason "disks"
    Example: mlg alerts maintenance --end m-1a2b3c4d
    """
    with reported(as_json):
        client = connect(home_of(home))
        if end is not None:
            show(client.lift_hold(end), as_json, _say("{id}: over"))
            return
        if to is None or (service is None) != everything:
            raise ManifestError(
                "expected --to, and exactly one of --service and --all",
                where="mlg alerts maintenance",
            )
        done = client.maintain(
            service=service, begin=begin, to=to, reason=reason or _no_reason()
        )
        words = "maintenance {id} from {from} to {to}; --end {id} ends it"
        show(done, as_json, _say(words))


def _no_reason() -> str:
    raise ManifestError("a reason is needed: it is kept on the graph", where="--reason")


def _line(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def _say(words: str) -> Any:
    def say(done: dict[str, Any]) -> None:
        out.print(words.format(**done), markup=False, soft_wrap=True)

    return say


def _print_listing(found: dict[str, Any]) -> None:
    for one in found["alerts"]:
        who = one["owner"] or one["acknowledged_by"]
        words = [
            one["alert"],
            " ".join(filter(None, (one["state"], one["standing"]))),
            f"{one['metric']} {_short(one['statistic'])} (limit {_short(one['limit'])})",
            f"{one['service']}: {one['cause']}",
            *([f"{who} has it"] if who else []),
        ]
        _line("; ".join(words))
    if not found["alerts"]:
        out.print("alerts: none")
    if found["left_out"]:
        out.print(f"{found['left_out']} older ones are left out: --limit")
    table(
        "silences",
        ["id", "matches", "until", "by", "reason"],
        [
            [s["id"], _matcher(s), _time(s["until"]), s["by"], s["reason"]]
            for s in found["silences"]
        ],
    )
    table(
        "maintenance",
        ["id", "service", "from", "to", "by", "reason"],
        [
            [
                m["id"],
                m["service"] or "all",
                _time(m["from"]),
                _time(m["to"]),
                m["by"],
                m["reason"],
            ]
            for m in found["maintenance"]
        ],
    )


def _print_alert(found: dict[str, Any]) -> None:
    low, high = found["limits"]
    rows: list[list[Any]] = [
        ["state", " ".join(filter(None, (found["state"], found["standing"])))],
        ["held by", found["held"]],
        ["what", found["text"]],
        ["statistic", f"{found['metric']} {found['chart'] or ''} {_short(found['statistic'])}"],
        ["limits", f"{_short(low)} to {_short(high)} {found['unit'] or ''}"],
        ["window", f"{found['window_start']} to {found['window_end']}, n {found['n']}"],
        ["severity", found["severity"]],
        ["slice", found["slice"]],
        ["cause", found["cause"]],
        ["remedy", found["remediation"]],
        ["acknowledged by", " ".join(_told(found, "acknowledged_by", "acknowledged_note"))],
        ["has it", " ".join(_told(found, "owner", "handed_over_note"))],
        ["sampled", f"{found['sampled']} predictions"],
        ["node", found["uri"]],
        ["page", found["page"]],
    ]
    _line(found["alert"])
    for name, value in rows:
        if value:
            _line(f"  {name}: {value}")
    sample = found.get("sample_rows")
    if sample is None:
        return
    names = list(dict.fromkeys(name for row in sample["rows"] for name in row["features"]))
    table(
        f"sample: {len(sample['rows'])} rows, {sample['gone']} no more in the log, "
        f"masked {', '.join(sample['masked'])}",
        ["prediction", "at", *names],
        [
            [row["prediction_id"], row["at"], *(_short(row["features"].get(n)) for n in names)]
            for row in sample["rows"][:_ROWS]
        ],
    )


def _told(found: dict[str, Any], *names: str) -> list[str]:
    return [str(found[name]) for name in names if found.get(name)]


def _matcher(one: dict[str, Any]) -> str:
    names = ("service", "monitor", "kind", "feature")
    return ", ".join(f"{name} {one[name]}" for name in names if one[name])


def _time(text: str) -> str:
    return f"{text[:16]}Z"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
