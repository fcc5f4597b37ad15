"""Frames of videos, tracks, and tracking for the labelling tool."""
import time

import pytest
import requests

from clients import OD, both, boxes, server, session  # noqa: F401
from stub import shapes


def by_class(annotation):
    return dict(zip([title for title, _ in boxes(annotation)], annotation["customBigData"]))


def test_frames_of_the_platform(platform, demo_server):
    platform.reset()
    client = session(platform, demo_server, settings=OD)
    answer = client.inference_video_id(shapes.VIDEO, start_frame_index=2, frames_count=3)
    frames = answer["ann"] if isinstance(answer, dict) else answer
    assert [frame["frame_index"] for frame in frames] == [2, 3, 4]
    for frame in frames:
        found = dict(boxes(frame["annotation"]))
        for shape, box in shapes.boxes_at(frame["frame_index"]).items():
            assert shapes.iou(found[f"{shape}_bbox"], box) > 0.5
    iterator = client.inference_video_id_async(shapes.VIDEO, start_frame_index=0, frames_count=6)
    assert [frame["frame_index"] for frame in iterator] == list(range(6))


def run_video(server, **state):
    started = server.post("/inference_video_id_async", {"videoId": shapes.VIDEO, "settings": OD, **state}).json()
    uuid = started["inference_request_uuid"]
    status = server.wait(uuid, 60)
    assert status["exception"] is None, status
    frames = server.post("/pop_inference_results", {"inference_request_uuid": uuid}).json()["pending_results"]
    return frames, server.post("/get_inference_result", {"inference_request_uuid": uuid}).json()


def test_objects_keep_their_tracks(platform, demo_server):
    platform.reset()
    frames, final = run_video(demo_server, tracker="botsort")
    assert len(frames) == shapes.FRAMES
    tracks = [by_class(frame["annotation"]) for frame in frames]
    # The circle is gone for three frames, and is the same one afterwards.
    circles = [track["circle_bbox"] for track in tracks if "circle_bbox" in track]
    squares = [track["square_bbox"] for track in tracks if "square_bbox" in track]
    assert len(set(circles)) == 1 and len(circles) >= shapes.FRAMES - len(shapes.HIDDEN) - 2
    assert len(set(squares)) == 1 and len(squares) >= shapes.FRAMES - 2
    video = final["video_ann"]
    assert (video["framesCount"], video["size"]) == (shapes.FRAMES, {"height": shapes.HEIGHT, "width": shapes.WIDTH})
    assert {item["classTitle"] for item in video["objects"]} >= {"circle_bbox", "square_bbox"}
    keys = {item["key"] for item in video["objects"]}
    assert all(figure["objectKey"] in keys for frame in video["frames"] for figure in frame["figures"])
    assert [frame["index"] for frame in video["frames"]] == list(range(shapes.FRAMES))


def test_a_run_begins_where_it_is_told(platform, demo_server):
    platform.reset()
    frames, final = run_video(demo_server, tracker="botsort", startFrameIndex=4, framesCount=6, step=2)
    assert [frame["frame_index"] for frame in frames] == [4, 6, 8]
    assert [frame["index"] for frame in final["video_ann"]["frames"]] == [4, 6, 8]
    frames, final = run_video(demo_server, start_frame=9, direction="backward", num_frames=3)
    assert [frame["frame_index"] for frame in frames] == [9, 8, 7] and final == {"video_ann": None}
    assert [frame["frame_index"] for frame in run_video(demo_server, startFrameIndex=20)[0]] == [20, 21, 22, 23]


