"""The end: told to end, the server answers what it has taken and leaves with 0; killed, it comes back."""
import contextlib
import json
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from app import PICTURE, at_once
from checkpoints import BASE, LARGE, files, place, repository
from hub_stub import Fault
from settings import binary

# 30 seconds are promised, and machines are busy.
DRAIN_S = 45


@pytest.fixture
def server(app):
    server = app("--model", BASE)
    place(server.cache, BASE)
    return server.start().wait_until_ready()


def tell(server, how):
    if how == "route":
        answer = server.post("/sly/shutdown")
        assert (answer.status_code, answer.text) == (200, "null")
    else:
        server.process.send_signal(getattr(signal, how))


def wait_until_heard(server):
    server.wait_for(lambda: any("shutting down" in record["message"] for record in server.records()), "it has heard")


class Callers:
    """Asks for one picture after another, each over a connection of its own, until nobody takes a connection any more."""

    def __init__(self, server, count):
        self.server, self.lock = server, threading.Lock()
        self.answered, self.failed, self.is_told = 0, [], False
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while True:
            was_told = self.is_told
            try:
                answer = self.server.infer()
                outcome = None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
            except requests.ConnectionError as error:
                if was_told or "refused" in str(error):
                    # After the end has begun a connection may come too late.
                    return
                outcome = repr(error)
            with self.lock:
                self.answered += outcome is None
                self.failed += [outcome] if outcome else []

    def join(self):
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "route"])
def test_what_was_taken_is_answered(server, how):
    callers = Callers(server, 6)
    server.wait_for(lambda: callers.answered > 12, "there is a load")
    # One that takes longer than the others, and is under way.
    long, = at_once(server.infer_long)
    server.wait_for(lambda: server.status()["requests"]["held"] > 0, "it is under way")
    callers.is_told = True
    tell(server, how)
    callers.join()
    assert long.result().status_code == 200, long.result().text
    assert server.wait_for_exit(DRAIN_S) == 0
    assert not callers.failed, callers.failed[:3]


@pytest.mark.parametrize("how", ["SIGTERM", "route"])
def test_it_is_unready_at_once(server, how):
    busy = server.keep_busy()
    tell(server, how)
    if how == "SIGTERM":
        # It takes a moment to arrive.
        wait_until_heard(server)
    # Where no connection is taken any more, nobody is misled either.
    with contextlib.suppress(requests.ConnectionError):
        while True:
            assert server.get("/readyz").status_code == 503
            assert server.status()["stopping"]
    assert busy.result().status_code == 200
    assert server.wait_for_exit(DRAIN_S) == 0


def test_new_requests_are_told_to_leave(server):
    """For a moment requests are still taken, so that whoever sends them here learns of the end from an answer."""
    busy = server.keep_busy()
    session = requests.Session()
    assert session.get(server.url + "/livez").headers.get("Connection") != "close"
    tell(server, "route")
    with contextlib.suppress(requests.ConnectionError):
        answer = session.get(server.url + "/livez", timeout=30)
        assert answer.status_code == 200 and answer.headers["Connection"] == "close"
    assert busy.result().status_code == 200 and server.wait_for_exit(DRAIN_S) == 0


def test_an_idle_server_ends_at_once_whoever_is_connected(server):
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as idle:
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in idle.recv(1000)
        start = time.monotonic()
        tell(server, "SIGTERM")
        assert server.wait_for_exit(DRAIN_S) == 0
        # Half of the longest that it would wait for a request.
        assert time.monotonic() - start < 15


def test_a_client_that_does_not_finish_does_not_keep_it(server):
    """Its request is begun, and never sent to the end."""
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as slow:
        slow.sendall(b"POST /inference_image HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        time.sleep(0.2)
        tell(server, "SIGTERM")
        assert server.wait_for_exit(DRAIN_S) == 0


def test_told_twice_it_does_not_wait(server):
    busy = server.keep_busy(prompts=1000)
    tell(server, "SIGTERM")
    wait_until_heard(server)
    tell(server, "SIGTERM")
    assert server.wait_for_exit(DRAIN_S) != 0
    assert busy.exception() is not None


@pytest.mark.parametrize("how", ["SIGTERM", "route"])
def test_a_download_does_not_keep_it(app, hub, how):
    hub.add(repository(BASE), files())
    hold = hub.fail(Fault("hold", "*.safetensors", parts=("cdn",), methods=("GET",), after=1000))
    server = app("--model", BASE, hub=hub).start()
    assert hold.held.wait(60)
    waiting, = at_once(lambda: server.deploy(BASE))
    # Its arrival shows nowhere.
    time.sleep(0.5)
    tell(server, how)
    assert server.wait_for_exit(DRAIN_S) == 0
    with contextlib.suppress(requests.ConnectionError):
        assert waiting.result().status_code >= 400


def test_nothing_is_loaded_for_the_end(server):
    """Models are not changed any more once the end has begun."""
    place(server.cache, LARGE)
    busy = server.keep_busy()
    tell(server, "route")
    with contextlib.suppress(requests.ConnectionError):
        assert server.deploy(LARGE).status_code == 503
        assert server.serve(LARGE).status_code == 503
    assert busy.result().status_code == 200 and server.wait_for_exit(DRAIN_S) == 0


def test_a_hanging_platform_does_not_keep_it(app, platform):
    platform.hold_requests("tasks.data.get")
    platform.hold_requests("tasks.data.set")
    server = app(platform=platform, AUTOSTART="true")
    place(server.cache, LARGE)
    server.start().wait_until_ready()
    tell(server, "SIGTERM")
    assert server.wait_for_exit(DRAIN_S) == 0


def test_a_server_that_was_killed_while_it_loaded_loads(app):
    """A file that does not come keeps the load where it is."""
    server = app("--model", BASE)
    folder = place(server.cache, BASE)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    # Sparse, and larger than what can be read in the moment until the kill.
    with open(weights, "r+b") as stream:
        stream.truncate(1 << 30)
    server.start()
    server.kill()
    weights.write_bytes(content)
    server.start().wait_until_ready()
    assert server.answers()


def test_killed_again_and_again(app, platform):
    server = app(platform=platform, AUTOSTART="true")
    place(server.cache, LARGE)
    for _ in range(4):
        server.start()
        assert server.get("/livez").status_code == 200
        server.kill()
    server.start().wait_until_ready()
    with open(PICTURE, "rb") as picture:
        sending, = at_once(lambda: requests.post(server.url + "/inference_image", files={"files": picture}, timeout=60))
        server.kill()
        with contextlib.suppress(requests.ConnectionError):
            sending.result()
    server.start().wait_until_ready()
    assert server.answers()


def test_a_port_that_is_taken_is_said_in_the_platforms_words(app):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [binary(), "serve", "--model", "demo", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, env=app(production=True).environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    *_, title, message = (json.loads(line)["message"] for line in done.stderr.splitlines() if line.startswith("{"))
    # What the platform shows is what stands behind the last colon.
    assert title.split(":")[0].endswith("Error title") and len(title.split(":")[-1]) > 5
    assert message.split(":")[0].endswith("Error message") and "port" in message.split(":")[-1]
    # People read one line.
    assert done.stderr.splitlines()[-1].startswith("error: cannot listen on 127.0.0.1:")
