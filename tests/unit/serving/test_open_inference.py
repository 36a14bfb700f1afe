"""The Open Inference Protocol v2, every body validated against the published contract."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

CONTRACT = Path(__file__).parents[2] / "contracts/open-inference-protocol"
MODEL = "/v2/models/ranker"
VERSION = f"{MODEL}/versions/v1"
USER = {"name": "user_id", "shape": [1], "datatype": "INT64", "data": [7]}
K = {"name": "k", "shape": [1], "datatype": "INT64", "data": [2]}


@pytest.fixture(scope="module")
def contract() -> Any:
    return YAML(typ="safe").load(CONTRACT / "open_inference_rest.yaml")


def keeps(contract: Any, name: str, body: Any) -> None:
    schema = {
        "$ref": f"#/components/schemas/{name}",
        "components": contract["components"],
    }
    jsonschema.Draft4Validator(schema).validate(body)  # OpenAPI 3.0 builds on this draft


def test_every_path_of_the_contract_is_served(stubs: Any, contract: Any) -> None:
    wire = stubs.Wire(stubs.service())
    for path, operations in contract["paths"].items():
        real = path.replace("${MODEL_NAME}", "ranker").replace("${MODEL_VERSION}", "v1")
        unversioned = real.replace("/versions/v1", "")
        for asked in {real, unversioned}:
            for method in {"get", "post"} & set(operations):
                body = {"inputs": [USER]} if method == "post" else b""
                assert wire.ask(asked, body, method=method.upper())[0] == 200, asked


def test_server_and_model_say_what_they_are(stubs: Any, contract: Any) -> None:
    wire = stubs.Wire(stubs.service())
    _, _, server = wire.ask("/v2", method="GET")
    keeps(contract, "metadata_server_response", server)
    assert (server["name"], server["extensions"]) == ("mlg", [])
    for path in (MODEL, VERSION):
        _, _, model = wire.ask(path, method="GET")
        keeps(contract, "metadata_model_response", model)
        assert (model["name"], model["versions"]) == ("ranker", ["v1"])
        assert [one["name"] for one in model["outputs"]] == ["item_id", "score"]


def test_a_model_is_ready_once_warm(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service(), warm=False)
    for path in (f"{MODEL}/ready", f"{VERSION}/ready"):
        assert wire.ask(path, method="GET")[::2] == (503, {"name": "ranker", "ready": False})
    assert wire.ask(f"{MODEL}/infer", {"inputs": []})[::2] == (
        503,
        {"error": "the model is warming up"},
    )
    wire.app.warmed()
    assert wire.ask(f"{VERSION}/ready", method="GET")[::2] == (
        200,
        {"name": "ranker", "ready": True},
    )


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (None, ["item_id", "score"]),
        ([], ["item_id", "score"]),
        ([{"name": "score"}], ["score"]),
        ([{"name": "score"}, {"name": "item_id"}], ["score", "item_id"]),
    ],
)
def test_an_answer_has_the_outputs_that_were_asked_for(
    stubs: Any, contract: Any, outputs: Any, names: list[str]
) -> None:
    body = {"id": "r1", "parameters": {"trace": "x"}, "inputs": [USER, K]}
    if outputs is not None:
        body["outputs"] = outputs
    keeps(contract, "inference_request", body)
    status, _, answer = stubs.Wire(stubs.service()).ask(f"{VERSION}/infer", body)
    assert status == 200
    keeps(contract, "inference_response", answer)
    assert (answer["id"], answer["model_version"]) == ("r1", "v1")
    assert [one["name"] for one in answer["outputs"]] == names
    assert all(one["shape"] == [1, 2] for one in answer["outputs"])
    assert answer["parameters"]["served_by"] == "model"


def test_data_may_be_nested_and_text_and_history_is_taken(stubs: Any) -> None:
    wire = stubs.Wire(stubs.service(recommender=stubs.Echo()))
    body = {
        "inputs": [
            {"name": "user_id", "shape": [1, 1], "datatype": "BYTES", "data": [["ann"]]},
            {"name": "history", "shape": [3], "datatype": "INT32", "data": [5, 6, 7]},
            {"name": "k", "shape": [1], "datatype": "UINT8", "data": [3]},
        ]
    }
    status, _, answer = wire.ask(f"{MODEL}/infer", body)
    assert status == 200
    asked = wire.service._recommender.asked[-1]
    assert (asked.user_id, asked.k) == ("ann", 3)
    assert [event.item_id for event in asked.history] == [5, 6, 7]
    assert answer["outputs"][0]["data"] == [1, 2, 3]


BAD = [
    ({}, "inputs"),
    ({"inputs": {}}, "inputs"),
    ({"inputs": [{**USER, "name": "age"}]}, "inputs[0].name: expected an input user_id, k"),
    ({"inputs": [USER, USER]}, "inputs[1].name: expected 'user_id' once"),
    ({"inputs": [{**USER, "shape": [2]}]}, "inputs[0].data: expected 2 elements by shape [2]"),
    ({"inputs": [{**USER, "shape": [2], "data": [1, 2]}]}, "expected one element, got 2"),
    ({"inputs": [{**USER, "shape": []}, K]}, None),
    ({"inputs": [{**USER, "datatype": "FP32"}]}, "inputs[0].datatype: expected datatype BYTES"),
    ({"inputs": [{**USER, "datatype": "BYTES"}]}, "inputs[0].data: expected text for BYTES"),
    ({"inputs": [{**USER, "data": ["7"]}]}, "expected whole numbers for INT64, got '7'"),
    ({"inputs": [{**USER, "data": [7.5]}]}, "expected whole numbers for INT64, got 7.5"),
    ({"inputs": [{**USER, "data": [True]}]}, "expected whole numbers for INT64, got True"),
    ({"inputs": [{**USER, "data": [None]}]}, "expected whole numbers for INT64, got None"),
    ({"inputs": [{**USER, "data": [{}]}]}, "expected whole numbers for INT64, got {}"),
    ({"inputs": [{**USER, "data": [2**63]}]}, "64 bits"),
    ({"inputs": [{**USER, "shape": [-1]}]}, "inputs[0].shape"),
    ({"inputs": [{**USER, "data": [[[[[[[[[[7]]]]]]]]]]}]}, "expected at most 8 levels"),
    ({"inputs": [{"name": "user_id", "data": [7]}]}, "shape"),
    ({"inputs": [{**K, "data": [0]}]}, "inputs.k: expected k in 1..100, got 0"),
    ({"inputs": [{**K, "data": [101]}]}, "inputs.k: expected k in 1..100, got 101"),
    ({"inputs": [USER], "outputs": [{"name": "rank"}]}, "outputs[0].name: expected item_id"),
    ({"inputs": [USER], "outputs": [{"name": "score"}] * 2}, "outputs[1].name"),
    ({"inputs": [USER], "id": 7}, "id"),
    ({"inputs": [USER], "parameters": []}, "parameters"),
    (b"{", "bad request body"),
]


@pytest.mark.parametrize(("body", "words"), BAD)
def test_a_bad_request_is_a_400_with_one_text(
    stubs: Any, contract: Any, body: Any, words: str | None
) -> None:
    status, _, answer = stubs.Wire(stubs.service()).ask(f"{MODEL}/infer", body)
    if words is None:  # a shape without dimensions is a single element
        assert status == 200
        return
    assert status == 400
    keeps(contract, "inference_error_response", answer)
    assert set(answer) == {"error"}
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v2/models/other", "GET", 404),
        (f"{MODEL}/versions/v9/infer", "POST", 404),
        (f"{MODEL}/infer", "GET", 405),
        ("/v2", "POST", 405),
    ],
)
def test_other_models_and_methods_are_the_protocols_error(
    stubs: Any, contract: Any, path: str, method: str, status: int
) -> None:
    got, _, answer = stubs.Wire(stubs.service()).ask(path, b"{}", method=method)
    assert got == status
    keeps(contract, "metadata_model_error_response", answer)


def test_a_withheld_answer_is_the_protocols_error_and_named(stubs: Any, contract: Any) -> None:
    body = {"inputs": [{**USER, "datatype": "BYTES", "data": ["nan"]}]}
    status, headers, answer = stubs.Wire(stubs.service()).ask(f"{MODEL}/infer", body)
    assert (status, headers["mlg-fault"]) == (500, "nan")
    keeps(contract, "inference_error_response", answer)
