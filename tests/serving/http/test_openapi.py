"""The description of the API, and requests that a fuzzer makes from it: no fault, no break of a schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from counts import count
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving.http.fake import FakeService
from serving.http.live import LiveServer, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@pytest.fixture(scope="module", params=[["en-de"], []], ids=["en-de", "any language"])
def quick(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server that knows its languages, and one that takes any code."""
    with running(FakeService(), languages=request.param, open_admin=True) as server:
        yield server


def test_every_route_is_described(server: LiveServer) -> None:
    schema = server.client.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1") and schema["info"]["title"] == "Antiphon"
    operations = [(method, path, each) for path, item in schema["paths"].items() for method, each in item.items()]
    assert len(operations) >= 20
    for method, path, operation in operations:
        assert operation["summary"] and operation["tags"], path
        responses = operation["responses"]
        assert {"400", "413", "429", "500", "503", "504"} <= set(responses), path
        assert "headers" in responses["429"] and "headers" in responses["503"], path
        for status, response in responses.items():
            content = response.get("content", {})
            assert content, (path, status)
            if int(status) >= 400:
                assert content["application/json"]["schema"]["$ref"].startswith("#/components/schemas/Error_"), path
        if method == "post" and "{" not in path:
            for kind, body in operation["requestBody"]["content"].items():
                assert body["schema"]["properties"], (path, kind)
                assert all(each.get("description") for each in body["schema"]["properties"].values()), (path, kind)
                assert "example" in body or kind == "multipart/form-data", (path, kind)


def test_examples_are_answered(server: LiveServer) -> None:
    schema = server.client.get("/openapi.json").json()
    sent = 0
    for path, item in schema["paths"].items():
        for kind, body in item.get("post", {}).get("requestBody", {}).get("content", {}).items():
            if kind == "application/json":
                response = server.client.post(path, json=body["example"])
                assert response.status_code == 200, (path, response.text)
                sent += 1
    assert sent >= 7


@pytest.mark.timeout(14_400)  # the full count
def test_requests_made_from_the_description(quick: LiveServer) -> None:
    """For each operation and server valid and invalid requests, in equal parts."""
    statuses: set[int] = set()
    schema = schemathesis.openapi.from_url(f"{quick.url}/openapi.json")
    for operation in schema.get_all_operations():
        each = operation.ok()
        modes = [schemathesis.GenerationMode.POSITIVE]
        if each.body or each.query:  # a name in a path is any text, which cannot be wrong
            modes.append(schemathesis.GenerationMode.NEGATIVE)
        for mode in modes:
            strategy = each.as_strategy(generation_mode=mode)

            @settings(
                max_examples=max(1, count("api_fuzz") // 4),
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(strategy)
            def send(case: Any) -> None:
                response = case.call(base_url=quick.url)
                case.validate_response(response, checks=CHECKS)
                statuses.add(response.status_code)

            send()
    assert {200, 422} <= statuses and max(statuses) < 500
    assert quick.post("/v1/generate", inputs=["a"]).json()["answers"][0]["text"] == "A"
