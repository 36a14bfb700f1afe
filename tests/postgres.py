"""A real PostgreSQL for tests: the system's own programs, a folder of its own, loopback."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import until


def binary(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs; Debian keeps them off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return str(places[0]) if places else shutil.which(name)


@contextmanager
def server() -> Iterator[str]:
    """Run a server; yield its URL up to the database's name, or skip with the reason."""
    pytest.importorskip("psycopg", reason="mlg[postgres] is not installed")
    initdb, postgres = binary("initdb"), binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed (apt: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="mlg-postgres-"))
    user: str | None = None
    if os.geteuid() == 0:  # the server refuses to run as root
        user = next((u.pw_name for u in pwd.getpwall() if u.pw_name == "postgres"), "nobody")
        shutil.chown(folder, user)
    data = folder / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL} if user else {
        "cwd": folder, "stdout": subprocess.DEVNULL
    }  # fmt: skip
    try:
        subprocess.run(
            [initdb, "-D", data, "-U", "mlg", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, stderr=subprocess.PIPE, **run,
        )  # fmt: skip
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(
                [postgres, "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"],
                stderr=log, **run,
            ) as process,
        ):  # fmt: skip
            url = f"postgresql://mlg@127.0.0.1:{port}"
            try:
                until(lambda: answers(f"{url}/postgres"), deadline_s=30)
                yield url
            finally:
                process.send_signal(signal.SIGINT)  # a fast shutdown: it waits for no client
                process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def database(url: str, name: str) -> str:
    """Make an empty database; return its URL."""
    import psycopg

    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{url}/{name}"
