"""`predict` on pictures of the platform: the real program with the demo model."""
import json
import os
import subprocess

import pytest
import requests
from PIL import Image

from clients import SCENES, share_found
from conftest import TARGET, Server
from stub import shapes

PATIENCE_S = 120
SETTINGS = ("--model", "demo", "--device", "cpu", "--settings", "task_prompt=<OD>")
FOLDERS = {shapes.DATASET: "scenes", shapes.NESTED: "nested"}
FILES = {f"{FOLDERS[shapes.NESTED if image == SCENES[-1] else shapes.DATASET]}/{scene['file']}.json": image
         for image, scene in zip(SCENES, shapes.TRUTH)}


@pytest.fixture(autouse=True)
def fresh(platform):
    platform.reset()


class Ran:
    def __init__(self, platform, folder, arguments, environment):
        variables = {"SERVER_ADDRESS": platform.url, "API_TOKEN": platform.token, "LOG_LEVEL": "warn",
                     "SUPERVISELY_PUBLIC_API_RETRY_SLEEP_SEC": "0.02", "TMPDIR": str(folder), **environment}
        command = [TARGET / "serve-florence-2", "predict", *map(str, arguments), *SETTINGS]
        self.output = folder / "predictions"
        done = subprocess.run(command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True,
                              timeout=PATIENCE_S)
        self.code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr

    def files(self, ending="json"):
        return {str(file.relative_to(self.output)) for file in self.output.rglob(f"*.{ending}")}

    def annotation(self, file):
        return json.loads((self.output / file).read_text())


@pytest.fixture
def predict(platform, tmp_path):
    return lambda *arguments, **environment: Ran(platform, tmp_path, arguments, environment)


def stored_titles(platform, image):
    return [label["classTitle"] for label in platform.stub.db.annotations[image]["objects"]]


def changes(platform):
    """Calls that change something on the platform."""
    return [call["method"] for call in platform.calls() if call["method"].endswith((".add", ".update", ".set"))]


@pytest.mark.parametrize("option", ["--project_id", "--project-id"])
def test_a_project_is_written_by_dataset(platform, predict, option):
    ran = predict(option, shapes.PROJECT)
    assert ran.code == 0 and ran.stdout == "", ran.stderr
    assert ran.files() == set(FILES)
    shares = [share_found(ran.annotation(file), image) for file, image in FILES.items()]
    assert min(shares) >= 0.6, shares
    assert changes(platform) == []


def test_some_datasets(platform, predict):
    ran = predict("--dataset_id", shapes.NESTED)
    assert (ran.code, ran.files()) == (0, {file for file in FILES if file.startswith("nested/")}), ran.stderr
    ran = predict("--dataset-id", f"{shapes.DATASET},{shapes.NESTED}", "--output", "predictions/both")
    assert (ran.code, ran.files()) == (0, {file for file in FILES if file.startswith("nested/")} | {
        f"both/{file}" for file in FILES}), ran.stderr


def test_some_pictures_and_drawings(platform, predict):
    wanted = {file: image for file, image in FILES.items() if image in (SCENES[0], SCENES[-1])}
    ran = predict("--image_id", f"{SCENES[0]},{SCENES[-1]},{SCENES[0]}", "--draw")
    assert (ran.code, ran.files()) == (0, set(wanted)), ran.stderr
    assert ran.files("png") == {file.replace(".json", ".png") for file in wanted}
    for file, image in wanted.items():
        truth = shapes.truth_of(image)
        assert share_found(ran.annotation(file), image) >= 0.6
        assert Image.open(ran.output / file.replace(".json", ".png")).size == (truth["width"], truth["height"])


def test_pictures_are_uploaded_to_themselves(platform, predict):
    # Somebody's label, which gives way as in the original.
    project = platform.stub.db.projects[shapes.PROJECT]
    project["_meta"]["classes"].append({"id": 7001, "title": "lemon", "shape": "rectangle", "color": "#112233"})
    platform.stub.db.annotations[SCENES[0]]["objects"].append({"classTitle": "lemon"})
    ran = predict("--image_id", f"{SCENES[0]},{SCENES[1]}", "--upload")
    assert (ran.code, ran.stdout) == (0, ""), ran.stderr
    assert not ran.output.exists()
    for image in SCENES[:2]:
        titles = stored_titles(platform, image)
        assert titles and all(title.endswith("_bbox") for title in titles)
    assert stored_titles(platform, SCENES[2]) == []
    assert "images.bulk.add" not in changes(platform)


