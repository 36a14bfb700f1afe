"""From the manifest's `cache:` and `batch:` to what a replica is started with."""

import pytest

from mlg.app.data_plane import _batch, _cache, parser
from mlg.app.specs import faster_options
from mlg.core.errors import ManifestError
from mlg.manifest.load import parse_manifest
from mlg.manifest.specs_services import ServiceSpec
from mlg.serving.batch import BatchSize

MANIFEST = """
version: 1
project: p
datasets: {t: {source: {uri: "file:t.csv"}, columns: {i: {type: int64}, at: {type: timestamp}}}}
pipelines:
  m:
    steps:
      train: {model: popularity, in: [t], roles: {interactions: {table: t, item: i, at: at}}}
services:
  home: {model: m%s}
"""


def service(keys: str) -> ServiceSpec:
    return parse_manifest(MANIFEST % keys).spec.services["home"]


@pytest.mark.parametrize(
    ("keys", "cache", "batch"),
    [
        ("", None, None),
        (", cache: {}", (10_000, 60.0), None),
        (", cache: {entries: 5, ttl: 2m}", (5, 120.0), None),
        (", batch: {}", None, (16, 2.0)),
        (", batch: {max: 4, deadline: 3ms}", None, (4, 3.0)),
        (", cache: {}, batch: {max: 2}", (10_000, 60.0), (2, 2.0)),
    ],
)
def test_a_replica_gets_what_the_manifest_says(
    keys: str, cache: tuple[int, float] | None, batch: tuple[int, float] | None
) -> None:
    own = ["--home", ".", "--service", "home", "--id", "replica-home-1"]
    options = parser("replica").parse_args([*own, *faster_options(service(keys))])
    kept = _cache(options)
    found = None if kept is None else (kept._entries, kept._ttl.total_seconds())
    assert found == cache
    size = _batch(options)
    assert size == (BatchSize(most=batch[0], deadline_ms=batch[1]) if batch else None)


@pytest.mark.parametrize(
    "keys",
    [
        ", cache: {entries: 0}",
        ", cache: {ttl: 0s}",
        ", batch: {max: 1}",
        ", batch: {deadline: 0ms}",
        ", batch: {size: 3}",
    ],
)
def test_a_value_out_of_range_is_refused(keys: str) -> None:
    with pytest.raises(ManifestError):
        service(keys)
