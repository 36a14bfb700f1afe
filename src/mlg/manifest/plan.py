"""What applying a manifest would change, compared with the one in force."""

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlg.manifest.canonical import canonical_json
from mlg.manifest.load import Manifest

Action = Literal["create", "update", "retire"]
Kind = Literal[
    "dataset", "pipeline", "service", "experiment", "monitor", "calendar", "automation"
]

_SECTIONS: Final[dict[str, Kind]] = {
    "datasets": "dataset",
    "pipelines": "pipeline",
    "services": "service",
    "experiments": "experiment",
    "monitors": "monitor",
    "calendar": "calendar",
    "automations": "automation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """One value that differs."""

    key: str
    """Dotted path inside the thing, for example `steps.train.params.train_until`."""
    before: str | None
    """Canonical JSON in force; None where the key is new."""
    after: str | None
    """Canonical JSON wanted; None where the key goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to create, update or retire; nothing is ever deleted."""

    action: Action
    kind: Kind
    project: str
    name: str
    keys: tuple[KeyChange, ...] = ()
    """What differs, sorted by key; empty unless the action is `update`."""


def plan(before: Manifest | None, after: Manifest) -> tuple[Change, ...]:
    """Return the changes from the manifest in force (None: none) to the wanted one.

    Creations and updates come in the order in which they can be applied, retirements
    last and in reverse. Another project is another world: everything of the former one
    is retired.
    """
    old = _things(before) if before else {}
    new = _things(after)
    changes: list[Change] = []
    for (project, kind, name), wanted in new.items():
        known = old.get((project, kind, name))
        if known is None:
            changes.append(Change(action="create", kind=kind, project=project, name=name))
        elif keys := _differences("", known, wanted):
            changes.append(
                Change(action="update", kind=kind, project=project, name=name, keys=keys)
            )
    for project, kind, name in reversed([key for key in old if key not in new]):
        changes.append(Change(action="retire", kind=kind, project=project, name=name))
    return tuple(changes)


def _things(manifest: Manifest) -> dict[tuple[str, Kind, str], Any]:
    content: dict[str, Any] = json.loads(manifest.source)
    project = manifest.spec.project
    things: dict[tuple[str, Kind, str], Any] = {}
    for section, kind in _SECTIONS.items():
        entries: Any = content.get(section, {})
        if isinstance(entries, list):
            entries = _named(entries)
        for name in sorted(entries):
            things[project, kind, name] = entries[name]
    return things


def _named(entries: list[Any]) -> dict[str, Any]:
    """Name calendar entries by kind and name, numbering repeated ones in order."""
    named: dict[str, Any] = {}
    for entry in entries:
        kind = next(key for key in entry if key not in {"from", "to", "services"})
        name = f"{kind} {entry[kind]}"
        times = 1 + sum(known.partition(" #")[0] == name for known in named)
        named[name if times == 1 else f"{name} #{times}"] = entry
    return named


def _differences(path: str, before: Any, after: Any) -> tuple[KeyChange, ...]:
    if isinstance(before, dict) and isinstance(after, dict):
        known: dict[str, Any] = before
        wanted: dict[str, Any] = after
        found: list[KeyChange] = []
        for key in sorted(known.keys() | wanted.keys()):
            below = f"{path}.{key}" if path else key
            if key not in wanted:
                found.append(KeyChange(key=below, before=_text(known[key]), after=None))
            elif key not in known:
                found.append(KeyChange(key=below, before=None, after=_text(wanted[key])))
            else:
                found += _differences(below, known[key], wanted[key])
        return tuple(found)
    texts = _text(before), _text(after)
    return (
        () if texts[0] == texts[1] else (KeyChange(key=path, before=texts[0], after=texts[1]),)
    )


def _text(value: Any) -> str:
    return canonical_json(value)
