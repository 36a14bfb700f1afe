"""MLServer's runtime of the kernel; apart, as it is imported inside that server."""  # noqa: INP001 - a script, no package

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from serving_kernel import Kernel


class Runtime(MLModel):
    """The kernel behind the Open Inference Protocol."""

    async def load(self) -> bool:
        """Make the matrices."""
        self.kernel = Kernel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Rank for one viewer."""
        codes, scores = self.kernel.rank(int(payload.inputs[0].data[0]))
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(name="items", shape=[len(codes)], datatype="INT64", data=codes.tolist()),
                ResponseOutput(name="scores", shape=[len(codes)], datatype="FP32", data=scores.tolist()),
            ],
        )
