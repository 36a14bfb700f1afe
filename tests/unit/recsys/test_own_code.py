"""Code of a model of one's own, imported from bytes."""

import sys
import traceback
from collections.abc import Iterator

import pytest

from mlg.core.errors import ManifestError
from mlg.recsys.own_code import CodeFinder, own_class
from mlg.recsys.train_own import is_pickle

CLASS = b"""
class Own:
    word = %s
    @classmethod
    def fit(cls, training): raise RuntimeError("no")
    def recommend(self, query): ...
    def save(self, folder): ...
    @classmethod
    def load(cls, folder): ...
"""


@pytest.fixture(autouse=True)
def no_finder() -> Iterator[None]:
    yield
    for finder in [one for one in sys.meta_path if isinstance(one, CodeFinder)]:
        sys.meta_path.remove(finder)
    for name in [one for one in sys.modules if one.partition(".")[0] == "shop_of_tests"]:
        del sys.modules[name]


def files(word: bytes = b"'a'", init: bool = True) -> dict[str, bytes]:
    found = {
        "shop_of_tests/words.py": b"WORD = " + word + b"\n",
        "shop_of_tests/rank.py": b"from shop_of_tests.words import WORD\n" + CLASS % b"WORD",
        "shop_of_tests/near.py": b"from .words import WORD\n" + CLASS % b"WORD",
    }
    return found | ({"shop_of_tests/__init__.py": b""} if init else {})


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize("module", ["rank", "near"])
def test_a_class_finds_what_lies_beside_it(module: str, init: bool) -> None:
    assert own_class(f"shop_of_tests.{module}:Own", files(init=init)).word == "a"


def test_of_two_versions_each_has_its_own_code() -> None:
    first = own_class("shop_of_tests.rank:Own", files(b"'a'"))
    second = own_class("shop_of_tests.rank:Own", files(b"'b'"))
    assert (first.word, second.word) == ("a", "b")
    assert sum(isinstance(one, CodeFinder) for one in sys.meta_path) == 1


def test_a_traceback_shows_file_and_line_of_the_source() -> None:
    cls = own_class("shop_of_tests.rank:Own", files())
    with pytest.raises(RuntimeError) as caught:
        cls.fit(None)
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert frame.filename == "model-code/shop_of_tests/rank.py"
    assert frame.line == 'def fit(cls, training): raise RuntimeError("no")'


@pytest.mark.parametrize("name", ["json", "mlg"])
def test_a_name_of_pythons_or_ours_is_refused_and_left_alone(name: str) -> None:
    before = sys.modules[name]
    with pytest.raises(ManifestError, match=f"got '{name}'"):
        own_class(f"{name}:Own", {f"{name}.py": CLASS % b"1"})
    assert sys.modules[name] is before


@pytest.mark.parametrize(
    ("name", "content", "pickled"),
    [
        ("a.pkl", b"", True),
        ("A.PKL", b"", True),
        ("model.pt", b"PK", True),
        ("model.bin", b"\x80\x05\x95", True),
        ("x.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order'", True),
        ("model.zip", b"PK\x03\x04....archive/data.pkl", True),
        ("x.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order'", False),
        ("graph.onnx", b"\x08\x08:", False),
        ("high.bin", b"\x80\x00", False),
        ("trees.txt", b"tree\nversion=v4", False),
    ],
)
def test_pickles_are_known_by_name_and_content(
    name: str, content: bytes, pickled: bool
) -> None:
    assert is_pickle(name, content) == pickled
