"""`Session` and `SessionJSON`: information, settings, pictures by id and by path, and runs."""
import time

import pytest
import requests
from supervisely.nn.inference.session import Session

from clients import OD, SCENES, both, looks_right, server, session  # noqa: F401
from stub import shapes


@both
def test_information(platform, server, kind):
    client = session(platform, server)
    info = client.get_session_info()
    assert (info["app_name"], info["task type"]) == ("Serve Florence-2", "prompt-based object detection")
    assert info["async_image_inference_support"] and info["tracking_on_videos_support"]
    assert {tag["name"] for tag in client.get_model_meta()["tags"]} >= {"confidence"}
    deployed = session(platform, server, Session).get_deploy_info()
    assert deployed.model_name == ("demo" if kind == "demo" else "Florence-2-large")
    assert client.get_human_readable_info()


@both
def test_settings_are_known_to_the_client(platform, server, kind):
    client = session(platform, server)
    defaults = client.get_default_inference_settings()
    assert defaults["text"] == "" and defaults["task_prompt"].startswith("<CAPTION>+")
    further = {"mapping": None, "scores": False, "conf": 0, "nms_iou": None, "max_box_area": 1, "min_box_px": 0,
               "max_new_tokens": 1024}
    assert {name: defaults[name] for name in further} == further
    client.update_inference_settings(task_prompt="<OD>", scores=True, conf=0.1)
    client.set_inference_settings({"mapping": {"ball": "a red circle"}})
    with pytest.raises(ValueError):
        client.set_inference_settings({"no_such_setting": 1})


@both
def test_pictures_by_id(platform, server, kind):
    platform.reset()
    client = session(platform, server, settings=OD)
    one = client.inference_image_id(SCENES[0])
    assert looks_right(kind, one["annotation"], SCENES[0])
    assert (one["image_id"], one["dataset_id"], one["project_id"]) == (SCENES[0], shapes.DATASET, shapes.PROJECT)
    several = client.inference_image_ids(SCENES[::-1])
    assert [result["image_id"] for result in several] == SCENES[::-1]
    assert all(looks_right(kind, result["annotation"], result["image_id"]) for result in several)
    annotation = session(platform, server, Session, OD).inference_image_id(SCENES[1])
    assert len(annotation.labels) > 0 and annotation.img_size == (shapes.TRUTH[1]["height"], shapes.TRUTH[1]["width"])


@both
def test_pictures_by_path(platform, server, kind):
    client = session(platform, server, settings=OD)
    paths = [str(shapes.SCENES / scene["file"]) for scene in shapes.TRUTH]
    assert looks_right(kind, client.inference_image_path(paths[0])["annotation"], SCENES[0])
    results = client.inference_image_paths(paths)
    assert all(looks_right(kind, result["annotation"], image) for result, image in zip(results, SCENES))
    assert len(session(platform, server, Session, OD).inference_image_paths(paths[:2])) == 2


@both
def test_a_run_over_ids(platform, server, kind):
    platform.reset()
    iterator = session(platform, server, settings=OD).inference_image_ids_async(SCENES * 4, batch_size=4)
    # A run that has ended by the time of the first question shows no progress any more, as in the original.
    assert len(iterator) in (1, 4 * len(SCENES))
    results = list(iterator)
    assert [result["image_id"] for result in results] == SCENES * 4
    # This client looks for the picture's name.
    results = list(session(platform, server, Session, OD).inference_image_ids_async(SCENES))
    assert [result.image_name for result in results] == [scene["file"] for scene in shapes.TRUTH]


@both
def test_a_run_that_is_stopped(platform, server, kind):
    platform.reset()
    project = platform.add_project(400)
    # So that it cannot be over before it is stopped.
    platform.stub.delays["images.bulk.download"] = 0.2
    client = session(platform, server, settings={"task_prompt": "<OD>"})
    iterator = client.inference_project_id_async(project)
    uuid = client._async_inference_uuid
    first = next(iterator)
    assert first["image_name"] == "0000.jpg"
    start = time.monotonic()
    assert client.stop_async_inference()["success"]
    status = server.wait(uuid, 10)
    assert (status["stage"], status["stopped"], status["exception"]) == ("Cancelled", True, None)
    assert time.monotonic() - start < 5
    # What was done until then is there, in order.
    rest = server.post("/pop_inference_results", {"inference_request_uuid": uuid}).json()["pending_results"]
    names = [result["name"] for result in rest]
    assert names == sorted(names) and len(names) < 400


