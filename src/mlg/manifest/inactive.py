"""Keys that are checked and stored, but whose rooms do not act on them yet."""

from dataclasses import dataclass
from typing import Final

from mlg.manifest.load import Manifest
from mlg.manifest.specs_services import ServiceSpec

INACTIVE: Final[dict[str, str]] = {
    "pipelines.*.schedule": "no scheduler runs pipelines yet; start one with `mlg run`.",
}
"""Path of YAML keys (`*` is any name) -> why it does not act yet, as one sentence."""

_NOT_MEASURED: Final = ("cpu", "cache_hits")


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
    return tuple(found)


def _of_rollout(manifest: Manifest, name: str, service: ServiceSpec) -> list[InactiveKey]:
    """Return what of a service's rollouts is stored only; it depends on the values."""
    at = ("services", name, "rollout")
    asked: list[tuple[tuple[str, ...], str]] = []
    staging = service.rollout.staging if service.rollout else None
    if staging and staging.window != "always":
        asked.append((("staging", "window"), "staging runs as soon as a version is there."))
    if staging and staging.compose:
        asked.append((("staging", "compose"), "the version is tested as a process."))
    if staging and "bias" in staging.tests and staging.bias is None:
        asked.append((("staging", "tests"), "bias has no groups to compare and says so."))
    if staging and staging.bias is not None and "bias" not in staging.tests:
        asked.append((("staging", "bias"), "the test is not among `tests`."))
    gates = service.rollout.gates if service.rollout else {}
    why = "nothing measures it; the other gates decide."
    asked += [(("gates", gate), why) for gate in gates if gate in _NOT_MEASURED]
    return [
        InactiveKey(key=".".join((*at, *path)), where=manifest.where(*at, *path), why=why)
        for path, why in asked
    ]
