"""What the platform's own page shell asks, and errors, which are to be read by people."""
import json

import pytest
import requests

from app import message_of, readable
from checkpoints import BASE, LARGE, files, place, repository
from hub_stub import Fault

MODEL_ROUTES = ["inference_image_id", "inference_batch_ids", "inference_image_id_async", "inference_project_id_async",
                "visual_question_answering", "get_session_info", "get_deploy_info", "get_model_meta",
                "get_output_classes_and_tags", "inference_video_id", "inference_video_id_async"]


@pytest.fixture
def empty(app, platform):
    return app(platform=platform, AUTOSTART="false").start()


def test_the_page_shells_questions(empty, platform):
    told = empty.post("/sly/session-info")
    assert told.status_code == 200
    assert told.json() == {"TASK_ID": "777", "SERVER_ADDRESS": "/", "API_TOKEN": ""}
    assert platform.token not in told.text
    for path in ("/sly/state", "/sly/data"):
        assert empty.post(path).json() == {} and empty.post(path).status_code == 200


def test_no_answer_tells_the_token(app, platform):
    server = app(platform=platform, AUTOSTART="true", HF_TOKEN="hf_verysecret")
    place(server.cache, LARGE)
    server.start().wait_until_ready()
    answers = [server.get(path) for path in ("/", "/api/status", "/api/models", "/api/devices", "/api/log?after=0", "/metrics",
                                             "/readyz", "/openapi.json", "/docs")]
    answers += [server.post("/" + path) for path in (*MODEL_ROUTES, "get_status", "get_deploy_settings", "list_pretrained_models")]
    assert not any(secret in answer.text for answer in answers for secret in (platform.token, "verysecret"))


@pytest.mark.parametrize("route", MODEL_ROUTES)
def test_without_a_model_every_route_says_what_to_do(empty, route):
    state = {"image_id": 301, "batch_ids": [301], "projectId": 100, "videoId": 500, "text_prompt": "<OD>", "framesCount": 1}
    answer = empty.post("/" + route, {"state": state})
    assert answer.status_code == 409, answer.text
    assert "Serve" in message_of(answer) and answer.json()["detail"]["title"] == "Call undeployed model error"


def test_while_it_loads_callers_are_told_when_to_come_back(app, hub):
    hub.add(repository(BASE), files())
    hold = hub.fail(Fault("hold", "*.safetensors", parts=("cdn",), methods=("GET",), after=10))
    server = app("--model", BASE, hub=hub).start()
    assert hold.held.wait(60)
    for route in ("inference_image_id", "get_session_info", "get_deploy_info"):
        answer = server.post("/" + route, {"state": {"image_id": 1}})
        assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0, answer.text
        assert BASE in message_of(answer)
    status = server.post("/get_status").json()
    assert status["is_deployed"] is False and set(status["progress"]) == {"message", "current", "total"}
    hold.released.set()
    server.wait_until_ready()
    assert server.post("/get_status").json()["is_deployed"] is True


def test_what_is_no_request(empty):
    unknown = empty.post("/no_such_route")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not Found"})
    wrong = requests.get(empty.url + "/deploy_from_api", timeout=30)
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})
    for body in ("{", "[1]", '"x"', "\xff"):
        answer = requests.post(empty.url + "/deploy_from_api", data=body.encode("latin-1"),
                               headers={"Content-Type": "application/json"}, timeout=30)
        assert answer.status_code == 400, answer.text
        message_of(answer)


@pytest.mark.parametrize("state", [None, [], 5, "x", {"model_name": 5, "deploy_params": {}}, {"model_name": BASE, "deploy_params": []},
                                   {"model_name": BASE, "deploy_params": "x"}, {}], ids=json.dumps)
def test_a_deployment_that_is_none(empty, state):
    answer = empty.post("/deploy_from_api", {"state": state})
    assert answer.status_code == 400, answer.text
    message_of(answer)


def test_errors_are_also_on_the_page_and_in_the_log(app):
    server = app("--model", BASE).start()
    message = readable(server.wait_until_failed()["message"])
    lines = server.get("/api/log").json()["lines"]
    assert any(line["level"] in ("warn", "error") and (BASE in line["message"] or message in line["message"]) for line in lines)
    last = server.get("/api/log").json()["last"]
    assert server.get(f"/api/log?after={last}").json()["lines"] == [] or server.get(f"/api/log?after={last}").json()["last"] > last
