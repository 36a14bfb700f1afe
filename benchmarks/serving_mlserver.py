"""MLServer's runtime of the kernel; apart, as it is imported inside that server."""  # noqa: INP001 - a script, no package

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from serving_kernel import K, Kernel


class Runtime(MLModel):
    """The kernel behind the Open Inference Protocol."""

    async def load(self) -> bool:
        """Make the matrices."""
        self.kernel = Kernel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Rank for the viewers of a batch: one row each, first the codes, then the scores."""
        found = self.kernel.rank_many([int(viewer) for viewer in payload.inputs[0].data])
        codes = [code for row, _ in found for code in row.tolist()]
        scores = [score for _, row in found for score in row.tolist()]
        shape = [len(found), K]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(name="items", shape=shape, datatype="INT64", data=codes),
                ResponseOutput(name="scores", shape=shape, datatype="FP32", data=scores),
            ],
        )
