"""What is recorded of a deployment, and what a process that is started anew makes of it."""
import pytest

from checkpoints import BASE, BASE_FT, LARGE, place, repository, truncate
from platforms import record_of

KEYS = {"model_files", "model_source", "model_info", "device", "runtime"}


def served(app, platform, *names, **variables):
    server = app(platform=platform, **variables)
    for name in names:
        place(server.cache, name)
    return server.start()


def test_each_load_is_recorded_and_only_changes_are(app, platform):
    server = served(app, platform, LARGE, BASE, AUTOSTART="true")
    server.wait_until_served(LARGE)
    server.wait_for(lambda: platform.calls("tasks.data.set"), "the deployment is recorded")
    call, = platform.calls("tasks.data.set")
    assert call["body"]["taskId"] == 777 and call["headers"]["x-task-id"] == "777"
    field, = call["body"]["fields"]
    assert field["field"] == "autoRestartInfo" and set(field["payload"]) == {"deployParams"}
    parameters = field["payload"]["deployParams"]
    assert set(parameters) == KEYS
    assert (parameters["model_source"], parameters["runtime"], parameters["device"]) == ("Pretrained models", "PyTorch", "cpu")
    assert parameters["model_info"]["meta"]["model_name"] == LARGE and LARGE in parameters["model_files"]["checkpoint"]

    assert server.deploy(LARGE).status_code == 200
    assert server.deploy(BASE).status_code == 200
    server.wait_for(lambda: platform.recorded()["model_info"]["meta"]["model_name"] == BASE, "the change is recorded")
    assert len(platform.calls("tasks.data.set")) == 2
    # What clients are told about the deployment is the same.
    assert server.post("/get_deploy_info").json()["deploy_params"] == platform.recorded()


def test_a_failed_load_is_not_recorded(app, platform):
    server = served(app, platform, LARGE, AUTOSTART="true")
    server.wait_until_served(LARGE)
    server.wait_for(lambda: platform.recorded(), "the deployment is recorded")
    assert server.deploy(BASE).status_code != 200
    assert server.deploy(LARGE).status_code == 200
    assert platform.recorded()["model_info"]["meta"]["model_name"] == LARGE


@pytest.mark.parametrize("changes", [
    {}, {"model_files": {"checkpoint": f"checkpoints/{BASE}"}}, {"model_info": {}}, {"runtime": None, "device": None}])
def test_a_record_goes_before_autostart(app, platform, changes):
    platform.record(record_of(BASE, **changes))
    server = served(app, platform, LARGE, BASE, AUTOSTART="true")
    server.wait_until_served(BASE, "restart")
    assert server.answers()


def test_a_record_needs_no_autostart(app, platform):
    platform.record(record_of(BASE))
    server = served(app, platform, LARGE, BASE, AUTOSTART="false")
    server.wait_until_served(BASE, "restart")


def test_a_killed_session_has_its_model_again(app, platform):
    server = served(app, platform, LARGE, BASE, BASE_FT, AUTOSTART="true")
    assert server.deploy(BASE_FT.lower()).status_code == 200
    server.wait_for(lambda: (platform.recorded() or {}).get("model_info", {}).get("Model") == BASE_FT, "it is recorded")
    server.kill()
    server.start().wait_until_served(BASE_FT, "restart")
    assert server.answers()


@pytest.mark.parametrize("kind", ["hold_answers", "hold_requests"])
def test_a_late_record_still_counts(app, platform, kind):
    """Whether the platform is slow to hear or slow to speak; until it has told the record, it is told no other."""
    platform.record(record_of(BASE))
    getattr(platform, kind)("tasks.data.get")
    server = served(app, platform, LARGE, BASE, AUTOSTART="true")
    server.wait_until_served(LARGE, "autostart")
    platform.release()
    server.wait_until_served(BASE, "restart")


def test_a_choice_goes_before_a_late_record(app, platform):
    platform.record(record_of(BASE))
    platform.hold_answers("tasks.data.get")
    server = served(app, platform, LARGE, BASE, BASE_FT, AUTOSTART="false")
    assert server.deploy(BASE_FT).status_code == 200
    platform.release()
    server.wait_for(lambda: platform.calls("tasks.data.get"), "the platform has answered")
    server.wait_for(lambda: platform.calls("tasks.data.set"), "the choice is recorded")
    assert server.model() == (BASE_FT, "api")


@pytest.mark.parametrize("record", [
    record_of("Florence-3-huge"), record_of(BASE, runtime="TensorRT"), record_of(BASE, model_source="Custom models"),
    record_of(BASE, device="tpu"), {"model_files": None}, {}, [], "rubbish", 7,
    record_of(BASE, model_files={"checkpoint": "/etc"}, model_info={}),
], ids=str)
def test_a_record_that_cannot_be_followed_leaves_it_to_autostart(app, platform, record):
    platform.record(record)
    server = served(app, platform, LARGE, BASE, AUTOSTART="true")
    server.wait_until_served(LARGE, "autostart")


@pytest.mark.parametrize("damage", [None, truncate], ids=["absent", "broken"])
def test_a_recorded_model_that_cannot_be_loaded_leaves_it_to_autostart(app, platform, damage):
    platform.record(record_of(BASE))
    server = app(platform=platform, AUTOSTART="true")
    place(server.cache, LARGE)
    if damage:
        damage(place(server.cache, BASE))
    server.start().wait_until_served(LARGE, "autostart")
    assert server.answers()


def test_a_recorded_device_that_is_gone_is_replaced(app, platform):
    platform.record(record_of(BASE, device="cuda:7"))
    server = served(app, platform, LARGE, BASE, AUTOSTART="false")
    server.wait_until_served(BASE, "restart")
    assert server.status()["model"]["device"] == "cpu"


def test_a_platform_that_comes_back_is_told_at_the_next_load(app, platform):
    platform.stub.faults.append({"method": "tasks.data.set", "times": 10**6, "skip": 0, "status": 400})
    server = served(app, platform, LARGE, AUTOSTART="true")
    server.wait_until_served(LARGE)
    server.wait_for(lambda: platform.calls("tasks.data.set"), "the platform has refused")
    platform.stub.faults.clear()
    assert platform.recorded() is None
    server.wait_for(lambda: server.deploy(LARGE).status_code == 200 and platform.recorded(), "it is recorded after all")


def test_the_hub_is_not_asked_for_what_is_here(app, platform, hub):
    hub.add(repository(BASE), place(hub_folder(app), BASE))
    platform.record(record_of(BASE))
    server = app(platform=platform, hub=hub, AUTOSTART="true")
    place(server.cache, BASE)
    place(server.cache, LARGE)
    server.start().wait_until_served(BASE, "restart")
    assert not hub.requests


def hub_folder(app):
    """A folder beside those of the server."""
    return app().folder / "published"
