"""Keys that are checked and stored, but whose rooms do not act on them yet."""

from dataclasses import dataclass
from typing import Final

from mlg.manifest.load import Manifest
from mlg.manifest.specs_services import (
    LoadSpec,
    RolloutGate,
    RolloutSpec,
    ServiceSpec,
    StagingSpec,
)

INACTIVE: Final[dict[str, str]] = {
    "pipelines.*.schedule": "no scheduler runs pipelines yet; start one with `mlg run`.",
}
"""Path of YAML keys (`*` is any name) -> why it does not act yet, as one sentence."""

_SHARES: Final = ("errors", "abstention", "rescue", "fallback")
_ENGAGEMENT: Final = ("ctr", "watch_through")
_DROPS: Final = (*_ENGAGEMENT, "cache_hits")


@dataclass(frozen=True, slots=True, kw_only=True)
class InactiveKey:
    """One key of a manifest that does not act yet."""

    key: str
    """Dotted path in the manifest."""
    where: str
    """`file:line:column`."""
    why: str
    """What happens instead, as one sentence."""


def inactive_keys(manifest: Manifest) -> tuple[InactiveKey, ...]:
    """Return the keys that the manifest sets and that do not act yet, by rule and name.

    Only what was written counts where the YAML is at hand; a manifest that was read from
    its source names what differs from the defaults.
    """
    found: list[InactiveKey] = []
    for pattern, why in INACTIVE.items():
        found += [
            InactiveKey(key=".".join(path), where=manifest.where(*path), why=why)
            for path in manifest.paths(tuple(pattern.split(".")))
        ]
    found += [
        InactiveKey(
            key=f"calendar.{place}.ical",
            where=manifest.where("calendar"),
            why="iCalendar files are not read; write the entries out.",
        )
        for place, entry in enumerate(manifest.spec.calendar)
        if entry.ical is not None
    ]
    found += [
        InactiveKey(
            key=f"pipelines.{name}.engine",
            where=manifest.where("pipelines", name, "engine"),
            why="tables are made by DuckDB; Spark comes later.",
        )
        for name, pipeline in sorted(manifest.spec.pipelines.items())
        if pipeline.engine != "duckdb"
    ]
    for name, service in sorted(manifest.spec.services.items()):
        found += _of_rollout(manifest, name, service)
        if service.rollback and service.rollback.cache_hits and service.cache is None:
            found.append(
                InactiveKey(
                    key=f"services.{name}.rollback.cache_hits",
                    where=manifest.where("services", name, "rollback", "cache_hits"),
                    why="without `cache` nothing is looked up; it stays INCONCLUSIVE.",
                )
            )
    return tuple(found)


def _of_rollout(manifest: Manifest, name: str, service: ServiceSpec) -> list[InactiveKey]:
    """Return what of a service's rollouts is stored only; it depends on the values."""
    at = ("services", name, "rollout")
    asked: list[tuple[tuple[str, ...], str]] = []
    staging = service.rollout.staging if service.rollout else None
    if staging is not None:
        asked += [(("staging", *path), why) for path, why in _of_staging(staging)]
    if service.rollout:
        asked += _of_gates(service.rollout)
    return [
        InactiveKey(key=".".join((*at, *path)), where=manifest.where(*at, *path), why=why)
        for path, why in asked
    ]


def _of_staging(staging: StagingSpec) -> list[tuple[tuple[str, ...], str]]:
    """Return the settings of tests that are not among `tests`."""
    asked: list[tuple[tuple[str, ...], str]] = []
    if staging.timezone != "UTC" and staging.window == "always":
        asked.append((("timezone",), "`window` is always."))
    if "bias" in staging.tests and staging.bias is None:
        asked.append((("tests",), "bias has no groups to compare and says so."))
    budget = staging.budget
    unread = {
        ("bias",): staging.bias is not None and "bias" not in staging.tests,
        ("robustness",): staging.robustness is not None and "robustness" not in staging.tests,
        ("compare",): staging.compare is not None and "compare" not in staging.tests,
        ("load",): staging.load != LoadSpec() and "load" not in staging.tests,
        ("budget", "p99"): budget and budget.p99_ms and "load" not in staging.tests,
        ("budget", "memory"): budget and budget.memory_bytes and "memory" not in staging.tests,
    }
    why = "its test is not among `tests`."
    return asked + [(path, why) for path, idle in unread.items() if idle]


def _of_gates(rollout: RolloutSpec) -> list[tuple[tuple[str, ...], str]]:
    """Return the gates, and keys of gates, that no verdict reads."""
    gates = rollout.gates
    if gates and rollout.canary is None:
        why = "without `canary` a version takes all traffic at once, and no gate is read."
        return [(("gates",), why)]
    asked: list[tuple[tuple[str, ...], str]] = []
    for name, gate in gates.items():
        if name in _SHARES and gate.max_increase_bp is not None:
            why = "a PASS accepts the added share that `max` says, not a relative rise."
            asked.append((("gates", name, "max_increase"), why))
        if name in _ENGAGEMENT and gate.min_bp is not None:
            why = "only the fall under the control is read, by `max_drop`."
            asked.append((("gates", name, "min"), why))
        for key, margin_bp in _margins(name, gate):
            if margin_bp == 0:
                why = "nothing can be shown not to be worse by 0%; the default margin holds."
                asked.append((("gates", name, key), why))
    return asked


def _margins(name: str, gate: RolloutGate) -> tuple[tuple[str, int | None], ...]:
    """Return the key that says what a PASS of the gate accepts, with its value."""
    if name in _SHARES:
        return (("max", gate.max_bp),)
    if name in _DROPS:
        return (("max_drop", gate.max_drop_bp),)
    return (("max_increase", gate.max_increase_bp),)
