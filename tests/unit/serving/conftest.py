"""Hands the stub recommender to the tests of this folder."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_NAME = "mlg_serving_stubs"


@pytest.fixture(scope="session")
def stubs() -> ModuleType:
    if _NAME not in sys.modules:
        path = Path(__file__).parent / "stubs.py"
        spec = importlib.util.spec_from_file_location(_NAME, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[_NAME]
