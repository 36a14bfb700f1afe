"""One replica of a model version: `python -m mlg.app.replica`, started by the supervisor.

It outlives the control plane and needs nothing of it: the artifact, the policy file,
the viewer key and a listening socket are all it is given.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from mlg.app import interleaving_replica as interleaving
from mlg.app import load_check
from mlg.app.data_plane import exit_code_of, parser, pin_threads, run_service
from mlg.core.errors import BackendError, LifecycleError
from mlg.recsys import loading
from mlg.serving.faults import FaultyRecommender, read_fault
from mlg.serving.requests import DEFAULT_K
from mlg.serving.service import Identity
from mlg.serving.warmup import golden_requests
from mlg.telemetry.logs import setup_logs


class _ModelFile(msgspec.Struct):
    k: int = DEFAULT_K


def _default_k(artifact: Path) -> int:
    try:
        return msgspec.json.decode((artifact / "model.json").read_bytes(), type=_ModelFile).k
    except (OSError, msgspec.MsgspecError) as error:
        raise BackendError(f"cannot be read: {error}", where="model.json") from error


def _check_starts(faults: Path, names: tuple[str, ...]) -> None:
    """Check that nobody wants this process to end at once.

    Raises:
        BackendError: Somebody does.
    """
    if read_fault(faults, names).fails_to_start:
        raise BackendError("a fault on purpose: it does not start", where=names[-1])


def main(argv: Sequence[str]) -> int:
    """Run one replica; return its exit code."""
    pin_threads("mlg.app.replica", argv)
    options = parser("replica")
    options.add_argument("--model", required=True)
    options.add_argument("--version", required=True)
    options.add_argument(
        "--arm", default="", help="label of the group, when it is not the version"
    )
    options.add_argument("--artifact", type=Path, required=True, help="folder of the artifact")
    load_check.add_options(options)
    interleaving.add_options(options)
    chosen = options.parse_args(argv)
    setup_logs(sys.stderr, process=chosen.id)
    try:
        artifact: Path = chosen.artifact
        checked = load_check.check(chosen)
        identity = Identity(
            service=chosen.service,
            model=chosen.model,
            version=chosen.version,
            arm=chosen.arm,
            clock=chosen.clock,
            default_k=_default_k(artifact),
            nonce=os.environ.get("MLG_NONCE", ""),
        )
        faults = chosen.home / "services" / chosen.service / "faults.json"
        names = (chosen.id, chosen.arm, chosen.version)
        _check_starts(faults, names)
        recommender = FaultyRecommender(
            loading.load(artifact, checked.files.get("model.json") if checked else None),
            faults,
            names,
            np.random.default_rng().random,
        )
        recommender.warming(True)
        run_service(
            chosen,
            identity,
            recommender,
            rescue=False,
            golden=golden_requests(artifact),
            warmed=lambda: recommender.warming(False),
            make=interleaving.maker(chosen, faults),
        )
    except LifecycleError as error:
        return exit_code_of(error)
    return exit_code_of(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
