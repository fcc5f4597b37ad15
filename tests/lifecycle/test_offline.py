"""Without a network: what is here is served, and what is not is missed in words that a person can do something with."""
import pytest

from app import message_of, readable
from checkpoints import BASE, LARGE, files, place, repository
from hub_stub import Fault


def test_with_weights_nothing_is_missed(app, hub):
    hub.add(repository(BASE), files())
    server = app("--model", BASE, hub=hub, HF_HUB_OFFLINE="1")
    place(server.cache, BASE)
    server.start().wait_until_ready()
    assert server.answers() and not hub.requests
    # Not even for an update.
    assert server.serve(BASE, update=True).status_code == 202
    server.wait_until_served(BASE, "page")
    assert server.answers() and not hub.requests


CUT_OFF = {"forbidden": {"HF_HUB_OFFLINE": "1"}, "refused": {}, "no such host": {"HF_ENDPOINT": "http://hub.invalid"},
           "no address": {"HF_ENDPOINT": "nonsense"}}


@pytest.mark.parametrize("variables", CUT_OFF.values(), ids=CUT_OFF)
def test_without_weights_it_says_so_and_stays(app, variables):
    server = app("--model", LARGE, **variables).start()
    failure = server.wait_until_failed()
    assert failure["model_name"] == LARGE
    message = readable(failure["message"])
    assert LARGE in message and (not variables.get("HF_HUB_OFFLINE") or "HF_HUB_OFFLINE" in message), message
    assert server.get("/livez").status_code == 200 and server.get("/readyz").status_code == 503
    refused = server.infer()
    assert refused.status_code == 409 and refused.json()["detail"]["title"] == "Call undeployed model error"
    # The same for whoever deploys, with an error that says that asking again is of no use.
    deployed = server.deploy(LARGE)
    assert deployed.status_code == 409 and LARGE in message_of(deployed)
    # The demo model needs no network, and weights that are brought are found.
    assert server.deploy("demo").status_code == 200 and server.answers()
    place(server.cache, LARGE)
    assert server.deploy(LARGE).status_code == 200 and server.answers()
    assert server.status()["failure"] is None


def test_a_hub_that_hangs_can_be_given_up(app, hub):
    hub.fail(Fault("hang", parts=("api", "resolve", "cdn"), methods=("GET", "HEAD", "POST"), times=None))
    server = app("--model", LARGE, hub=hub)
    place(server.cache, BASE)
    server.start().wait_until_loading(LARGE)
    server.wait_for(lambda: hub.requests, "the hub is asked")
    assert server.post("/api/cancel").json() == {"cancelled": True}
    server.wait_for(lambda: not server.status()["loading"], "the load is broken off")
    assert server.deploy(BASE).status_code == 200 and server.answers()


def test_a_repository_that_is_gone(app, hub):
    server = app("--model", LARGE, hub=hub).start()
    message = readable(server.wait_until_failed()["message"])
    assert LARGE in message and "not found" in message.lower(), message


@pytest.mark.parametrize("missing", ["tokenizer.json", "config.json", "preprocessor_config.json", "*"])
def test_a_repository_that_is_not_whole(app, hub, missing):
    kept = {name: path for name, path in files().items()
            if name != missing and not (missing == "*" and name.endswith((".safetensors", ".bin")))}
    hub.add(repository(LARGE), kept)
    server = app("--model", LARGE, hub=hub).start()
    message = readable(server.wait_until_failed()["message"])
    assert ("model.safetensors" if missing == "*" else missing) in message, message
