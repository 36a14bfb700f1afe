"""What no removal may take: versions that serve, are warm, or are the way back."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from tests.privacy import Home, hours

from mlg.core.uris import Digest
from mlg.workflows.packaged import Packaged, read_packaged, write_packaged
from mlg.workflows.rollouts import Swaps, read_swaps, write_swaps
from mlg.workflows.state import Wanted, WantedVersion, write_wanted

HIM = 471147114711


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path / "home")
    yield found
    found.close()


def model(home: Home, tag: str) -> tuple[Digest, Digest]:
    """Store a model that names him, with an image; return the digests of both."""
    table = home.stored_table(f"t-{tag}", "dataset_version", pa.table({"user_id": [HIM]}))
    _, digest = home.stored_model(tag, [HIM], table)
    folder = home.home.parent / f"image-{tag}"
    folder.mkdir()
    (folder / "index.json").write_text(f'{{"tag": "{tag}"}}')
    image = home.artifacts.put(folder)
    packaged = Packaged(artifact=digest, image="p", image_digest=image, image_artifact=image)
    write_packaged(home.files, packaged)
    return digest, image


def wanted(digest: Digest, bp: int) -> WantedVersion:
    return WantedVersion(version=digest[:12], artifact=digest, bp=bp, deployment=digest[:4])


def test_what_serves_is_warm_or_is_the_way_back_stays(home: Home) -> None:
    home.apply()
    older, back, warm, serving = (model(home, t) for t in ("older", "back", "warm", "serving"))
    model(home, "newest")  # of a model's name the newest may be about to serve
    versions = (wanted(serving[0], 10_000), wanted(warm[0], 0))
    write_wanted(home.files, Wanted(service="home", versions=versions))
    served = (wanted(older[0], 0), wanted(back[0], 0))
    write_swaps(home.files, "home", Swaps(served=served))
    home.clock.wait(hours(24 * 400).total_seconds())
    home.privacy.retention.apply()  # what `mlg gc` does
    everything = (*older, *back, *warm, *serving)
    assert all(home.artifacts.has(digest) for digest in everything)
    home.privacy.erasures.erase(str(HIM), "", "", "local:ada")
    home.privacy.retention.apply()
    kept = {digest for digest in everything if home.artifacts.has(digest)}
    assert kept == {*back, *warm, *serving}, "only an erasure may take an older one"
    assert all(read_packaged(home.files, d[:12]) for d in (back[0], warm[0], serving[0]))


def test_the_way_back_leads_past_what_an_erasure_took(home: Home) -> None:
    home.apply()
    oldest, gone, serving = (model(home, t) for t in ("oldest", "gone", "serving"))
    write_wanted(home.files, Wanted(service="home", versions=(wanted(serving[0], 10_000),)))
    served = (wanted(oldest[0], 0), wanted(gone[0], 0))
    write_swaps(home.files, "home", Swaps(served=served))
    home.artifacts.remove(gone[0])
    swaps, there = read_swaps(home.files, "home"), home.artifacts.has
    found = swaps.former(serving[0][:12], there)
    assert found is not None
    assert found.artifact == oldest[0]
    home.artifacts.remove(oldest[0])
    assert swaps.former(serving[0][:12], there) is None
