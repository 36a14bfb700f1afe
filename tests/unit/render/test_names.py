"""Names of objects are DNS labels, and two things have two."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.render.names import bytes_quantity, cpu_quantity, dns_label, label_value

LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1035, 2.3.1
VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,62}", fullmatch=True)
VERSION = st.from_regex(r"[0-9a-f]{12}(~[a-z]{1,9})?", fullmatch=True)


@given(NAME, NAME, VERSION, st.integers(10, 63))
def test_a_name_is_a_dns_label_of_at_most_the_asked_length(
    project: str, service: str, version: str, longest: int
) -> None:
    name = dns_label(project, service, version, longest=longest)
    assert LABEL.fullmatch(name)
    assert len(name) <= longest


@given(st.lists(st.tuples(NAME, VERSION), min_size=2, max_size=2, unique=True))
def test_two_versions_have_two_names(pairs: list[tuple[str, str]]) -> None:
    assert len({dns_label("movies", service, version) for service, version in pairs}) == 2


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("a-b", "c"), ("a", "b-c")),
        (("home", "3F2A"), ("home", "3f2a")),
        (("home_page", "x"), ("home-page", "x")),
        (("Home", "x"), ("home", "x")),
        (("a" * 62, "1"), ("a" * 62, "2")),
        (("home", "3f2a~control"), ("home", "3f2a-control")),
    ],
)
def test_what_looks_alike_in_lower_case_keeps_two_names(
    one: tuple[str, str], two: tuple[str, str]
) -> None:
    assert dns_label("p", *one) != dns_label("p", *two)


def test_a_name_that_no_label_can_begin_with_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with a letter"):
        dns_label("3d")


@given(st.text(max_size=80))
def test_any_text_becomes_a_labels_value(text: str) -> None:
    assert VALUE.fullmatch(label_value(text))


@given(st.floats(1e-6, 1e4))
def test_cpu_is_never_less_than_asked_for_nor_a_thousandth_more(cores: float) -> None:
    quantity = cpu_quantity(cores)
    found = int(quantity[:-1]) if quantity.endswith("m") else 1_000 * int(quantity)
    assert found >= 1
    assert cores * 1_000 - 1e-6 <= found <= max(1, math.ceil(cores * 1_000))


@given(st.integers(1, 2**50))
def test_bytes_mean_what_they_meant(size: int) -> None:
    number, unit = re.fullmatch(r"(\d+)([KMGT]i)?", bytes_quantity(size)).groups()  # type: ignore[union-attr]
    power = {None: 0, "Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4}[unit]
    assert int(number) * 1024**power == size
