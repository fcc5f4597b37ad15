"""Models that are chosen while the server runs: one load at a time, and never without a model because another one failed."""
import shutil
import threading

import pytest
import requests

from app import at_once, message_of, readable
from checkpoints import BASE, BASE_FT, LARGE, NATIVE, files, place, repository, truncate
from hub_stub import Fault

DEPLOYED = {"result": "model was successfully deployed"}
INFO_KEYS = {"checkpoint_name", "model_name", "architecture", "checkpoint_url", "custom_checkpoint_path", "model_source",
             "task_type", "device", "runtime", "model_precision", "hardware", "deploy_params"}


@pytest.fixture
def server(app, hub):
    """Serves base; other models come from the hub, where `hold` keeps their weights back."""
    for name in (LARGE, BASE_FT):
        hub.add(repository(name), files())
    server = app("--model", BASE, hub=hub)
    place(server.cache, BASE)
    return server.start().wait_until_ready()


def hold_weights(hub):
    return hub.fail(Fault("hold", "*.safetensors", parts=("cdn",), methods=("GET",), after=1000))


def held_autostart(app, hub, platform):
    """A server whose autostart waits for the weights of large; base is there."""
    hub.add(repository(LARGE), files())
    hold = hold_weights(hub)
    server = app(hub=hub, platform=platform, AUTOSTART="true")
    place(server.cache, BASE)
    server.start().wait_until_loading(LARGE)
    assert hold.held.wait(60)
    return server, hold


def test_the_same_model_asked_for_twice_is_loaded_once(server, hub):
    hold = hold_weights(hub)
    asked = [*at_once(lambda: server.deploy(LARGE))]
    assert hold.held.wait(60)
    asked += at_once(lambda: server.deploy(LARGE.lower()), lambda: server.deploy(LARGE.upper()))
    server.wait_until_loading(LARGE)
    assert server.model() == (BASE, "command") and server.answers()
    hold.released.set()
    for answer in asked:
        assert answer.result().status_code == 200 and answer.result().json() == DEPLOYED
    size = hub.repositories[repository(LARGE)].files()["model.safetensors"].size
    assert hub.sent("*.safetensors") == size and server.model() == (LARGE, "api") and server.answers()
    ready = [record for record in server.records() if record.get("fields", {}).get("model") == LARGE
             and "ready" in record["message"]]
    assert len(ready) <= 1, ready


def test_a_client_goes_before_autostart(app, hub, platform):
    server, hold = held_autostart(app, hub, platform)
    # It answers although what autostart waits for never came.
    assert server.deploy(BASE).json() == DEPLOYED
    assert server.model() == (BASE, "api")
    hold.released.set()
    server.wait_until_served(BASE, "api")
    server.answers()


def test_two_clients_both_get_what_they_asked_for(server, hub):
    hold = hold_weights(hub)
    first, = at_once(lambda: server.deploy(LARGE))
    assert hold.held.wait(60)
    second, = at_once(lambda: server.deploy(BASE_FT))
    hold.released.set()
    assert first.result().status_code == second.result().status_code == 200
    server.wait_until_served(BASE_FT, "api")


def test_a_client_that_shares_autostarts_load_is_not_broken_off_by_another(app, hub, platform):
    server, hold = held_autostart(app, hub, platform)
    first, = at_once(lambda: server.deploy(LARGE))
    server.wait_for(lambda: server.progress("Deploying model ...") == 2, "the client shares the load")
    second, = at_once(lambda: server.deploy(BASE))
    server.wait_for(lambda: server.progress("Deploying model ...") == 3, "another client waits")
    hold.released.set()
    assert first.result().json() == second.result().json() == DEPLOYED
    server.wait_until_served(BASE, "api")


def test_stopping_ends_what_waits_as_well(server, hub):
    hold = hold_weights(hub)
    first, = at_once(lambda: server.deploy(LARGE))
    assert hold.held.wait(60)
    second, = at_once(lambda: server.deploy(BASE_FT))
    server.wait_for(lambda: server.progress("Deploying model ...") == 3, "another client waits")
    assert server.post("/api/stop").json() == {"stopped": True}
    assert first.result().status_code == second.result().status_code == 409
    hold.released.set()
    assert server.stays_empty()


