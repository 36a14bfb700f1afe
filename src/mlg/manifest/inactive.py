"""Keys that are checked and stored, but whose rooms do not act on them yet."""

from dataclasses import dataclass
from typing import Final

from mlg.manifest.load import Manifest

INACTIVE: Final[dict[str, str]] = {
    "pipelines.*.schedule": "no scheduler runs pipelines yet; start one with `mlg run`.",
    "pipelines.*.on": "commits do not start runs yet; start one with `mlg run`.",
    "services.*.depends_on": "services are started without waiting for one another.",
    "services.*.resources.cpu": "processes are started without a limit of processor time.",
    "services.*.adopt": "requests do not reach recommenders that mlg did not train yet.",
    "services.*.rollout.staging": "a model that passed its pipeline's gates is not staged.",
    "services.*.rollout.canary": "an accepted model goes straight to 100% of the traffic.",
    "services.*.rollout.gates": "no canary means no gates; those of `evaluate` do act.",
    "services.*.rollout.swaps_per_hour": "swaps are not counted or held back.",
    "services.*.rollout.swap_back": "the former version is stopped once the new one serves.",
    "services.*.rollback": "objectives are not watched, and nothing is reversed by itself.",
    "monitors.*": "live traffic is counted but no chart watches it.",
    "calendar": "expected changes are not read by anything.",
    "automations.*": "no rule is evaluated.",
}
"""Path of YAML keys (`*` is any name) -> why it does not act yet, as one sentence."""


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
            key=f"pipelines.{name}.engine",
            where=manifest.where("pipelines", name, "engine"),
            why="tables are made by DuckDB; Spark comes later.",
        )
        for name, pipeline in sorted(manifest.spec.pipelines.items())
        if pipeline.engine != "duckdb"
    ]
    return tuple(found)
