"""The servers of `mlg bench serving`: each runs in its own environment, one worker, one thread.

`python serving_peers.py NAME PORT` serves until it is ended. Each peer is set up as its own
documentation shows for one process, with its own way of batching at the same policy: up to 16
requests, the first of which waits for 2 ms. FastAPI and the floor have none, and get ours.
"""  # noqa: INP001 - a script, no package

import json
import os
import sys
from pathlib import Path

from serving_kernel import BATCH, WAIT_S, Batches, K, Kernel

REQUIRES = {
    "floor": ("numpy==2.4.6", "uvicorn==0.54.0", "uvloop==0.22.1", "httptools"),
    "fastapi": ("numpy==2.4.6", "fastapi==0.165.0", "uvicorn==0.54.0", "uvloop==0.22.1", "httptools"),
    "litserve": ("numpy==2.4.6", "litserve==0.2.19"),
    "bentoml": ("numpy", "bentoml==1.4.39"),
    "ray": ("numpy", "ray[serve]==2.60.0"),
    "mlserver": ("numpy", "mlserver==1.7.1"),
}
"""Peer -> what its environment holds; versions are those of the first measurements."""


def floor(port):
    """The kernel in raw ASGI: what nothing behind HTTP can be faster than."""
    import uvicorn

    batches = Batches(Kernel())

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body = b"".join([(await receive()).get("body", b"")])
        codes, scores = await batches.rank(json.loads(body or b"{}").get("user_id", 0))
        answer = json.dumps({"items": codes.tolist(), "scores": scores.tolist()}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")


def fastapi(port):
    """FastAPI on uvicorn with a pydantic body."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    batches, app = Batches(Kernel()), FastAPI()

    class Asked(BaseModel):
        user_id: int
        k: int = K

    @app.post("/predict")
    async def predict(asked: Asked):
        codes, scores = await batches.rank(asked.user_id)
        return {"items": codes.tolist(), "scores": scores.tolist()}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def litserve(port):
    """LitServe with one worker and one API server."""
    api = Lit(max_batch_size=BATCH, batch_timeout=WAIT_S)
    server = lit.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False)


def bentoml(port):
    """BentoML with one worker; its command serves the class below."""
    command = ["bentoml", "serve", "serving_peers:Bento", "--host", "127.0.0.1", "--port", str(port)]
    os.environ["BENTOML_DO_NOT_TRACK"] = "1"
    os.chdir(Path(__file__).parent)
    os.execv(str(Path(sys.executable).with_name("bentoml")), command)


def ray(port):
    """Ray Serve with one replica."""
    import signal

    import ray as engine
    from ray import serve
    from starlette.requests import Request

    @serve.deployment(num_replicas=1, max_ongoing_requests=64)
    class Ranker:
        def __init__(self):
            self.kernel = Kernel()

        @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
        async def rank(self, viewers):
            return self.kernel.rank_many(viewers)

        async def __call__(self, request: Request):
            codes, scores = await self.rank((await request.json())["user_id"])
            return {"items": codes.tolist(), "scores": scores.tolist()}

    engine.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Ranker.bind(), route_prefix="/predict")
    signal.pause()


def mlserver(port):
    """MLServer with a custom runtime, its adaptive batching, no extra processes."""
    folder = Path(os.environ["MLG_BENCH_FOLDER"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(
        json.dumps({"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
                    "host": "127.0.0.1", "parallel_workers": 0, "debug": False})
    )  # fmt: skip
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "bench", "implementation": "serving_mlserver.Runtime",
                    "max_batch_size": BATCH, "max_batch_time": WAIT_S})
    )
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.execv(str(Path(sys.executable).with_name("mlserver")), ["mlserver", "start", str(folder)])


if sys.argv[1:2] == ["litserve"]:
    import litserve as lit

    class Lit(lit.LitAPI):
        """What LitServe hands to its worker."""

        def setup(self, device):
            """Make the matrices."""
            self.kernel = Kernel()

        def decode_request(self, request):
            """Return the viewer."""
            return request["user_id"]

        def batch(self, inputs):
            """Return viewers as they are."""
            return inputs

        def predict(self, x):
            """Rank for the viewers of a batch."""
            return self.kernel.rank_many(x)

        def unbatch(self, output):
            """Return each viewer's."""
            return output

        def encode_response(self, output):
            """Return plain lists."""
            return {"items": output[0].tolist(), "scores": output[1].tolist()}


if os.environ.get("MLG_BENCH_BENTO"):
    import bentoml as engine

    @engine.service(workers=1, traffic={"concurrency": 64})
    class Bento:
        """What `bentoml serve` finds."""

        def __init__(self):
            self.kernel = Kernel()

        @engine.api(batchable=True, max_batch_size=BATCH)
        def predict(self, user_id: list[int]) -> list[dict]:
            """Rank for the viewers of a batch; how long its first waits, the server chooses."""
            found = self.kernel.rank_many(user_id)
            return [{"items": codes.tolist(), "scores": scores.tolist()} for codes, scores in found]


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]))
