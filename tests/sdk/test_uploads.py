"""Predictions that go to the platform, in every mode."""
import pytest

from clients import OD, SCENES, both, server, session  # noqa: F401
from stub import shapes

NAMES = [scene["file"] for scene in shapes.TRUTH]


def upload(server, path="/inference_batch_ids_async", **state):
    started = server.post(path, {"settings": OD, **state})
    assert started.status_code == 200, started.text
    uuid = started.json()["inference_request_uuid"]
    status = server.wait(uuid, 60)
    assert status["exception"] is None, status
    results = server.post("/pop_inference_results", {"inference_request_uuid": uuid}).json()["pending_results"]
    assert all(result["annotation"] is None and result["data"] is None for result in results)
    return results


def titles(platform, image):
    return [label["classTitle"] for label in platform.stub.db.annotations[image]["objects"]]


def label(title, corners):
    return {"classTitle": title, "description": "", "tags": [], "geometryType": "rectangle", "shape": "rectangle",
            "points": {"exterior": corners, "interior": []}, "nnCreated": False, "nnUpdated": False}


def give(platform, image, title, corners):
    """A label that somebody drew."""
    project = platform.stub.db.images[image]["projectId"]
    classes = platform.stub.db.projects[project]["_meta"]["classes"]
    if title not in {known["title"] for known in classes}:
        classes.append({"id": platform.stub.db.new_id(), "title": title, "shape": "rectangle", "color": "#112233"})
    annotation = platform.stub.db.annotations[image]
    platform.stub.db.store_annotation(image, {**annotation, "objects": annotation["objects"] + [label(title, corners)]})


@both
def test_append_keeps_what_is_there(platform, server, kind):
    platform.reset()
    give(platform, SCENES[0], "lemon", [[1, 2], [30, 40]])
    upload(server, images_ids=[SCENES[0]], upload_mode="append")
    first = titles(platform, SCENES[0])
    assert first[0] == "lemon" and len(first) > 1
    upload(server, images_ids=[SCENES[0]], upload_mode="append")
    assert titles(platform, SCENES[0]) == first + first[1:]


@both
def test_replace_does_not(platform, server, kind):
    platform.reset()
    give(platform, SCENES[0], "lemon", [[1, 2], [30, 40]])
    upload(server, images_ids=SCENES[:2], upload_mode="replace")
    assert titles(platform, SCENES[0]) and "lemon" not in titles(platform, SCENES[0])
    upload(server, images_ids=SCENES[:2], upload_mode="replace")
    assert len(titles(platform, SCENES[0])) == len(set(map(str, platform.stub.db.annotations[SCENES[0]]["objects"])))


@both
def test_iou_merge_repeats_nothing(platform, server, kind):
    platform.reset()
    upload(server, images_ids=[SCENES[0]], upload_mode="iou_merge")
    first = titles(platform, SCENES[0])
    assert first
    upload(server, images_ids=[SCENES[0]], upload_mode="iou_merge")
    assert titles(platform, SCENES[0]) == first


@both
def test_corners_are_stored_behind_the_last_pixel(platform, server, kind):
    platform.reset()
    answered = session(platform, server, settings=OD).inference_image_id(SCENES[0])["annotation"]["objects"]
    upload(server, images_ids=[SCENES[0]], upload_mode="replace")
    stored = platform.stub.db.annotations[SCENES[0]]["objects"]
    for one, other in zip(answered, stored):
        (near, far), (stored_near, stored_far) = one["points"]["exterior"], other["points"]["exterior"]
        assert (stored_near, stored_far) == (near, [far[0] + 1, far[1] + 1])
        assert other["nnCreated"] and other["nnUpdated"]


@both
def test_a_class_of_another_shape_gets_an_ending(platform, server, kind):
    platform.reset()
    taken = "circle_bbox" if kind == "demo" else "car_bbox"
    meta = platform.stub.db.projects[shapes.PROJECT]["_meta"]
    meta["classes"].append({"id": 7001, "title": taken, "shape": "polygon", "color": "#112233"})
    upload(server, images_ids=SCENES, upload_mode="replace")
    stored = {title for image in SCENES for title in titles(platform, image)}
    assert taken not in stored and f"{taken}_nn" in stored
    platform.reset()
    platform.stub.db.projects[shapes.PROJECT]["_meta"]["classes"].append(
        {"id": 7001, "title": taken, "shape": "polygon", "color": "#112233"})
    upload(server, images_ids=SCENES, upload_mode="replace", model_prediction_suffix="_florence")
    assert f"{taken}_florence" in {title for image in SCENES for title in titles(platform, image)}


@both
def test_a_project_into_another(platform, server, kind):
    platform.reset()
    target = platform.add_empty_project()
    # The name of the outer dataset is taken there.
    platform.stub.db.add_dataset(900_001, target, "scenes")
    results = upload(server, "/inference_project_id_async", projectId=shapes.PROJECT, output_project_id=target)
    assert [result["image_name"] for result in results] == NAMES
    datasets = {dataset["id"]: dataset for dataset in platform.stub.db.datasets.values() if dataset["projectId"] == target}
    by_name = {dataset["name"]: dataset for dataset in datasets.values()}
    assert set(by_name) == {"scenes", "scenes_001", "nested"}
    assert by_name["nested"]["parentId"] == by_name["scenes_001"]["id"]
    assert sorted(platform.names(target)) == sorted(NAMES)
    assert all(annotation["objects"] for annotation in platform.annotations_of(target))
    assert not any(titles(platform, image) for image in SCENES), "the source stays as it was"


@both
def test_ids_into_a_new_project(platform, server, kind):
    platform.reset()
    upload(server, images_ids=[*SCENES, SCENES[0]], upload_mode="create")
    task = 777 if kind == "fake" else 779
    made = [project for project in platform.stub.db.projects.values() if project["name"] == f"Predictions from task #{task}"]
    assert len(made) == 1
    clash = NAMES[0].replace(".png", f"(dataset_id:{shapes.DATASET}).png")
    assert sorted(platform.names(made[0]["id"])) == sorted([*NAMES, clash])
    upload(server, images_ids=SCENES[:1], upload_mode="create")
    assert f"Predictions from task #{task}_001" in {project["name"] for project in platform.stub.db.projects.values()}


@both
def test_results_come_back_all_the_same(platform, server, kind):
    """A synchronous call may upload as well."""
    platform.reset()
    answer = server.post("/inference_batch_ids", {"batch_ids": SCENES[:2], "upload_mode": "replace", "settings": OD})
    assert [result["annotation"] for result in answer.json()] == [None, None]
    assert titles(platform, SCENES[0])


@both
def test_only_pictures_are_predicted(platform, server, kind):
    platform.reset()
    started = server.post("/inference_project_id_async", {"projectId": 110, "settings": OD}).json()
    status = server.wait(started["inference_request_uuid"], 10)
    assert status["exception"]["message"] == "Only images projects are supported."
    assert server.post("/run_speedtest", {"projectId": 110, "batch_size": 1, "num_iterations": 1}).status_code == 400