def last_subtask(server):
    return [record["subtask"] for record in server.records() if record.get("subtask") and "Downloading" not in record["subtask"]][-1]


def test_the_platform_is_shown_what_is_left_when_a_load_fails(app, hub):
    server = app("--model", BASE, hub=hub)
    server.start().wait_until_failed()
    server.wait_for(lambda: last_subtask(server) == "Application is started ...", "nothing is served")
    place(server.cache, BASE)
    assert server.deploy(BASE).json() == DEPLOYED
    server.wait_for(lambda: last_subtask(server) == "Model deployed", "it is served")
    assert server.deploy(LARGE).status_code == 409
    server.wait_for(lambda: last_subtask(server) == "Model deployed", "the old one stays")


def test_a_client_that_goes_away_leaves_the_load_behind(server, hub):
    hold = hold_weights(hub)
    with pytest.raises(requests.ReadTimeout):
        requests.post(server.url + "/deploy_from_api", json={"state": {"model_name": LARGE, "deploy_params": {}}}, timeout=1)
    hold.released.set()
    server.wait_until_served(LARGE, "api")


@pytest.mark.parametrize("name, parameters, words", [
    ("Florence-3", {}, ["Florence-3", "not found in models.json"]),
    ("", {}, ["not found"]),
    (BASE, {"runtime": "TensorRT"}, ["TensorRT", "PyTorch"]),
    (BASE, {"runtime": "ONNXRuntime"}, ["ONNXRuntime", "PyTorch"]),
    (BASE, {"model_source": "Custom models"}, ["Custom models", "Pretrained models"]),
    (BASE, {"model_source": "Custom models", "model_files": {"checkpoint": "/files/best.pt"}}, ["Custom models"]),
    (BASE, {"device": "tpu"}, ["tpu", "cpu"]),
    (BASE, {"device": 5}, ["device"]),
    (None, {}, ["model_name"]),
])
def test_what_cannot_be_is_refused_before_anything_happens(server, name, parameters, words):
    before = server.status()["model"]
    answer = server.deploy(name, **parameters)
    assert answer.status_code == 400, answer.text
    message = message_of(answer)
    assert all(word in message for word in words), message
    status = server.status()
    assert status["model"]["deployed_s"] >= before["deployed_s"] and status["model"]["cause"] == "command"
    assert status["failure"] is None and status["loading"] is None and server.answers()


@pytest.mark.parametrize("runtime", ["PyTorch", "pytorch", "torch", "pt", None])
def test_every_name_of_the_runtime_will_do(server, runtime):
    assert server.deploy(BASE, runtime=runtime).json() == DEPLOYED


def test_names_are_taken_in_any_case_and_told_in_their_own(server):
    for name in (LARGE.lower(), LARGE.upper()):
        assert server.deploy(name).json() == DEPLOYED
        info = server.post("/get_deploy_info").json()
        assert set(info) == INFO_KEYS and info["model_name"] == info["checkpoint_name"] == LARGE
        assert info["checkpoint_url"] == repository(LARGE) and info["runtime"] == "PyTorch" and info["architecture"] == "Florence-2"


def empty(place):
    (place / "model.safetensors").write_bytes(b"")


def without_header(place):
    (place / "model.safetensors").write_bytes(b"\xff" * 5000)


def of_another_model(place):
    shutil.copy(NATIVE / "model.safetensors", place / "model.safetensors")


def without_tokens(place):
    (place / "tokenizer.json").write_text("{}")


def without_sense(place):
    (place / "config.json").write_text('{"model_type": "florence2"')


