"""What happens when the process starts: it answers at once, and loads what it was told to, whatever the platform does."""
import pytest

from checkpoints import BASE, LARGE, files, place, repository
from hub_stub import Fault
from platforms import BAD_PLATFORMS

SPELLINGS = ["modal__state__autostart", "MODAL_STATE_AUTOSTART", "AUTOSTART"]


def test_it_answers_while_the_model_is_on_its_way(app, hub):
    hub.add(repository(LARGE), files())
    hold = hub.fail(Fault("hold", "*.safetensors", parts=("cdn",), methods=("GET",), after=1000, times=None))
    server = app(hub=hub).start()
    assert server.get("/livez").status_code == 200
    assert server.post("/is_running").json() == {"running": True, "mode": "development"}
    assert hold.held.wait(60)
    server.wait_until_loading(LARGE)
    assert server.get("/livez").status_code == server.get("/is_alive").status_code == server.get("/").status_code == 200
    assert server.get("/readyz").status_code == 503 and server.get("/readyz").json() == {"detail": "Service not ready"}
    assert server.get("/", params={"ping": "1"}).json() == {"message": "App is running"}
    early = server.infer()
    assert early.status_code == 503 and int(early.headers["Retry-After"]) > 0 and LARGE in early.json()["message"]
    assert server.post("/get_status").status_code == 200
    hold.released.set()
    server.wait_until_ready()
    assert server.answers() and server.model() == (LARGE, "command")


@pytest.mark.parametrize("name, value", [*((name, "true") for name in SPELLINGS),
                                         *(("AUTOSTART", value) for value in ("True", "1", "yes"))])
def test_the_launch_dialog_says_yes(app, platform, name, value):
    server = app(platform=platform, **{name: value})
    place(server.cache, LARGE)
    server.start().wait_until_served(LARGE, "autostart")
    assert server.answers() and server.post("/is_running").json()["mode"] == "production"


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_launch_dialog_says_no(app, platform, name):
    platform.started_with({"state": {"autostart": True}})
    server = app(platform=platform, **{name: "false"})
    place(server.cache, LARGE)
    server.start().wait_for(lambda: platform.calls("tasks.data.get"), "the record is asked for")
    assert server.stays_empty() and server.infer().status_code == 409


@pytest.mark.parametrize("parameters, variable, is_wanted", [
    ({"state": {"autostart": True}}, None, True), ({"state": {"autostart": True}}, "", True),
    ({"state": {"autostart": "true"}}, None, True), ({"state": {}, "autostart": True}, None, True),
    ({"state": {"autostart": False}}, None, False), ({"state": {}}, None, False), ({}, None, False)])
def test_the_task_decides_where_the_dialog_is_silent(app, platform, parameters, variable, is_wanted):
    platform.started_with(parameters)
    server = app(platform=platform, modal__state__autostart=variable)
    place(server.cache, LARGE)
    server.start().wait_for(lambda: platform.calls("tasks.info"), "the task is asked for")
    if is_wanted:
        server.wait_until_served(LARGE, "autostart")
    else:
        server.wait_for(lambda: platform.calls("tasks.data.get"), "the record is asked for")
        assert server.stays_empty()


def test_a_developers_machine_loads_without_a_word(app):
    server = app()
    place(server.cache, LARGE)
    server.start().wait_until_served(LARGE, "command")
    assert server.post("/is_running").json()["mode"] == "development"


@pytest.mark.parametrize("value", ["false", "0", "no"])
def test_a_developer_can_say_no(app, value):
    server = app(AUTOSTART=value)
    place(server.cache, LARGE)
    assert server.start().stays_empty()


@pytest.mark.parametrize("variables", [{}, {"AUTOSTART": "false"}])
def test_the_command_line_names_the_model(app, variables):
    server = app("--model", BASE.upper(), **variables)
    place(server.cache, LARGE)
    place(server.cache, BASE)
    server.start().wait_until_served(BASE, "command")


@pytest.mark.parametrize("kind", BAD_PLATFORMS)
def test_a_platform_that_is_none_delays_nothing(app, kind):
    bad = BAD_PLATFORMS[kind]()
    try:
        server = app(platform=bad, AUTOSTART="true")
        place(server.cache, LARGE)
        server.start().wait_until_served(LARGE, "autostart")
        assert server.answers()
        # The next load is told to it, too, and does not wait either.
        place(server.cache, BASE)
        assert server.deploy(BASE).status_code == 200 and server.answers()
        assert server.process.poll() is None
    finally:
        bad.close()


@pytest.mark.parametrize("kind", ["dead", "hanging", "failing", "answering nonsense"])
def test_a_platform_that_is_none_decides_nothing(app, kind):
    bad = BAD_PLATFORMS[kind]()
    try:
        server = app(platform=bad)
        place(server.cache, LARGE)
        assert server.start().stays_empty()
        # A user does not wait for it.
        assert server.serve(LARGE).status_code == 202
        server.wait_until_served(LARGE, "page")
    finally:
        bad.close()


def test_without_a_platform_nothing_is_asked(app):
    server = app(production=True, AUTOSTART="true")
    place(server.cache, LARGE)
    server.start().wait_until_served(LARGE, "autostart")
    server.answers()
