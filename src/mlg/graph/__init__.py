"""The graph: recording, projection, lineage, audit; what is public is listed here."""

from mlg.graph.audit import (
    Anchor,
    ChainLog,
    RawEvent,
    anchor_path,
    covering_anchor,
    decode_anchor,
    encode_anchor,
    make_anchor,
    public_key_of,
    verify_chain,
)
from mlg.graph.bundle import (
    SealedRow,
    model_files,
    prediction_files,
    service_files,
    verify_bundle,
    zip_bytes,
)
from mlg.graph.bundle_account import Evidence
from mlg.graph.encode import canonical, chain_hash, decode, encode
from mlg.graph.lineage import Answered, prediction_uri, trace_prediction
from mlg.graph.project import project
from mlg.graph.record import Recorder

__all__ = [
    "Anchor",
    "Answered",
    "ChainLog",
    "Evidence",
    "RawEvent",
    "Recorder",
    "SealedRow",
    "anchor_path",
    "canonical",
    "chain_hash",
    "covering_anchor",
    "decode",
    "decode_anchor",
    "encode",
    "encode_anchor",
    "make_anchor",
    "model_files",
    "prediction_files",
    "prediction_uri",
    "project",
    "public_key_of",
    "service_files",
    "trace_prediction",
    "verify_bundle",
    "verify_chain",
    "zip_bytes",
]
