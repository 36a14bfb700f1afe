"""What ranking together gains; some seconds.

Run `PYTHONPATH=src python benchmarks/serving_batch.py`.

Microseconds a request on one thread: alone, and in batches of 4 and 16, without HTTP. Three
rounds, interleaved; the median is printed.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np

from mlg.core.predict import Interaction, Query, Ranked

ITEMS, MET, REQUESTS, ROUNDS = 2_000, 20, 192, 3


def queries() -> list[Query]:
    rng = np.random.default_rng(0)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Query(
            user_id=n,
            k=10,
            at=at,
            history=tuple(
                Interaction(item_id=int(item)) for item in rng.choice(ITEMS, MET, replace=False)
            ),
        )
        for n in range(REQUESTS)
    ]


class Matrix:
    """The ONNX example's arithmetic in numpy: met @ near, then the best ten."""

    def __init__(self, graph: Callable[[np.ndarray], np.ndarray]) -> None:
        self._scores = graph

    def recommend_many(self, asked: list[Query]) -> list[Ranked]:
        met = np.zeros((len(asked), ITEMS), dtype=np.float32)
        for row, query in zip(met, asked, strict=True):
            row[[int(event.item_id) for event in query.history or ()]] = 1.0
        scores = self._scores(met)
        scores[met > 0] = -np.inf
        best = np.argpartition(-scores, 10, axis=1)[:, :10]
        return [
            Ranked(items=tuple(row.tolist()), scores=tuple(part[row].tolist()))
            for row, part in zip(best, scores, strict=True)
        ]


def models() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    near = rng.random((ITEMS, ITEMS), dtype=np.float32)
    found: dict[str, Any] = {"numpy matrix": Matrix(lambda met: met @ near)}
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return found
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["met", "near"], ["scores"])],
        "scores",
        [helper.make_tensor_value_info("met", TensorProto.FLOAT, ["n", ITEMS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", ITEMS])],
        [numpy_helper.from_array(near, "near")],
    )
    opset = [helper.make_opsetid("", 17)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    found["onnxruntime"] = Matrix(lambda met: session.run(["scores"], {"met": met})[0])
    return found


def main() -> None:
    asked = queries()
    for name, model in models().items():
        us: dict[int, list[float]] = {1: [], 4: [], 16: []}
        model.recommend_many(asked)
        for _ in range(ROUNDS):
            for size, found in us.items():
                began_s = time.perf_counter()
                for first in range(0, REQUESTS, size):
                    model.recommend_many(asked[first : first + size])
                found.append((time.perf_counter() - began_s) / REQUESTS * 1e6)
        alone = median(us[1])
        for size, found in us.items():
            us_each = median(found)
            print(f"{name}, {size} together: {us_each:.0f} us ({alone / us_each:.2f}x)")


if __name__ == "__main__":
    main()
