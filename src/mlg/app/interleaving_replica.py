"""The replica of a group that interleaves: it loads, and checks, two versions."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mlg.app import load_check
from mlg.core.errors import RefusedError
from mlg.recsys import loading
from mlg.serving.faults import FaultyRecommender
from mlg.serving.interleaved import InterleavedService
from mlg.serving.service import Service


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the other version; without them a replica serves its own alone."""
    parser.add_argument("--beside-version", default="")
    parser.add_argument("--beside-artifact", type=Path, help="folder of its artifact")
    parser.add_argument("--beside-digest", default="")
    parser.add_argument("--beside-signature", type=Path)


def maker(chosen: argparse.Namespace, faults: Path) -> Callable[..., Service]:
    """Return what makes the service of a replica.

    Args:
        chosen: What the process was started with.
        faults: Where faults on purpose are told.

    Raises:
        RefusedError: The other version is not what a trusted key signed.
        BackendError: It cannot be read.
    """
    if not chosen.beside_version:
        return Service
    other = argparse.Namespace(
        **{
            **vars(chosen),
            "artifact": chosen.beside_artifact,
            "digest": chosen.beside_digest,
            "signature": chosen.beside_signature,
        }
    )
    if other.artifact is None:
        raise RefusedError(
            "expected the folder of the other version", where="--beside-artifact"
        )
    checked = load_check.check(other)
    loaded = loading.load(other.artifact, checked.files.get("model.json") if checked else None)
    # what is wrong with the group or the candidate is not wrong with what serves now
    beside = FaultyRecommender(
        loaded, faults, (chosen.beside_version,), np.random.default_rng().random
    )
    return partial(InterleavedService, beside=beside, beside_version=chosen.beside_version)
