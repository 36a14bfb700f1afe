"""What replica and fallback server share: options, socket, key, and the serving loop."""

import argparse
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.entropy_pooled import ENTROPY
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.adapters.stream_segments import SegmentStream
from mlg.core.errors import BackendError, LifecycleError, ManifestError
from mlg.serving.asgi import ServingApp
from mlg.serving.batch import BatchSize
from mlg.serving.cache import CacheSize, ResultCache
from mlg.serving.instruments import Instruments
from mlg.serving.log import LOG_SCHEMA, LogBatch
from mlg.serving.policy import PolicyFile
from mlg.serving.ranker import Recommender
from mlg.serving.server import serve
from mlg.serving.service import Identity, Service
from mlg.serving.warmup import rehearse, warm_up
from mlg.telemetry.tracing import Tracing, tracing_of

THREAD_ENV: Final = (
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
)
"""Environment of a replica: replicas scale by number, not by threads."""
KEY_BYTES: Final = 32
_LAST_PORT: Final = 65_535
_LOG: Final = logging.getLogger("mlg.app")


def parser(program: str) -> argparse.ArgumentParser:
    """Return the options that replica and fallback server share."""
    options = argparse.ArgumentParser(prog=f"python -m mlg.app.{program}", allow_abbrev=False)
    options.add_argument("--home", type=Path, required=True, help="folder of the instance")
    options.add_argument("--service", required=True)
    options.add_argument("--id", required=True, help="process id, for example replica-home-1")
    options.add_argument("--clock", choices=("request", "system"), default="system")
    options.add_argument(
        "--listen",
        default="",
        help="HOST:PORT to listen on, in a pod; default: the socket of MLG_LISTEN_FD",
    )
    options.add_argument("--cache-entries", type=int, default=0, help="0: no cache")
    options.add_argument("--cache-ttl-s", type=float, default=60.0)
    options.add_argument("--batch-max", type=int, default=0, help="0: no batches")
    options.add_argument("--batch-deadline-ms", type=float, default=2.0)
    return options


def _cache(options: argparse.Namespace) -> ResultCache | None:
    if options.cache_entries < 1:
        return None
    return ResultCache(CacheSize(entries=options.cache_entries, ttl_s=options.cache_ttl_s))


def _batch(options: argparse.Namespace) -> BatchSize | None:
    if options.batch_max < 1:
        return None
    return BatchSize(most=options.batch_max, deadline_ms=options.batch_deadline_ms)


def listening_socket(listen: str = "") -> socket.socket:
    """Return a socket on `HOST:PORT`; without it, the launcher's in `MLG_LISTEN_FD`.

    Raises:
        ManifestError: There is none, or it is no such address.
        BackendError: The address cannot be listened on.
    """
    if listen:
        return _bound(listen)
    number = os.environ.get("MLG_LISTEN_FD", "")
    try:
        return socket.socket(fileno=int(number))
    except (ValueError, OSError) as error:
        raise ManifestError(
            f"expected the number of a listening socket in MLG_LISTEN_FD, got {number!r}",
            hint="replicas are started by `mlg up`.",
        ) from error


