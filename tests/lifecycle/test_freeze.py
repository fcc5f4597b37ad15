"""A model that nobody needs leaves its device, and comes back with the next request."""
import pytest

from app import at_once
from checkpoints import BASE, LARGE, place

FROZEN, ALREADY = {"message": "Model is frozen."}, {"message": "Model is already frozen."}


@pytest.fixture
def server(app):
    server = app("--model", BASE, "--idle-freeze", "2")
    for name in (BASE, LARGE):
        place(server.cache, name)
    return server.start().wait_until_ready()


def state(server):
    model = server.status()["model"]
    return model and model["state"]


def wait_until_frozen(server):
    server.wait_for(lambda: state(server) == "frozen", "the model is frozen")


def test_an_unused_model_freezes_by_itself_and_wakes(server):
    assert server.status()["idle_freeze_s"] == 2 and server.answers()
    for _ in range(2):
        wait_until_frozen(server)
        # It is still deployed: a request is all it takes.
        assert server.is_ready() and server.post("/is_deployed").json()["deployed"] is True
        assert server.post("/get_deploy_info").json()["model_name"] == BASE
        assert server.status()["model"]["cause"] == "command"
        assert server.answers() and state(server) == "ready"


def test_many_requests_wake_it_once(server):
    wait_until_frozen(server)
    answers = [answer.result().status_code for answer in at_once(*[server.infer] * 6)]
    assert answers == [200] * 6 and state(server) == "ready"


def test_a_model_that_works_is_not_idle(server):
    busy = server.keep_busy()
    while not busy.done():
        assert state(server) == "ready"
    assert busy.result().status_code == 200
    wait_until_frozen(server)


def test_looking_is_no_use(server):
    """A page that is open does not keep the model on its device."""
    server.wait_for(lambda: server.status() and server.get("/metrics") and server.is_ready() and state(server) == "frozen",
                    "the model is frozen")


def test_freezing_by_hand(server):
    assert server.post("/freeze_model").json() == FROZEN
    assert state(server) == "frozen" and server.post("/freeze_model").json() == ALREADY
    assert server.answers() and server.post("/freeze_model").json() == FROZEN
    # A deployment thaws, whichever model it is of.
    assert server.deploy(LARGE).status_code == 200 and state(server) == "ready" and server.answers()


def test_there_may_be_nothing_to_freeze(server):
    assert server.post("/api/stop").status_code == 200
    # The original says it in these words, and with a status that means something else.
    assert server.post("/freeze_model").json()["message"].startswith("Failed to freeze model")
    assert server.stays_empty()


def test_weights_that_went_while_it_was_frozen(server):
    wait_until_frozen(server)
    for file in (server.cache / BASE).iterdir():
        file.unlink()
    answer = server.infer()
    assert answer.status_code == 503 and answer.json()["detail"]["message"], answer.text
    place(server.cache, BASE)
    server.wait_for(lambda: server.infer().status_code == 200, "it wakes when they are back")


def test_it_is_stopped_and_killed_while_frozen(server):
    wait_until_frozen(server)
    assert server.post("/api/stop").json() == {"stopped": True} and server.stays_empty()
    assert server.deploy(BASE).status_code == 200
    wait_until_frozen(server)
    server.kill()
    server.start().wait_until_ready()
    assert server.answers()


def test_never(app):
    server = app("--model", BASE, "--idle-freeze", "0")
    place(server.cache, BASE)
    server.start().wait_until_ready()
    assert server.status()["idle_freeze_s"] is None
