"""The description of the routes: valid, and true of what the servers really answer."""
import subprocess
import time

import jsonschema
import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

import replay
from conftest import TARGET
from stub.media import encode, make_image
from test_recordings import RECORDINGS

# Examples that would change the server for those that come after; they have a server of their own below.
CHANGING = ["/api/serve", "/api/cancel", "/api/stop", "/sly/shutdown"]
# What a route needs that no example can name: the address of a picture of the stub, a run that is known.
NO_RUN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def document(demo_server):
    return requests.get(demo_server.url + "/openapi.json", timeout=5).json()


class Checker:
    """Compares bodies with the document. What it does not name is a difference as well."""

    def __init__(self, document):
        self.document = document

    def resolve(self, schema):
        while "$ref" in schema:
            node = self.document
            for key in schema["$ref"][2:].split("/"):
                node = node[key.replace("~1", "/").replace("~0", "~")]
            schema = node
        return schema

    def schema(self, method, path, status):
        responses = self.document["paths"][path][method]["responses"]
        response = self.resolve(responses.get(str(status), responses["default"]))
        return response.get("content", {}).get("application/json", {}).get("schema")

    def differ(self, method, path, status, body):
        schema = self.schema(method, path, status)
        if schema is None:
            return None if body is None else f"{path}: {status} has a body that is not described"
        return self.invalid(schema, body, path) or self.unnamed(schema, body, path)

    def invalid(self, schema, body, at):
        whole = {**schema, "components": self.document["components"]}
        error = jsonschema.Draft202012Validator(whole).iter_errors(body)
        error = next(iter(sorted(error, key=lambda error: len(error.path))), None)
        return error and f"{at}: {error.message[:300]} at {list(error.path)}"

    def properties(self, schema):
        schema = self.resolve(schema)
        found = dict(schema.get("properties", {}))
        for part in schema.get("allOf", []):
            found.update(self.properties(part))
        return found

    def unnamed(self, schema, body, at):
        """The first key that the document does not name."""
        schema = self.resolve(schema)
        choices = schema.get("oneOf") or schema.get("anyOf")
        if choices:
            fitting = [choice for choice in choices if self.invalid(choice, body, at) is None]
            problems = [self.unnamed(choice, body, at) for choice in fitting]
            return None if None in problems or not problems else problems[0]
        if isinstance(body, list) and isinstance(schema.get("items"), dict):
            return next(filter(None, (self.unnamed(schema["items"], item, at) for item in body)), None)
        named = self.properties(schema)
        if not isinstance(body, dict) or not named:
            return None
        further = set(body) - set(named)
        if further:
            return f"{at}: {sorted(further)} are not described"
        return next(filter(None, (self.unnamed(named[key], value, f"{at}.{key}") for key, value in body.items())), None)


def test_the_document_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()
    for path, item in document["paths"].items():
        for operation in item.values():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in media:
                assert Checker(document).invalid(media["schema"], media["example"], path) is None
                assert Checker(document).unnamed(media["schema"], media["example"], path) is None


def test_the_command_prints_it(document):
    printed = subprocess.run([TARGET / "serve-florence-2", "openapi"], capture_output=True, check=True, text=True, timeout=30)
    assert requests.models.complexjson.loads(printed.stdout) == document


def test_the_checker_finds_differences(document):
    checker = Checker(document)
    fine = {"running": True, "mode": "production"}
    assert checker.differ("get", "/livez", 200, fine) is None
    assert "not described" in checker.differ("get", "/livez", 200, {**fine, "more": 1})
    assert checker.differ("get", "/livez", 200, {"running": "yes", "mode": "production"})
    assert checker.differ("get", "/livez", 200, {"running": True})


def example_of(operation, platform, run):
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        return None
    body = content.get("application/json", {}).get("example", {})
    state = dict(body.get("state", {}))
    if "image_url" in state:
        state["image_url"] = f"{platform.url}/static/yard.jpg"
    if "inference_request_uuid" in state:
        state["inference_request_uuid"] = run
    return {**body, "state": state} if state else body


