"""The original's recorded answers, played against the server with the fake model.

Every recording passes as it is, but for those named here: there the original is at fault, and our answer is written
down in its place.
"""
import json
import pathlib

import pytest
import requests

import replay

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "recordings"
RECORDINGS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}

# Reads that ours makes beyond the original's in a recording, and why.
FURTHER_READS = {
    # A picture is shown to nobody before its record was shown to them.
    "vqa_image_id": {"images.info", "datasets.info"},
    "vqa_errors": {"images.info", "datasets.info"},
    "sdk_send_request": {"images.info", "datasets.info"},
    "smart_cache": {"images.info", "images.list", "datasets.info"},
}
# Reads that stand for one another: a few frames come as pictures, many in the whole video.
VIDEO_READS = {"videos.download", "videos.bulk.download-frame"}
# Pictures that the original fetches only to fail afterwards: ours refuses the settings first.
REFUSED_BEFORE_DOWNLOAD = {"image_id_bad_task", "vqa_errors", "undeployed_inference", "image_id_unknown"}
# The original makes a dataset "Predictions" that stays empty.
EMPTY_DATASETS = {"ids_create": "Predictions"}


def names(server, quirk=False):
    return [name for name, recording in RECORDINGS.items()
            if recording["server"] == server and bool(recording.get("quirk")) == quirk]


@pytest.fixture
def player(fake_server, platform):
    platform.reset()
    return replay.Player(fake_server.url, platform.url, platform.token, platform.media)


@pytest.mark.parametrize("name", names("deployed"))
def test_deployed(name, player, platform):
    recording = RECORDINGS[name]
    assert player.play(recording) == []
    platform.settle()
    compare_platform(recording, platform)


def compare_platform(recording, platform):
    """What was asked of the platform, and what it holds now."""
    name, ours, theirs = recording["name"], platform.calls(), recording.get("platform_calls", [])
    made = [call for call in theirs if call["body"].get("name") != EMPTY_DATASETS.get(name, "")]
    assert replay.differ(replay.writes(made), replay.writes(ours)) is None
    if name not in REFUSED_BEFORE_DOWNLOAD:
        # Of those, some are still here from the recording before.
        assert replay.downloaded(ours) <= replay.downloaded(theirs)
    reads = {call["method"] for call in ours} - replay.WRITES
    known = {call["method"] for call in theirs} | FURTHER_READS.get(name, set())
    if known & VIDEO_READS:
        known |= VIDEO_READS
    assert reads <= known
    stored = recording.get("annotations_stored_on_platform") or {}
    held = platform.annotations()
    for image_id, annotation in stored.items():
        wanted = replay.without_new_ids(annotation)
        candidates = [held[key] for key in held if key == image_id or int(image_id) > replay.FIRST_NEW_ID]
        differences = [replay.differ(wanted, replay.without_new_ids(candidate)) for candidate in candidates]
        assert None in differences, differences


@pytest.mark.parametrize("name", names("deployed", quirk=True))
def test_quirks(name, player, platform):
    MENDED[name](player, platform, RECORDINGS[name])


def apply_florence(player, _, recording):
    """A text without a task is what the caller wants found; the original captions the picture instead."""
    answer = player.send(recording["exchanges"][0]["request"]).json()
    assert [label["classTitle"] for label in answer["annotation"]["objects"]] == ["wheel_bbox"]


def image_url(player, platform, recording):
    """The original fails for every address. Ours fetches, where the address is open to it."""
    request = recording["exchanges"][0]["request"]
    answer = player.send(request).json()
    assert answer["annotation"]["size"] == {"height": 240, "width": 320}
    assert [label["classTitle"] for label in answer["annotation"]["objects"]] == ["a cat_bbox", "two dogs_bbox"]
    assert answer["url"].startswith(platform.url)


def session_ids_async(player, _, recording):
    """The original leaves out the name of the picture, for which its own client looks."""
    started = next(x["request"] for x in recording["exchanges"] if x["request"]["path"] == "/inference_batch_ids_async")
    player.uuid = player.send(started).json()["inference_request_uuid"]
    results = []
    player.pop({"method": "POST", "path": "/pop_inference_results",
                "json": {"state": {"inference_request_uuid": "<uuid>"}}}, results, None)
    assert [result["image_name"] for result in results] == ["street.png"]


MENDED = {
    "image_id_apply_florence_app": apply_florence,
    "image_url": image_url,
    "sdk_session_ids_async": session_ids_async,
}


@pytest.mark.parametrize("name", names("undeployed"))
def test_undeployed(name, undeployed_server, platform):
    platform.reset()
    player = replay.Player(undeployed_server.url, platform.url, platform.token, platform.media)
    # The recordings follow one another on one server. The original loses its model with a failed deployment.
    requests.post(undeployed_server.url + "/deploy_from_api", json={"state": {}}, timeout=10)
    assert player.play(RECORDINGS[name]) == []


def test_headless_errors_have_both_shapes(player, platform):
    """Ours sends what both of the original's forms send; it has a page even so."""
    recording = RECORDINGS["headless_error_bodies"]
    for exchange in recording["exchanges"][:-1]:
        want, response = exchange["response"], player.send(exchange["request"])
        assert response.status_code >= 400
        if want["status"] == 400 and "Cannot decode" not in want["json"]["detail"]:
            assert replay.differ(want["json"], response.json()) is None
    page = player.send(recording["exchanges"][-1]["request"])
    assert page.status_code == 200
