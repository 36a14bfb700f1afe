"""Images are by digest, or as an operator named them; never `latest`."""

import pytest

from mlg.core.errors import ManifestError
from mlg.render.inputs import cluster_of, given_images, image_reference, version_of_image

DIGEST = "0123456789abcdef" * 4
KNOWN = ("movies-ranker:3f2a90c1d2e4", DIGEST)


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        (None, KNOWN, f"movies-ranker@sha256:{DIGEST}"),
        (None, ("movies-ranker", DIGEST), f"movies-ranker@sha256:{DIGEST}"),
        (
            "registry.example.com/team/ranker",
            KNOWN,
            f"registry.example.com/team/ranker@sha256:{DIGEST}",
        ),
        ("localhost:5000/ranker", KNOWN, f"localhost:5000/ranker@sha256:{DIGEST}"),
        ("localhost:5000/ranker:v7", KNOWN, "localhost:5000/ranker:v7"),
        (f"r@sha256:{'a' * 64}", KNOWN, f"r@sha256:{'a' * 64}"),
        (f"r:v7@sha256:{'a' * 64}", None, f"r:v7@sha256:{'a' * 64}"),
        ("ranker:2026-11-25", None, "ranker:2026-11-25"),
    ],
)
def test_a_reference_is_by_digest_or_as_given(
    given: str | None, known: tuple[str, str] | None, expected: str
) -> None:
    assert image_reference("home", given, known) == expected


@pytest.mark.parametrize(
    ("given", "known", "said"),
    [
        (None, None, "no image is known"),
        ("ranker", None, "no image is known"),
        ("registry.example.com:5000/ranker", None, "no image is known"),
        (None, ("movies-ranker", "None"), "no image is known"),
        ("ranker:latest", KNOWN, "`latest`"),
        (f"ranker:latest@sha256:{DIGEST}", KNOWN, "`latest`"),
        ("Not An Image", KNOWN, "expected the reference"),
        ("", KNOWN, "expected the reference"),
        ("ranker@sha256:12", KNOWN, "expected the reference"),
    ],
)
def test_what_could_be_another_image_tomorrow_is_refused(
    given: str | None, known: tuple[str, str] | None, said: str
) -> None:
    with pytest.raises(ManifestError, match=said) as refused:
        image_reference("home", given, known)
    assert refused.value.hint


def test_one_image_cannot_be_two_versions() -> None:
    with pytest.raises(ManifestError, match="2 versions run"):
        image_reference("home", "ranker:v7", KNOWN, versions=2)
    assert image_reference("home", "ranker", KNOWN, versions=2) == f"ranker@sha256:{DIGEST}"


def test_the_version_of_an_image_is_its_digest_or_its_tag() -> None:
    assert version_of_image(f"r:v7@sha256:{DIGEST}") == DIGEST[:12]
    assert version_of_image("localhost:5000/r:v7") == "v7"


@pytest.mark.parametrize("words", [["a=r"], ["home=r", "home=s"], ["r", "s"], ["home="], [""]])
def test_images_for_no_service_or_twice_for_one_are_refused(words: list[str]) -> None:
    with pytest.raises(ManifestError, match="once a service"):
        given_images(words, ["home", "search"])


def test_a_service_of_its_own_wins_over_all() -> None:
    assert given_images(["r", "search=s"], ["home", "search"]) == {"home": "r", "search": "s"}
    assert given_images(["search=s"], ["home", "search"]) == {"search": "s"}


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("Recs", "mlg", ""), "--namespace"),
        (("recs", "a/b/c", ""), "--gateway"),
        (("recs", "/mlg", ""), "--gateway"),
        (("recs", "edge/", ""), "--gateway"),
        (("recs", "mlg", "-x"), "--proxies-in"),
    ],
)
def test_a_word_that_is_no_name_is_refused_with_its_option(
    words: tuple[str, str, str], option: str
) -> None:
    with pytest.raises(ManifestError) as refused:
        cluster_of(*words)
    assert refused.value.where == option
