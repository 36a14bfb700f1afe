"""Writes MLflow registries by real MLflow; run by the interpreter of its own environment.

Reads one JSON object a line, `{"do": "serve" | "write" | "change", "uri": …}`, and answers each
with one.
"""

import json
import os
import sys
import threading
import warnings


def data(name, digest):
    from mlflow.entities import Dataset, DatasetInput, InputTag

    def of(context):
        source = json.dumps({"url": f"http://example.org/{name}.csv"})
        found = Dataset(name=name, digest=digest, source_type="http", source=source)
        return DatasetInput(found, [InputTag("mlflow.data.context", context)])

    return of


def run(client, experiment, name, *, commit, score, inputs, parent=None):
    tags = {
        "mlflow.user": "ada",
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.repoURL": "git@example.org:movies.git",
        "mlflow.note.content": f"the {name} try",
        "team/owner": "discovery",
    }
    if parent:
        tags["mlflow.parentRunId"] = parent
    id_ = client.create_run(experiment, tags=tags, run_name=name).info.run_id
    client.log_param(id_, "rate", "0.1")
    for step, value in enumerate((score / 2, score)):
        client.log_metric(id_, "ndcg", value, step=step)
    client.log_metric(id_, "loss", float("nan"))
    client.log_inputs(id_, inputs)
    client.set_terminated(id_)
    return id_


def write(client):
    ratings, held = data("ratings", "d1"), data("ratings", "d2")
    one = client.create_experiment("ranker training", tags={"area": "home"})
    two = client.create_experiment("sweeps")
    first = run(client, one, "first", commit="a" * 40, score=0.5,
                inputs=[ratings("training"), held("eval")])  # fmt: skip
    second = run(client, one, "second", commit="b" * 40, score=0.625,
                 inputs=[held("training")])  # fmt: skip
    run(client, two, "child", commit="b" * 40, score=0.25, inputs=[], parent=second)
    client.create_registered_model("ranker", tags={"tier": "1"}, description="ranks films")
    client.create_model_version(
        "ranker", "s3://models/1", first, tags={"size": "small"}, description="the first"
    )
    client.create_model_version("ranker", "s3://models/2", second)
    client.create_registered_model('it\'s "new"')
    client.set_registered_model_alias("ranker", "champion", "1")
    client.set_registered_model_alias("ranker", "challenger", "2")
    client.transition_model_version_stage("ranker", "1", "Production")
    return {"first": first, "second": second, "experiment": one}


def change(client, runs):
    client.set_registered_model_alias("ranker", "champion", "2")
    client.delete_registered_model_alias("ranker", "challenger")
    client.delete_model_version_tag("ranker", "1", "size")
    third = run(client, runs["experiment"], "third", commit="c" * 40, score=0.75,
                inputs=[data("ratings", "d2")("training")])  # fmt: skip
    client.delete_registered_model('it\'s "new"')
    return {**runs, "third": third}


def serve(uri):
    """Answer at a free port from this process, which spares two more that import MLflow."""
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = uri
    os.environ["_MLFLOW_SERVER_REGISTRY_STORE"] = uri
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = os.path.join(os.getcwd(), "artifacts")
    from mlflow.server import app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return {"url": f"http://127.0.0.1:{server.server_port}"}


def main():
    import mlflow

    answers, sys.stdout = sys.stdout, sys.stderr  # MLflow prints
    written = {}
    for line in sys.stdin:
        asked = json.loads(line)
        uri = asked["uri"]
        if asked["do"] == "serve":
            answers.write(json.dumps(serve(uri)) + "\n")
            answers.flush()
            continue
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        written[uri] = write(client) if asked["do"] == "write" else change(client, written[uri])
        answers.write(json.dumps(written[uri]) + "\n")
        answers.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