def _bound(listen: str) -> socket.socket:
    """Return a listening socket on an address.

    Raises:
        ManifestError: It is no address.
        BackendError: It cannot be listened on.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ManifestError(
            f"expected HOST:PORT, got {listen!r}",
            where="--listen",
            hint="in a pod: --listen 0.0.0.0:8080",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as error:
        raise BackendError(
            f"cannot listen on {listen}: {error.strerror or error}", where="--listen"
        ) from error


def viewer_key(home: Path) -> bytes:
    """Return the key under which viewers are logged.

    Raises:
        BackendError: The key is missing or has the wrong length.
    """
    path = home / "keys" / "viewer.key"
    try:
        key = path.read_bytes()
    except OSError as error:
        raise BackendError(
            f"the viewer key cannot be read: {error.strerror}",
            where="keys/viewer.key",
            hint="`mlg up` makes it; a copied home needs its keys folder.",
        ) from error
    if len(key) != KEY_BYTES:
        raise BackendError(
            f"expected {KEY_BYTES} bytes, got {len(key)}", where="keys/viewer.key"
        )
    return key


def _tracing(process: str) -> Tracing:
    """Return what makes spans; viewers are answered also where that cannot be had."""
    try:
        return tracing_of(os.environ, process)
    except LifecycleError as error:
        _LOG.error("no traces are sent", extra=error.as_dict())
        return Tracing()


def run_service(
    options: argparse.Namespace,
    identity: Identity,
    recommender: Recommender,
    *,
    rescue: bool,
    golden: Sequence[bytes] = (),
    warmed: Callable[[], None] = lambda: None,
    threads: int = 0,
    problem: Callable[[], str] | None = None,
    make: Callable[..., Service] = Service,
) -> None:
    """Serve the recommender until told to end, then flush the log.

    Args:
        options: What the process was started with.
        identity: What is served.
        recommender: Who ranks.
        rescue: True in the fallback server.
        golden: Recorded requests to warm up with.
        warmed: Called when that is over, before viewers are answered.
        threads: Requests at once of a recommender that waits for others, and of whose
            catalogue nothing is known; 0: one that computes, on the event loop.
        problem: Returns why the recommender that is asked elsewhere counts as down, or an
            empty text; None: it is none.
        make: Makes the service of identity, recommender and ports.

    Raises:
        LifecycleError: The process cannot serve, in its own words.
    """
    listener = listening_socket(options.listen)
    tracing = _tracing(options.id)
    home: Path = options.home
    clock = SystemClock()
    instruments = Instruments(identity.service, identity.version, problem=problem)
    policy = PolicyFile(home / "services" / identity.service / "policy.json", identity.service)
    policy.poll()
    seed = secrets.randbits(64)
    header = {
        "schema": LOG_SCHEMA,
        "service": identity.service,
        "model": identity.model,
        "model_version": identity.version,
        "features": list(recommender.logged_features),
        "exploration_seed": str(seed),
    }
    service = make(
        identity,
        recommender,
        rescue=rescue,
        policy=lambda: policy.current,
        clock=clock,
        ids=Uuid7Ids(clock),
        draw=np.random.default_rng(seed).random,
        salt=lambda: ENTROPY.randbytes(16).hex(),
        viewer_key=viewer_key(home),
        instruments=instruments,
        strict=threads == 0,
        cache=_cache(options),
    )
    stream = SegmentStream(home / "segments" / identity.service, options.id, header=header)

    async def rehearsed() -> int:
        path = f"/v1/services/{identity.service}/recommend"
        try:
            return await rehearse(golden, listener.getsockname()[:2], path, clock=clock)
        finally:
            warmed()

    def on_gap(records: int, problem: str) -> None:
        instruments.gap(records)
        _LOG.error("log records lost", extra={"records": records, "problem": problem})

    try:
        serve(
            ServingApp(
                service,
                LogBatch(stream, on_gap),
                _batch(options),
                threads=threads,
                tracing=tracing,
            ),
            listener,
            clock=clock,
            warm_up=lambda: warm_up(service, golden, clock=clock, mode=identity.clock),
            rehearse=rehearsed,
            policy=policy,
            on_policy_error=instruments.policy_error,
        )
    finally:
        tracing.close()
        stream.close()
        listener.close()


def exit_code_of(work: LifecycleError | None) -> int:
    """Log the error that ended a process and return its exit code; 0 without one."""
    if work is None:
        return 0
    _LOG.error("the process cannot serve", extra=work.as_dict())
    return work.exit_code


def pin_threads(module: str, argv: Sequence[str]) -> None:
    """Start over with one thread a library unless the environment says so already.

    BLAS and OpenMP read these variables when they are loaded, so it is too late to set
    them here; the pid and the inherited socket stay the same.
    """
    missing = [name for name, value in THREAD_ENV if os.environ.get(name) != value]
    if missing:
        os.environ.update(THREAD_ENV)
        os.execv(sys.executable, [sys.executable, "-m", module, *argv])  # noqa: S606 - no shell
