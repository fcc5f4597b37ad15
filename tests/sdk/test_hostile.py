"""Callers and platforms that mean harm, or are broken: every one gets a clear answer, and nobody else notices."""
import base64
import io
import json
import pathlib
import random
import socket
import struct
import threading
import time
import zlib

import pytest
import requests
from PIL import Image

# Longest that any answer to nonsense may take.
PATIENCE_S = 5
# How much more memory the server may hold after everything that is done to it here.
MAX_GROWTH_BYTES = 100 << 20

JSON_ROUTES = [
    "/get_session_info", "/get_output_classes_and_tags", "/get_model_meta", "/get_custom_inference_settings",
    "/get_tracking_settings", "/get_deploy_info", "/get_deploy_settings", "/deploy_from_api", "/list_pretrained_models",
    "/list_pretrained_model_infos", "/is_deployed", "/get_status", "/is_running", "/is_ready", "/inference_image_id",
    "/inference_batch_ids", "/inference_image_url", "/inference_image_id_async", "/inference_batch_ids_async",
    "/inference_project_id_async", "/run_speedtest", "/inference_video_id", "/inference_video_id_async",
    "/get_inference_progress", "/pop_inference_results", "/get_inference_result", "/get_preparing_progress",
    "/get_inference_status", "/stop_inference", "/clear_inference_request", "/visual_question_answering",
    "/get_prompt_instructions", "/tracking_by_detection", "/smart_cache", "/no/such/route",
]
FORM_ROUTES = ["/inference_image", "/inference_batch", "/inference_batch_async", "/inference_video_async",
               "/smart_cache_files"]
KEYS = ["state", "settings", "context", "api_token", "apiToken", "server_address", "image_id", "image_ids", "batch_ids",
        "projectId", "project_id", "dataset_ids", "videoId", "startFrameIndex", "framesCount", "stride", "direction",
        "tracker", "tracker_settings", "task_prompt", "text", "mapping", "rectangle", "rectangles", "points", "exterior",
        "conf", "scores", "nms_iou", "max_new_tokens", "batch_size", "upload_mode", "output_project_id", "num_iterations",
        "inference_request_uuid", "text_prompt", "image_path", "image_encoding", "image_url", "deploy_params",
        "model_name", "model_source", "device", "runtime", "frame_ranges", "image_hashes", "video_id", "trackId"]
VALUES = [None, True, False, 0, 1, -1, 2, 301, 500, 100, 10**18, -10**30, 1.5, 1e308, "", "x", "<OD>", "<CAPTION>",
          "<OCR>", "append", "botsort", "../../etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest",
          "http://127.0.0.1:1/", "\u0000", "\U0001f600" * 50, "a" * 5000, [], {}, [[]], [1, "2", None]]


