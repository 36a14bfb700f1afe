"""The popularity server of a service: always warm, no model, the gateway's last rescue."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mlg.app.data_plane import exit_code_of, parser, pin_threads, run_service
from mlg.core.errors import LifecycleError
from mlg.serving.popularity import load_list
from mlg.serving.service import Identity, PopularityOnly
from mlg.telemetry.logs import setup_logs


def main(argv: Sequence[str]) -> int:
    """Run one fallback server; return its exit code."""
    pin_threads("mlg.app.fallback", argv)
    options = parser("fallback")
    options.add_argument("--model", default="popularity")
    options.add_argument("--version", default="popularity")
    options.add_argument(
        "--artifact", type=Path, help="folder with popularity.json; none: an empty list"
    )
    chosen = options.parse_args(argv)
    setup_logs(sys.stderr, process=chosen.id)
    try:
        identity = Identity(
            service=chosen.service,
            model=chosen.model,
            version=chosen.version,
            clock=chosen.clock,
            nonce=os.environ.get("MLG_NONCE", ""),
        )
        recommender = PopularityOnly(load_list(chosen.artifact))
        run_service(chosen, identity, recommender, rescue=True)
    except LifecycleError as error:
        return exit_code_of(error)
    return exit_code_of(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
