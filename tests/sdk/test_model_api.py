"""`ModelAPI`, `PredictionSession` and `api.task.send_request`: how other apps and scripts use a served model."""
import base64

import numpy
import pytest
import requests
from supervisely.nn.model.model_api import ModelAPI

from clients import OD, SCENES, api, both, looks_right, server, share_found  # noqa: F401
from stub import shapes

TASKS = {"fake": 777, "demo": 779}


@pytest.fixture
def model(platform, server, kind):
    return ModelAPI(api(platform), task_id=TASKS[kind])


@both
def test_information(platform, server, kind, model):
    platform.reset()
    by_url = ModelAPI(url=server.url)
    for client in (model, by_url):
        assert client.is_deployed()
        assert client.get_info()["architecture"] == "Florence-2"
        assert client.get_tracking_settings()["track_buffer"] == 30
        assert "task_prompt" in str(client.get_settings())
        assert "object" in client.get_classes()
        assert client.status()["is_deployed"]
        assert "Florence-2-large-ft" in client.list_pretrained_models()
        assert client.list_pretrained_model_infos()[0]["meta"]["model_name"] == "Florence-2-base"


@both
def test_predictions_of_everything(platform, server, kind, model):
    platform.reset()
    by_id = model.predict(image_id=SCENES, batch_size=2, **OD)
    assert [prediction.image_id for prediction in by_id] == SCENES
    assert all(looks_right(kind, prediction.annotation_json, prediction.image_id) for prediction in by_id)
    assert by_id[0].boxes.shape[1] == 4 and isinstance(by_id[0].boxes, numpy.ndarray)
    path = str(shapes.SCENES / shapes.TRUTH[0]["file"])
    by_path = model.predict(path, **OD)
    assert len(by_path) == 1 and looks_right(kind, by_path[0].annotation_json, SCENES[0])
    assert len(model.predict(str(shapes.SCENES), **OD)) == len(list(shapes.SCENES.glob("*.png")))
    assert len(model.predict(project_id=shapes.PROJECT, **OD)) == len(SCENES)
    assert len(model.predict(dataset_id=shapes.NESTED, **OD)) == 1


@both
def test_predictions_of_videos(platform, server, kind, model, tmp_path):
    platform.reset()
    by_id = model.predict(video_id=shapes.VIDEO, num_frames=4, **OD)
    assert [prediction.frame_index for prediction in by_id] == [0, 1, 2, 3]
    tracked = model.predict(video_id=shapes.VIDEO, num_frames=4, tracking=True, **OD)
    assert all(len(prediction.track_ids) == 2 for prediction in tracked)
    path = tmp_path / "shapes.avi"
    path.write_bytes(platform.stub.db.blobs[f"video-{shapes.VIDEO}"])
    from_file = model.predict(str(path), **OD)
    assert len(from_file) == shapes.FRAMES


@both
def test_a_detached_prediction_can_be_stopped(platform, server, kind, model):
    platform.reset()
    project = platform.add_project(300)
    with model.predict_detached(project_id=project, **OD) as session:
        next(session)
        session.stop()
    assert server.post("/get_status", {}).status_code == 200


def test_scores_and_filters(platform, demo_server):
    platform.reset()
    model = ModelAPI(api(platform), task_id=TASKS["demo"])
    scored = model.predict(image_id=SCENES[0], conf=0.05, **OD)[0]
    assert len(scored.scores) > 0 and all(0.05 <= score <= 1 for score in scored.scores)
    assert len(model.predict(image_id=SCENES[0], conf=0.999999, **OD)[0].boxes) <= len(scored.boxes)


@both
def test_apps_ask_through_the_platform(platform, server, kind):
    """What Apply Florence-2 does: information first, then a text or a mapping for each picture."""
    platform.reset()
    client, task = api(platform), TASKS[kind]
    assert client.task.send_request(task, "get_output_classes_and_tags", {})["classes"]
    assert client.task.send_request(task, "get_session_info", {})["app_name"] == "Serve Florence-2"
    circles = [one for one in shapes.TRUTH[0]["objects"] if (one["color"], one["shape"]) == ("red", "circle")]
    for settings, title in [({"mapping": None, "mode": "text_prompt", "text": "a red circle"}, "a red circle_bbox"),
                            ({"mapping": {"Ball": "a red circle"}, "mode": "text_prompt", "text": None}, "Ball_bbox")]:
        state = {"image_id": SCENES[0], "settings": settings}
        answer = client.task.send_request(task, "inference_image_id", state, timeout=500)
        labels = answer["annotation"]["objects"]
        assert {label["classTitle"] for label in labels} == {title}
        if kind == "demo":
            corners = labels[0]["points"]["exterior"]
            assert shapes.iou([*corners[0], *corners[1]], circles[0]["box"]) > 0.5


