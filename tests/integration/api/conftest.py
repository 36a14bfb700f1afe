"""The application over a control plane in memory."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from litestar.testing import TestClient

from mlg.api.app import create_app
from mlg.api.security import Caller
from mlg.core.principal import Principal, Role


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "mlg_api_fakes", Path(__file__).parent / "fakes.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    return sys.modules.get("mlg_api_fakes") or _load()


@pytest.fixture
def plane(fakes: ModuleType) -> Any:
    return fakes.Plane()


@pytest.fixture
def roles() -> list[Role]:
    """Roles of whoever asks; a test may change them."""
    return ["admin"]


@pytest.fixture
def app(plane: Any, roles: list[Role]) -> Any:
    def principal_for(_: Caller) -> Principal:
        return Principal(subject="local:ada", roles=tuple(roles), via="loopback")

    return create_app(
        plane.services(), allowed_hosts=("127.0.0.1", "localhost"), principal_for=principal_for
    )


@pytest.fixture
def client(app: Any) -> Iterator[TestClient[Any]]:
    with TestClient(app, base_url="http://127.0.0.1:7070", raise_server_exceptions=False) as it:
        yield it
