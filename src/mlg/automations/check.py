"""What `mlg plan` and `mlg apply` refuse in rules: conditions that are no CEL, wrong texts."""

from mlg.automations.actions import NOT_YET, text_mistakes
from mlg.automations.conditions import mistake_in
from mlg.core.errors import ManifestError
from mlg.manifest.load import Manifest

_TEXT_HINT = (
    "known are {rule}, {event.id}, {event.type}, {event.at}, {event.actor}, {event.subject} "
    "and {event.data.<fact>}; write {{ and }} for braces."
)


def check_automations(manifest: Manifest) -> None:
    """Refuse a manifest whose rules could not work.

    Args:
        manifest: Well-formed; names of services and pipelines were checked with it.

    Raises:
        ManifestError: The first mistake, at `file:line:column`; the others in its hint.
    """
    found = [
        *_conditions(manifest),
        *_texts(manifest),
    ]
    if not found:
        return
    (where, what, hint), *rest = found
    more = "; ".join(f"{place}: {words}" for place, words, _ in rest[:20])
    hints = [hint, f"{len(rest)} more: {more}" if rest else ""]
    raise ManifestError(what, where=where, hint="; ".join(part for part in hints if part))


def not_acting(manifest: Manifest) -> list[tuple[str, str, str]]:
    """Return (key, where, why) of every trigger and action that is stored but not done yet."""
    notes: list[tuple[str, str, str]] = []
    for name, rule in sorted(manifest.spec.automations.items()):
        path = ("automations", name)
        if rule.on.schedule is not None:
            where = manifest.where(*path, "on", "schedule")
            key = f"automations.{name}.on.schedule"
            notes.append((key, where, "no rule is started by the clock."))
        for index, action in enumerate(rule.do):
            for word, why in NOT_YET.items():
                if getattr(action, word) is not None:
                    where = manifest.where(*path, "do", index, word)
                    notes.append((f"automations.{name}.do[{index}].{word}", where, f"{why}."))
    return notes


def _conditions(manifest: Manifest) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for name, rule in manifest.spec.automations.items():
        mistake = mistake_in(rule.condition) if rule.condition is not None else None
        if mistake is None:
            continue
        line = f"line {mistake.line}, " if "\n" in (rule.condition or "") else ""
        what = (
            f"automations.{name}.if: expected a CEL condition, got {mistake.what} "
            f"at {line}column {mistake.column} of it"
        )
        where = manifest.where("automations", name, "if")
        hint = mistake.hint or "for example: event.data.drop > 0.2"
        found.append((where, what, hint))
    return found


def _texts(manifest: Manifest) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for name, rule in manifest.spec.automations.items():
        for index, action in enumerate(rule.do):
            for path, wrong in text_mistakes(action):
                dotted = ".".join(path)
                what = (
                    f"automations.{name}.do[{index}].{dotted}: expected a text with known "
                    f"names in braces, got {wrong}"
                )
                where = manifest.where("automations", name, "do", index, *path)
                found.append((where, what, _TEXT_HINT))
    return found