@both
def test_questions_about_a_picture(platform, server, kind):
    platform.reset()
    client, task = api(platform), TASKS[kind]
    instructions = client.task.send_request(task, "get_prompt_instructions", {})["instructions"]
    assert "<DETAILED_CAPTION>" in instructions
    state = {"image_id": SCENES[0], "text_prompt": "<CAPTION>"}
    by_id = client.task.send_request(task, "visual_question_answering", state)["answer"]
    encoded = base64.b64encode((shapes.SCENES / shapes.TRUTH[0]["file"]).read_bytes()).decode()
    state = {"image_encoding": encoded, "text_prompt": "<CAPTION>"}
    assert client.task.send_request(task, "visual_question_answering", state)["answer"] == by_id
    state = {"image_encoding": encoded, "text_prompt": "<OD>"}
    found = client.task.send_request(task, "visual_question_answering", state)["answer"]
    assert len(found["bboxes"]) == len(found["labels"]) > 0
    if kind == "demo":
        assert "circle" in by_id
    else:
        assert by_id == "car, tree"


@both
def test_what_is_cached_is_not_fetched_again(platform, server, kind):
    platform.reset()
    project = platform.add_project(6)
    ids = [image["id"] for image in platform.images(project)]
    assert server.post("/smart_cache", {"image_ids": ids}).json() == {"message": "Cache task started."}
    platform.settle()
    before = len(platform.calls())
    assert len(server.post("/inference_batch_ids", {"batch_ids": ids, "settings": OD}).json()) == 6
    assert not any("download" in call["method"] for call in platform.calls()[before:])


@both
def test_nobody_sees_through_the_cache(platform, server, kind):
    platform.reset()
    assert server.post("/inference_image_id", {"image_id": SCENES[0], "settings": OD}).status_code == 200
    stranger = server.post("/inference_image_id", {"image_id": SCENES[0], "settings": OD}, api_token="somebody-else")
    assert stranger.status_code == 403, stranger.text


def test_freezing_and_waking(platform, demo_server):
    platform.reset()
    model = ModelAPI(api(platform), task_id=TASKS["demo"])
    assert model.freeze_model() == {"message": "Model is frozen."}
    assert model.freeze_model() == {"message": "Model is already frozen."}
    assert model.is_deployed()
    answer = demo_server.post("/inference_image_id", {"image_id": SCENES[0], "settings": OD}).json()
    assert share_found(answer["annotation"], SCENES[0]) > 0.5


def test_another_model(platform, fake_server, demo_server):
    platform.reset()
    ModelAPI(api(platform), task_id=777).load("florence-2-BASE")
    assert fake_server.post("/get_deploy_info", {}).json()["checkpoint_name"] == "Florence-2-base"
    ModelAPI(url=fake_server.url).load("Florence-2-large")
    assert fake_server.post("/get_deploy_info", {}).json()["checkpoint_name"] == "Florence-2-large"
    # Of the real server the model in use stays when another cannot be had.
    parameters = {"model_source": "Pretrained models", "device": "cpu", "runtime": None, "model_files": {}, "model_info": {}}
    for state, words in [({"deploy_params": parameters, "model_name": "Florence-3"}, "Florence-3 not found"),
                         ({"model_name": "Florence-2-base"}, "deploy_params"),
                         ({"deploy_params": {**parameters, "runtime": "TensorRT"}, "model_name": "demo"}, "TensorRT"),
                         ({"deploy_params": {**parameters, "model_source": "Custom models"}, "model_name": "demo"}, "Custom"),
                         ({"deploy_params": {**parameters, "device": "tpu"}, "model_name": "demo"}, "tpu")]:
        answer = demo_server.post("/deploy_from_api", state)
        assert answer.status_code == 400 and words in answer.json()["message"], answer.text
    assert demo_server.post("/deploy_from_api", {"deploy_params": parameters, "model_name": "demo"}).status_code == 200
    assert demo_server.post("/get_deploy_info", {}).json()["model_name"] == "demo"


def test_a_project_keeps_the_model_busy(platform, demo_server):
    """Downloads and uploads happen beside the model, and memory is that of the first pictures."""
    platform.reset()
    project, target = platform.add_project(200), platform.add_empty_project()
    state = {"projectId": project, "output_project_id": target, "settings": OD}
    busy = demo_server.metric("florence_busy_seconds_total")
    started = demo_server.post("/inference_project_id_async", state).json()
    early, last = None, None
    while True:
        status = demo_server.post("/pop_inference_results", started).json()
        done = status["progress"]["current"]
        if early is None and done >= 20:
            early = demo_server.memory()
        if status["finished"]:
            break
        last = demo_server.memory()
    assert status["exception"] is None and platform.copies(target) == {name: 1 for name in platform.names(project)}
    seconds = status["updated_at"] - status["created_at"]
    share = (demo_server.metric("florence_busy_seconds_total") - busy) / seconds
    print(f"{seconds:.2f} s, the model was busy {100 * share:.0f} % of it, memory {early >> 20} to {last >> 20} MiB")
    assert share > 0.9 and last - early < 30 << 20