@pytest.mark.parametrize("damage", [truncate, empty, without_header, of_another_model, without_tokens, without_sense])
def test_a_broken_checkpoint_leaves_the_old_model(server, hub, damage):
    hub.repositories.clear()
    damage(place(server.cache, LARGE))
    answer = server.deploy(LARGE)
    assert answer.status_code == 409, answer.text
    message_of(answer)
    status = server.status()
    assert status["model"]["name"] == BASE and status["failure"]["model_name"] == LARGE and server.answers()
    readable(status["failure"]["message"])
    # On the page as well, and what was wrong can be put right.
    assert server.serve(LARGE).status_code == 202
    server.wait_for(lambda: not server.status()["loading"], "the load has failed")
    assert server.model() == (BASE, "command")
    place(server.cache, LARGE)
    assert server.deploy(LARGE).json() == DEPLOYED and server.status()["failure"] is None and server.answers()


def test_models_change_under_requests(server):
    place(server.cache, LARGE)
    place(server.cache, BASE_FT, NATIVE)
    stop, statuses = threading.Event(), []

    def ask():
        while not stop.is_set():
            statuses.append(server.infer().status_code)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    for name in (LARGE, BASE_FT, BASE):
        assert server.deploy(name).json() == DEPLOYED
    stop.set()
    for thread in asking:
        thread.join()
    assert len(statuses) > 3 and set(statuses) == {200}


def test_stop_and_choose_another_model(server):
    place(server.cache, LARGE)
    assert server.post("/api/stop").json() == {"stopped": True}
    status = server.status()
    assert status["model"] is None and status["loading"] is None and server.get("/readyz").status_code == 503
    refused = server.infer()
    assert refused.status_code == 409 and refused.json()["detail"]["title"] == "Call undeployed model error"
    assert server.post("/is_deployed").json()["deployed"] is False
    # There is nothing to stop, which is fine.
    assert server.post("/api/stop").json() == {"stopped": True}
    accepted = server.serve(LARGE.lower())
    assert (accepted.status_code, accepted.json()) == (202, {"accepted": True})
    server.wait_until_served(LARGE, "page")
    assert server.answers()


def test_a_load_is_broken_off(server, hub):
    hold = hold_weights(hub)
    assert server.serve(LARGE).status_code == 202 and hold.held.wait(60)
    loading = server.status()["loading"]
    assert loading["model_name"] == LARGE and loading["cause"] == "page" and loading["step"] == "downloading"
    assert loading["total_bytes"] >= loading["done_bytes"] >= 0
    assert server.post("/api/cancel").json() == {"cancelled": True}
    # Without waiting for the hub.
    server.wait_for(lambda: not server.status()["loading"], "the load is broken off")
    assert server.post("/api/cancel").json() == {"cancelled": False}
    assert server.model() == (BASE, "command") and server.answers()
    hold.released.set()
    assert server.deploy(LARGE).json() == DEPLOYED


def test_stopping_breaks_a_load_off(server, hub):
    hold = hold_weights(hub)
    assert server.serve(LARGE).status_code == 202 and hold.held.wait(60)
    assert server.post("/api/stop").json() == {"stopped": True}
    hold.released.set()
    assert server.stays_empty()


@pytest.mark.parametrize("order", [{"model": "Florence-3"}, {"model": BASE, "device": "tpu"}, {"model": BASE, "precision": "f8"}, {},
                                   {"model": 5}])
def test_the_page_is_told_what_is_wrong(server, order):
    answer = server.post("/api/serve", order)
    assert 400 <= answer.status_code < 500 and answer.json()["detail"]["message"], answer.text
    assert server.model() == (BASE, "command")


def test_what_can_be_chosen(server):
    models = server.get("/api/models").json()
    assert models["default"] == LARGE
    assert {LARGE, BASE, BASE_FT, "Florence-2-large-ft", "demo"} <= {model["name"] for model in models["models"]}
    devices = server.get("/api/devices").json()["devices"]
    assert devices[0]["id"] == "cpu" and devices[0]["precisions"] == ["f32", "bf16", "int8"]
    assert server.post("/list_pretrained_models").json() == [BASE, LARGE, BASE_FT, "Florence-2-large-ft"]