def test_a_run_that_nobody_reads_holds_nobody_up(platform, fake_server):
    """It pauses at 500 results, and everybody else goes on."""
    platform.reset()
    project = platform.add_project(700)
    uuids = [fake_server.post("/inference_project_id_async", {"projectId": project, "settings": OD}).json()
             ["inference_request_uuid"] for _ in range(5)]
    end = time.monotonic() + 60
    paused = 0
    while paused < len(uuids) and time.monotonic() < end:
        time.sleep(0.1)
        paused = sum(fake_server.post("/get_inference_status", {"inference_request_uuid": uuid}).json()["paused"]
                     for uuid in uuids)
    assert paused == len(uuids)
    start = time.monotonic()
    assert fake_server.post("/inference_image_id", {"image_id": SCENES[0], "settings": OD}).status_code == 200
    assert len(fake_server.post("/inference_batch_ids", {"batch_ids": SCENES, "settings": OD}).json()) == len(SCENES)
    assert time.monotonic() - start < 10
    # Whoever comes back finds everything.
    names = []
    while True:
        status = fake_server.post("/pop_inference_results", {"inference_request_uuid": uuids[0]}).json()
        names += [result["image_name"] for result in status["pending_results"]]
        if status["finished"]:
            break
    assert names == platform.names(project)
    for uuid in uuids[1:]:
        fake_server.post("/clear_inference_request", {"inference_request_uuid": uuid})
        assert fake_server.wait(uuid, 10)["stage"] == "Cancelled"


@both
def test_a_run_over_a_project(platform, server, kind):
    platform.reset()
    results = list(session(platform, server, settings=OD).inference_project_id_async(shapes.PROJECT))
    assert [result["image_id"] for result in results] == SCENES
    assert all(looks_right(kind, result["annotation"], result["image_id"]) for result in results)
    only = list(session(platform, server, settings=OD).inference_project_id_async(shapes.PROJECT, dataset_ids=[shapes.NESTED]))
    assert [result["image_id"] for result in only] == SCENES[-1:]
    annotations = session(platform, server, Session, OD).inference_project_id(shapes.PROJECT)
    assert len(annotations) == len(SCENES)


@both
def test_a_speed_test(platform, server, kind):
    platform.reset()
    client = session(platform, server, settings=OD)
    results = list(client.run_speedtest(shapes.PROJECT, batch_size=2, num_iterations=3, num_warmup=1))
    assert len(results) == 3 and all(result["total"] > 0 for result in results)


@both
def test_mistakes_are_told_at_once(platform, server, kind):
    """A 5xx would be repeated for 20 seconds by these clients."""
    platform.reset()
    client = session(platform, server)
    start = time.monotonic()
    for call, words in [
        (lambda: client.inference_image_id(99999), "99999"),
        (lambda: client.inference_image_id(305), "broken.png"),
        (lambda: client.inference_image_url("http://127.0.0.1:1/x.png"), "not open to this server"),
    ]:
        with pytest.raises(requests.HTTPError) as error:
            call()
        assert words in str(error.value) + error.value.response.text
    client.set_inference_settings({"task_prompt": "<NO_SUCH>"})
    with pytest.raises(requests.HTTPError):
        client.inference_image_id(SCENES[0])
    assert time.monotonic() - start < 5


@both
def test_one_broken_picture_loses_no_other(platform, server, kind):
    platform.reset()
    results = list(session(platform, server, settings=OD).inference_image_ids_async([SCENES[0], 305, SCENES[1]]))
    assert [result.get("error") is None for result in results] == [True, False, True]
    assert "broken.png" in results[1]["error"] and results[1]["annotation"]["objects"] == []
    with pytest.raises(Exception, match="broken.png"):
        list(session(platform, server, settings=OD).inference_image_ids_async([305]))
