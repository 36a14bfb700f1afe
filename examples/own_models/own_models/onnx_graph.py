"""An ONNX graph run by onnxruntime: from what was met to a score for every item."""

import json
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime

import mlg
from own_models.counts import popularity, seen, together


class Graph:
    """Scores all items by one matrix product, for one request or for many.

    Args:
        items: The catalogue.
        graph: The ONNX file's bytes: `met` (n, items) float32 -> `scores` of the same shape.
    """

    def __init__(self, items: list[int], graph: bytes) -> None:
        self.items, self.graph = items, graph
        self._place = {item: n for n, item in enumerate(items)}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # replicas scale by number, not by threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    @classmethod
    def fit(cls, training: mlg.Training) -> Self:
        """Put the counts into a graph; a trained network would be exported here instead."""
        near, popular = together(training), popularity(training)
        return cls(list(training.items), _graph(near, 0.001 * popular))

    def recommend(self, query: mlg.Query) -> mlg.Ranked:
        """Return the best items for the request's history."""
        return self.recommend_many([query])[0]

    def recommend_many(self, queries: list[mlg.Query]) -> list[mlg.Ranked]:
        """Return an answer a query, all from one run of the graph."""
        met = np.zeros((len(queries), len(self.items)), dtype=np.float32)
        histories = [seen(query, self._place) for query in queries]
        for row, history in zip(met, histories, strict=True):
            row[history] = 1.0
        (scores,) = self._session.run(["scores"], {"met": met})
        answers = []
        for query, history, row in zip(queries, histories, scores, strict=True):
            row[history] = -np.inf
            left = min(query.k, len(self.items) - len(set(history)))
            best = np.argsort(-row, kind="stable")[:left]
            answers.append(
                mlg.Ranked(
                    items=tuple(self.items[n] for n in best),
                    scores=tuple(float(row[n]) for n in best),
                )
            )
        return answers

    def save(self, folder: Path) -> None:
        """Write the graph and the catalogue."""
        (folder / "graph.onnx").write_bytes(self.graph)
        (folder / "items.json").write_text(json.dumps(self.items), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read them."""
        items = json.loads((folder / "items.json").read_text(encoding="utf-8"))
        return cls(items, (folder / "graph.onnx").read_bytes())


def _graph(near: np.ndarray, popular: np.ndarray) -> bytes:
    """Return scores = met @ near + popular as an ONNX file."""
    # only training needs the package `onnx`; a replica runs without it
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    shape = ["n", near.shape[0]]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["met", "near"], ["summed"]),
            helper.make_node("Add", ["summed", "popular"], ["scores"]),
        ],
        "together",
        [helper.make_tensor_value_info("met", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(near.astype(np.float32), "near"),
            numpy_helper.from_array(popular.astype(np.float32), "popular"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