@pytest.mark.parametrize("source", ["project", "dataset"])
def test_a_project_or_dataset_goes_into_a_new_project(platform, predict, source):
    taken = platform.add_empty_project()
    platform.stub.db.projects[taken]["name"] = "shapes predicted"
    before = set(platform.stub.db.projects)
    arguments = ("--project_id", shapes.PROJECT) if source == "project" else ("--dataset_id", shapes.DATASET)
    ran = predict(*arguments, "--upload")
    assert ran.code == 0, ran.stderr
    made = json.loads(ran.stdout)
    assert set(platform.stub.db.projects) - before == {made["project_id"]}
    assert made["name"] == platform.stub.db.projects[made["project_id"]]["name"] == "shapes predicted_001"
    assert made["url"] == f"{platform.url}/projects/{made['project_id']}/datasets"
    images = SCENES if source == "project" else SCENES[:-1]
    copies = platform.images(made["project_id"])
    assert [copy["name"] for copy in copies] == [shapes.truth_of(image)["file"] for image in images]
    assert all(stored_titles(platform, copy["id"]) for copy in copies)
    assert not any(stored_titles(platform, image) for image in SCENES)
    assert not ran.output.exists()


def test_a_picture_that_cannot_be_read_fails_alone(platform, predict):
    ran = predict("--image_id", f"{SCENES[0]},305")
    assert ran.code == 1 and ran.files() == {next(iter(FILES))}
    assert "broken.png (image 305)" in ran.stderr and "1 of 2 pictures failed" in ran.stderr
    ran = predict("--project_id", 102)
    assert ran.code == 1 and "broken.png" in ran.stderr


def test_what_is_not_there_is_told_before_the_model_is_loaded(platform, predict):
    for arguments, code, words in [
        (("--project_id", 99), 2, "projects.info"),
        (("--project_id", shapes.VIDEO_PROJECT), 2, "Only images projects are supported"),
        (("--project_id", 101), 2, "there is no picture in project 101"),
        (("--dataset_id", 99), 2, "datasets.info"),
        (("--dataset_id", f"{shapes.DATASET},202"), 2, "several projects"),
        (("--image_id", 99), 1, "Image (id: 99)"),
    ]:
        ran = predict(*arguments)
        last = ran.stderr.splitlines()[-1]
        assert ran.code == code and last.startswith("error: ") and words in last, ran.stderr
        ran = predict(*arguments, "--upload")
        assert ran.code == code and not any(method == "projects.add" for method in changes(platform)), ran.stderr
    ran = predict("--image_id", SCENES[0], API_TOKEN="wrong")
    assert ran.code == 1 and "403" in ran.stderr


def test_names_of_the_platform_lead_nowhere_else(platform, predict):
    db = platform.stub.db
    db.datasets[shapes.NESTED]["name"] = "../up"
    db.images[SCENES[-1]]["name"] = "../../x.png"
    db.add_dataset(700_001, shapes.PROJECT, "scenes")
    content = db.blobs[db.images[SCENES[0]]["hash"]]
    db.add_image(700_002, 700_001, shapes.TRUTH[0]["file"], content, "image/png", 320, 320)
    ran = predict("--project_id", shapes.PROJECT)
    assert ran.code == 0, ran.stderr
    expected = {file for file in FILES if file.startswith("scenes/")}
    assert ran.files() == expected | {".._up/.._.._x.png.json", f"scenes_700001/{shapes.TRUTH[0]['file']}.json"}


def test_lost_answers_do_no_harm(platform, predict, monkeypatch):
    """A platform that fails now and then, before or after it has done what it was asked. It sends no wrong files, which nobody
    could tell from pictures that are broken."""
    monkeypatch.setattr("stub.server.FAILURES", ("500", "429", "slow", "500 after"))
    platform.misbehave(0.2, seed=5)
    try:
        ran = predict("--project_id", shapes.PROJECT, "--upload")
    finally:
        platform.misbehave(0.0, seed=0)
    assert ran.code == 0, ran.stderr
    made = json.loads(ran.stdout)["project_id"]
    assert platform.copies(made) == {scene["file"]: 1 for scene in shapes.TRUTH}
    assert [project for project in platform.stub.db.projects.values() if project["name"].startswith("shapes pred")] == [
        platform.stub.db.projects[made]]


def test_deploy_serves(platform):
    server = Server([TARGET / "serve-florence-2", "deploy", "--model", "demo", "--device", "cpu", "--runtime", "pytorch",
                     "--host", "127.0.0.1"], platform, 780)
    try:
        server.wait_until("/readyz")
        assert requests.post(server.url + "/get_deploy_info", json={}, timeout=5).json()["model_name"] == "demo"
    finally:
        server.end()