@both
def test_an_uploaded_video(platform, server, kind):
    content = platform.stub.db.blobs[f"video-{shapes.VIDEO}"]
    state = '{"settings": {"task_prompt": "<OD>"}, "startFrameIndex": 2, "endFrameIndex": 6, "stride": 2, "tracker": "botsort"}'
    started = requests.post(server.url + "/inference_video_async", timeout=30,
                            files=[("files", ("shapes.avi", content)), ("state", (None, state))])
    assert started.status_code == 200, started.text
    uuid = started.json()["inference_request_uuid"]
    status = server.wait(uuid, 60)
    assert status["exception"] is None
    frames = server.post("/pop_inference_results", {"inference_request_uuid": uuid}).json()["pending_results"]
    # Here the end frame counts.
    assert [frame["frame_index"] for frame in frames] == [2, 4, 6]
    assert all(len(frame["annotation"]["objects"]) == 2 for frame in frames)
    final = server.post("/get_inference_result", {"inference_request_uuid": uuid}).json()
    assert final["ann"] == [] and len(final["video_ann"]["frames"]) == 3


@both
def test_what_is_no_video_is_told(platform, server, kind):
    started = requests.post(server.url + "/inference_video_async", files={"files": ("x.avi", b"not a video")}, timeout=30)
    status = server.wait(started.json()["inference_request_uuid"], 30)
    assert status["stage"] == "Error" and "no video" in status["exception"]["message"]
    assert server.post("/inference_video_id", {"videoId": 12345}).status_code == 404
    assert server.post("/inference_video_id", {}).status_code == 400
    wrong = {"videoId": shapes.VIDEO, "tracker": "botsort", "tracker_settings": {"match_thresh": 5}}
    assert server.post("/inference_video_id_async", wrong).status_code == 400


def test_a_long_video_comes_as_a_file(platform, fake_server):
    """Many frames are read from the whole video, which is fetched once."""
    platform.reset()
    platform.stub.db.videos[500]["fileMeta"]["framesCount"] = 100
    try:
        frames, _ = run_video(fake_server, videoId=500)
        # The record promises more than there is.
        assert len(frames) == 12
        run_video(fake_server, videoId=500, startFrameIndex=3, framesCount=2)
    finally:
        platform.stub.db.videos[500]["fileMeta"]["framesCount"] = 12
    methods = [call["method"] for call in platform.calls()]
    assert methods.count("videos.download") == 1 and "videos.bulk.download-frame" not in methods


def test_the_labelling_tool_gets_figures(platform, demo_server):
    platform.reset()
    body = {"state": {"videoId": shapes.VIDEO, "frameIndex": 0, "framesCount": 8, "settings": OD},
            "context": {"trackId": "track-1"}}
    answer = requests.post(demo_server.url + "/tracking_by_detection", json=body, timeout=10)
    assert answer.json() == {"message": "Track task started."}
    end = time.monotonic() + 30
    while time.monotonic() < end:
        notices = [notice["data"] for notice in platform.stub.db.notifications]
        if notices and notices[-1].get("progress", {}).get("current") == 8:
            break
        time.sleep(0.05)
    assert notices[-1]["progress"] == {"current": 8, "total": 8} and notices[-1]["frameRange"] == [0, 8]
    figures = platform.stub.db.figures
    assert {figure["meta"]["frame"] for figure in figures} == set(range(8))
    assert len({figure["objectId"] for figure in figures}) == 2
    for figure in figures:
        corners = figure["geometry"]["points"]["exterior"]
        frame = figure["meta"]["frame"]
        assert max(shapes.iou([*corners[0], *corners[1]], box) for box in shapes.boxes_at(frame).values()) > 0.5


def test_the_labelling_tool_is_told_of_failures(platform, demo_server):
    platform.reset()
    body = {"state": {"videoId": 4711, "settings": OD}, "context": {"trackId": "track-2"}}
    assert requests.post(demo_server.url + "/tracking_by_detection", json=body, timeout=10).status_code == 200
    end = time.monotonic() + 20
    while not platform.stub.db.notifications and time.monotonic() < end:
        time.sleep(0.05)
    notice = platform.stub.db.notifications[0]
    assert notice["type"] == "videos:tracking-error" and notice["data"]["error"]["message"]
