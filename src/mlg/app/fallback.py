"""The popularity server of a service: always warm, no model, the gateway's last rescue."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mlg.app import load_check
from mlg.app.data_plane import exit_code_of, parser, pin_threads, run_service
from mlg.core.errors import LifecycleError, RefusedError
from mlg.serving.popularity import load_list, own_list
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
    options.add_argument("--list", type=Path, help="file with a list, where no model is")
    load_check.add_options(options)
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
        listed = own_list(chosen.list) if chosen.list else load_list(_trusted(chosen))
        recommender = PopularityOnly(listed)
        run_service(chosen, identity, recommender, rescue=True)
    except LifecycleError as error:
        return exit_code_of(error)
    return exit_code_of(None)


def _trusted(chosen: argparse.Namespace) -> Path | None:
    """Return the artifact's folder; None if there is none to believe: the list is empty."""
    if chosen.artifact is None:
        return None
    try:
        load_check.check(chosen)
    except RefusedError as error:
        # the last rescue stays up, and recommends nothing rather than what nobody signed
        logging.getLogger("mlg.app").warning("the list is refused", extra=error.as_dict())
        return None
    return chosen.artifact


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
