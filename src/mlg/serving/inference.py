"""The Open Inference Protocol v2 in JSON: bodies -> queries, predictions -> bodies.

Source:
    kserve/open-inference-protocol, `specification/protocol/inference_rest.md`.
"""

from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from math import prod
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from mlg.core.errors import LifecycleError
from mlg.core.predict import Interaction, Key, Prediction, Query
from mlg.serving.requests import DEFAULT_K, KEY_MAX, MAX_K, RequestError, decode

INPUTS: Final = ("user_id", "k", "history")
OUTPUTS: Final = ("item_id", "score")
_WHOLE: Final = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
_DEPTH: Final = 8
"""Data may be nested as deep as its shape is long; nothing here needs more."""

_Name = Annotated[str, Meta(min_length=1, max_length=256)]


class _Input(Struct):
    name: _Name
    shape: Annotated[list[Annotated[int, Meta(ge=0, le=2**31 - 1)]], Meta(max_length=_DEPTH)]
    datatype: str
    data: list[Any]


class _Output(Struct):
    name: _Name


class _Infer(Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


class Inference(Struct, frozen=True, kw_only=True):
    """One inference request, after parsing."""

    id: str
    """Given by the caller; may be empty."""
    query: Query
    outputs: tuple[str, ...]
    """Which of `OUTPUTS`, in the order asked for."""


_DECODER: Final = msgspec.json.Decoder(_Infer)


def parse_infer(body: bytes, *, now: datetime, default_k: int = DEFAULT_K) -> Inference:
    """Return what an inference request asks.

    One viewer a request: inputs `user_id` (BYTES, or whole numbers) and `k` with one element
    each, and `history` with the viewer's items, oldest first; all may be left out.

    Args:
        body: JSON object as the protocol has it; `parameters` are taken and not used.
        now: Event time.
        default_k: Number of items when the body names none.

    Raises:
        RequestError: The body is no such request.
    """
    asked: _Infer = decode(_DECODER, body)
    given: dict[str, list[Key]] = {}
    for place, tensor in enumerate(asked.inputs):
        where = f"inputs[{place}]"
        if tensor.name not in INPUTS:
            raise RequestError(
                f"expected an input {', '.join(INPUTS)}, got {tensor.name!r}",
                where=f"{where}.name",
            )
        if tensor.name in given:
            raise RequestError(f"expected {tensor.name!r} once", where=f"{where}.name")
        given[tensor.name] = _elements(tensor, where)
        if tensor.name != "history" and len(given[tensor.name]) != 1:
            raise RequestError(
                f"expected one element, got {len(given[tensor.name])}",
                where=f"{where}.data",
                hint="ask once for each viewer.",
            )
    k = given.get("k", [default_k])[0]
    if not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise RequestError(f"expected k in 1..{MAX_K}, got {k!r}", where="inputs.k")
    history = given.get("history")
    return Inference(
        id=asked.id or "",
        query=Query(
            user_id=given.get("user_id", [None])[0],
            k=k,
            at=now,
            history=None if history is None else tuple(Interaction(item_id=i) for i in history),
        ),
        outputs=_outputs(asked.outputs),
    )


def _outputs(asked: list[_Output] | None) -> tuple[str, ...]:
    names = tuple(one.name for one in asked or ())
    for place, name in enumerate(names):
        if name not in OUTPUTS or name in names[:place]:
            raise RequestError(
                f"expected {' and '.join(OUTPUTS)}, each at most once, got {name!r}",
                where=f"outputs[{place}].name",
            )
    return names or OUTPUTS


def _elements(tensor: _Input, where: str) -> list[Key]:
    """Return a tensor's elements in row-major order.

    Raises:
        RequestError: They do not fit its shape or datatype.
    """
    found = list(_flat(tensor.data, where, _DEPTH))
    if prod(tensor.shape) != len(found):
        raise RequestError(
            f"expected {prod(tensor.shape)} elements by shape {tensor.shape}, got {len(found)}",
            where=f"{where}.data",
        )
    if tensor.datatype not in (*_WHOLE, "BYTES"):
        raise RequestError(
            f"expected datatype BYTES or {', '.join(_WHOLE)}, got {tensor.datatype!r}",
            where=f"{where}.datatype",
        )
    kind = str if tensor.datatype == "BYTES" else int
    for value in found:
        if type(value) is not kind:
            raise RequestError(
                f"expected {'text' if kind is str else 'whole numbers'} for "
                f"{tensor.datatype}, got {value!r:.50}",
                where=f"{where}.data",
            )
        if isinstance(value, str) and not 1 <= len(value) <= KEY_MAX:
            raise RequestError(
                f"expected text of 1..{KEY_MAX} characters, got {len(value)}",
                where=f"{where}.data",
            )
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise RequestError("expected whole numbers of 64 bits", where=f"{where}.data")
    return found


def _flat(data: list[Any], where: str, deep: int) -> Iterator[Any]:
    if not deep:
        raise RequestError(f"expected at most {_DEPTH} levels", where=f"{where}.data")
    for value in data:
        if isinstance(value, list):
            yield from _flat(value, where, deep - 1)
        else:
            yield value


def answer_of(asked: Inference, given: Prediction, *, model: str) -> dict[str, Any]:
    """Return the inference response; what has no place in tensors is in `parameters`."""
    whole = all(isinstance(item, int) for item in given.items)
    shape = [1, len(given.items)]
    tensors = {
        "item_id": {
            "name": "item_id",
            "datatype": "INT64" if whole else "BYTES",
            "shape": shape,
            "data": list(given.items) if whole else [str(item) for item in given.items],
        },
        "score": {"name": "score", "datatype": "FP64", "shape": shape, "data": given.scores},
    }
    return {
        "model_name": model,
        "model_version": given.version,
        "id": asked.id or given.prediction_id,
        "parameters": {
            "prediction_id": given.prediction_id,
            "confidence": given.confidence,
            "served_by": given.served_by,
            "reason": given.reason,
        },
        "outputs": [tensors[name] for name in asked.outputs],
    }


def server_metadata() -> dict[str, Any]:
    """Return who serves."""
    try:
        own = version("mlg")
    except PackageNotFoundError:
        own = "unknown"
    return {"name": "mlg", "version": own, "extensions": []}


def model_metadata(model: str, version: str, *, whole: bool) -> dict[str, Any]:
    """Return what the model takes and gives.

    Args:
        model: Its name.
        version: Its version.
        whole: Whether items are whole numbers.
    """
    key = "INT64" if whole else "BYTES"
    return {
        "name": model,
        "versions": [version],
        "platform": "mlg",
        "inputs": [
            {"name": "user_id", "datatype": "BYTES", "shape": [1]},
            {"name": "k", "datatype": "INT64", "shape": [1]},
            {"name": "history", "datatype": key, "shape": [-1]},
        ],
        "outputs": [
            {"name": "item_id", "datatype": key, "shape": [1, -1]},
            {"name": "score", "datatype": "FP64", "shape": [1, -1]},
        ],
    }


def error_of(error: LifecycleError) -> dict[str, str]:
    """Return an error as the protocol has it: one text."""
    hint = f"; {error.hint}" if error.hint else ""
    return {"error": f"{error}{hint}"}