def nonsense(chance, depth=0):
    kind = chance.random()
    if depth > 3 or kind < 0.45:
        return chance.choice(VALUES)
    if kind < 0.55:
        return [nonsense(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(KEYS): nonsense(chance, depth + 1) for _ in range(chance.randrange(6))}


def envelope(chance):
    state = nonsense(chance)
    body = {"state": state if chance.random() < 0.9 else {"settings": nonsense(chance)}}
    body.update({chance.choice(KEYS): nonsense(chance) for _ in range(chance.randrange(3))})
    # What a run needs before it looks at anything else.
    if isinstance(body["state"], dict) and chance.random() < 0.5:
        body["state"].update(chance.choice([{"image_id": 301}, {"batch_ids": [301, 305]}, {"projectId": 100},
                                            {"videoId": 500}, {"projectId": 110}, {"video_id": 1}]))
    return body


def is_fine(response):
    return response.status_code < 300 or 400 <= response.status_code < 500 or response.status_code == 501


@pytest.mark.parametrize("seed", range(6))
def test_random_envelopes(fake_server, platform, seed):
    platform.reset()
    chance = random.Random(seed)
    for number in range(150):
        path, body = chance.choice(JSON_ROUTES), envelope(chance)
        start = time.monotonic()
        response = requests.post(fake_server.url + path, json=body, timeout=PATIENCE_S)
        assert is_fine(response), (seed, number, path, body, response.status_code, response.text)
        assert time.monotonic() - start < PATIENCE_S
    fake_server.check()


@pytest.mark.parametrize("seed", range(2))
def test_random_bodies(fake_server, seed):
    chance = random.Random(seed)
    starts = [b"", b"{", b'{"state": ', b"[" * 2000, b'{"a":' * 2000, b"\xff\xfe", b'{"state": {"image_id": 1e999}}', b"null"]
    for path in JSON_ROUTES + FORM_ROUTES:
        for content_type in ("application/json", "multipart/form-data; boundary=b", "multipart/form-data", "text/plain", ""):
            body = chance.choice(starts) + bytes(chance.randrange(256) for _ in range(chance.randrange(50)))
            response = requests.post(fake_server.url + path, data=body, headers={"content-type": content_type},
                                     timeout=PATIENCE_S)
            assert is_fine(response), (path, content_type, body, response.text)
    fake_server.check()


@pytest.mark.parametrize("path", FORM_ROUTES)
def test_random_forms(fake_server, path):
    chance = random.Random(path)
    for _ in range(30):
        parts = []
        for _ in range(chance.randrange(5)):
            name = chance.choice(["files", "state", "settings", "nonsense"])
            file_name = chance.choice([None, "a.png", "../../../tmp/x.png", "/etc/passwd", "a\u0000b", "." * 300])
            content = chance.choice([b"", b"{}", b"x" * 1000, small_png(), json.dumps(nonsense(chance)).encode()])
            parts.append((name, (file_name, content)))
        response = requests.post(fake_server.url + path, files=parts or {"x": b""}, timeout=PATIENCE_S)
        assert is_fine(response), (parts, response.status_code, response.text)
    fake_server.check()


def small_png():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(side):
    """A PNG of side x side black pixels that is a few kilobytes of file a megapixel."""
    row = b"\0" * (side * 3 + 1)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_bomb():
    """A JPEG whose header says 65500 x 65500."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at:at + 4] = struct.pack(">HH", 65500, 65500)
    return bytes(data)


def gif_bomb():
    return b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0\0\0\0\xff\xff\xff," + \
        struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\2\2D\1\0;"


def tiff_bomb():
    def entry(tag, kind, count, value):
        return struct.pack("<HHII", tag, kind, count, value)
    entries = [entry(256, 4, 1, 100_000), entry(257, 4, 1, 100_000), entry(258, 3, 1, 8), entry(259, 3, 1, 1),
               entry(262, 3, 1, 1), entry(273, 4, 1, 8), entry(277, 3, 1, 1), entry(278, 4, 1, 100_000),
               entry(279, 4, 1, 10)]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"


BOMBS = {"png header": lambda: png_bomb(4)[:16] + struct.pack(">II", 60_000, 60_000) + png_bomb(4)[24:],
         "jpeg": jpeg_bomb, "gif": gif_bomb, "tiff": tiff_bomb}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused(fake_server, kind):
    before = fake_server.memory()
    bomb = BOMBS[kind]()
    response = requests.post(fake_server.url + "/inference_image", files={"files": ("bomb", bomb)}, timeout=30)
    assert 400 <= response.status_code < 500, response.text
    encoded = base64.b64encode(bomb).decode()
    response = requests.post(fake_server.url + "/visual_question_answering", timeout=30,
                             json={"state": {"text_prompt": "<CAPTION>", "image_encoding": encoded}})
    assert 400 <= response.status_code < 500, response.text
    assert fake_server.memory() - before < MAX_GROWTH_BYTES


def test_a_large_picture_costs_its_pixels_once(fake_server):
    """100 megapixels in some 300 kB of file are within the limits, and are given back."""
    before = fake_server.memory()
    response = requests.post(fake_server.url + "/inference_image", files={"files": ("large.png", png_bomb(10_000))},
                             data={"settings": json.dumps({"settings": {"task_prompt": "<OD>"}})}, timeout=60)
    assert response.status_code == 200, response.text
    end = time.monotonic() + 20
    while fake_server.memory() - before > MAX_GROWTH_BYTES and time.monotonic() < end:
        time.sleep(0.2)
    assert fake_server.memory() - before < MAX_GROWTH_BYTES


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", "/proc/self/environ", "street.png", ""])
def test_paths_of_the_server_are_closed(fake_server, path):
    """One and the same answer, whether there is such a file or not."""
    def ask(path):
        body = {"state": {"text_prompt": "<CAPTION>", "image_path": path}}
        return requests.post(fake_server.url + "/visual_question_answering", json=body, timeout=PATIENCE_S)
    assert ask(path).status_code == 400
    assert ask(path).json() == ask("/no/such/file").json()


CLOSED = ["http://127.0.0.1/", "http://localhost/x.png", "http://[::1]/", "http://0.0.0.0/", "http://0/", "http://10.0.0.1/",
          "http://172.16.0.1/", "http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/",
          "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/",
          "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fe80::1]/", "http://[fd00:ec2::254]/",
          "file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "http://user:secret@127.0.0.1/", "javascript:1",
          "http://", "//127.0.0.1/", "", "http://127.0.0.1:22/", "http://224.0.0.1/", "http://255.255.255.255/"]


@pytest.mark.parametrize("url", CLOSED)
def test_addresses_inside_are_closed(fake_server, url):
    response = requests.post(fake_server.url + "/inference_image_url", json={"state": {"image_url": url}},
                             timeout=PATIENCE_S)
    assert response.status_code == 400, response.text
    assert "secret" not in response.text


def test_a_body_sends_no_token_elsewhere(fake_server, platform):
    """A listener that a request names as the platform hears nothing."""
    platform.reset()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(1)
    address = "http://127.0.0.1:%d" % listener.getsockname()[1]
    body = {"state": {"image_id": 301, "server_address": address}, "context": {}, "server_address": address}
    for path in ("/inference_image_id", "/inference_batch_ids_async", "/smart_cache"):
        requests.post(fake_server.url + path, json=body, timeout=PATIENCE_S)
    with pytest.raises(TimeoutError):
        listener.accept()
    listener.close()


def dribble(server, head, pause_s, pieces):
    """Sends a request piece by piece and tells whether the server has had enough by then."""
    connection = socket.create_connection(server.address, timeout=1)
    connection.sendall(head)
    try:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
        return False
    except OSError:
        return True
    finally:
        connection.close()


def test_dribblers_hold_nobody_up(fake_server):
    """Many connections that never finish their request; others are answered at once."""
    threads = [threading.Thread(target=dribble, args=(fake_server, b"POST /get_session_info HTTP/1.1\r\n", 0.1,
                                                      [b"X-%d: y\r\n" % number for number in range(30)]))
               for _ in range(100)]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    for _ in range(20):
        assert requests.post(fake_server.url + "/get_session_info", json={}, timeout=PATIENCE_S).status_code == 200
    assert time.monotonic() - start < PATIENCE_S
    for thread in threads:
        thread.join()


def test_long_heads_are_refused(fake_server):
    with socket.create_connection(fake_server.address, timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000)
                                                                         for i in range(200)) + b"\r\n")
        answer = connection.recv(100)
    assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_a_broken_platform_loses_no_picture(fake_server, platform):
    """A third of all calls fails in some way during a run over a project; each picture is uploaded exactly once."""
    platform.reset()
    project = platform.add_project(60)
    target = platform.add_empty_project()
    platform.misbehave(share=1 / 3, seed=5)
    try:
        body = {"state": {"projectId": project, "output_project_id": target, "batch_size": 8,
                          "settings": {"task_prompt": "<OD>"}}, "context": {}}
        started = requests.post(fake_server.url + "/inference_project_id_async", json=body, timeout=PATIENCE_S).json()
        status = fake_server.wait(started["inference_request_uuid"], 120)
    finally:
        platform.misbehave(share=0, seed=0)
    assert status["exception"] is None, status
    assert platform.copies(target) == {name: 1 for name in platform.names(project)}
    assert all(len(annotation["objects"]) == 2 for annotation in platform.annotations_of(target))


def test_nothing_is_left(fake_server):
    """After all that: the server answers, holds little more memory, and has left no file."""
    response = requests.post(fake_server.url + "/get_session_info", json={}, timeout=PATIENCE_S)
    assert response.status_code == 200
    assert fake_server.memory() - fake_server.memory_at_start < MAX_GROWTH_BYTES
    assert list(pathlib.Path(fake_server.temp_folder).iterdir()) == []