def call(server, platform, document, method, path):
    """Sends the example of a route. Returns the answer and the difference, if there is one."""
    operation = document["paths"][path][method]
    url = server.url + path.replace("{name}", "main.js")
    if method == "get":
        answer = requests.get(url, timeout=60)
    elif (body := example_of(operation, platform, start_run(server, path))) is None:
        media = (platform.media("clip.avi"), "clip.avi") if "video" in path else (encode(make_image(64, 48, 1), "PNG"), "a.png")
        answer = requests.post(url, files={"files": media[::-1], "settings": '{"settings": {"text": "a red circle"}}'}, timeout=60)
    else:
        answer = requests.post(url, json=body, timeout=60)
    if "application/json" not in answer.headers.get("content-type", ""):
        described = document["paths"][path][method]["responses"]["200"].get("content", {})
        return answer, None if described and "application/json" not in described else f"{path}: not JSON"
    checker = Checker(document)
    if str(answer.status_code) not in operation["responses"] and answer.status_code < 400:
        return answer, f"{path}: {answer.status_code} is not described"
    body = None if not answer.content or answer.json() is None else answer.json()
    return answer, checker.differ(method, path, answer.status_code, body)


def start_run(server, path):
    """A run for the routes of the queue to ask about."""
    if "_inference" not in path and "progress" not in path:
        return NO_RUN
    state = {"batch_ids": [301, 302], "settings": {"text": "a red circle"}}
    return server.post("/inference_batch_ids_async", state).json()["inference_request_uuid"]


def test_every_example_works_and_its_answer_is_described(document, fake_server, platform):
    platform.reset()
    problems = []
    for path, item in document["paths"].items():
        for method in item:
            if path in CHANGING or path == "/deploy_from_api":
                continue
            answer, difference = call(fake_server, platform, document, method, path)
            if answer.status_code >= 400:
                problems.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            problems.append(difference)
    platform.settle()
    assert not list(filter(None, problems))


def test_examples_that_change_the_server(document, platform, tmp_path):
    from conftest import Server
    server = Server([TARGET / "serve-florence-2", "serve", "--model", "demo", "--device", "cpu"], platform, 781).wait_until("/readyz")
    try:
        # Nothing is fetched from anywhere: there is no such model here, and the hub may not be asked.
        for path in CHANGING:
            answer, difference = call(server, platform, document, "post", path)
            assert difference is None and answer.status_code < 300, answer.text
        assert server.process.wait(40) == 0
    finally:
        server.end()


class Watcher(replay.Player):
    """Plays a recording and compares each of our answers with the document."""

    def __init__(self, document, *arguments):
        super().__init__(*arguments)
        self.checker, self.problems, self.checked = Checker(document), [], 0

    def send(self, request):
        answer = super().send(request)
        method, path = request["method"].lower(), request["path"].split("?")[0]
        if method in self.checker.document["paths"].get(path, {}) and "json" in answer.headers.get("content-type", ""):
            self.checked += 1
            self.problems.append(self.checker.differ(method, path, answer.status_code, answer.json()))
        return answer


@pytest.mark.parametrize("kind", ["deployed", "undeployed"])
def test_answers_to_the_recorded_requests_are_described(kind, request, document, platform):
    """Errors, runs, videos, uploads: what the examples do not reach."""
    server = request.getfixturevalue("fake_server" if kind == "deployed" else "undeployed_server")
    watcher = Watcher(document, server.url, platform.url, platform.token, platform.media)
    for recording in RECORDINGS.values():
        if recording["server"] == kind:
            platform.reset()
            watcher.play(recording)
            time.sleep(0.05)
    assert watcher.checked > (200 if kind == "deployed" else 5)
    assert not list(filter(None, watcher.problems))
