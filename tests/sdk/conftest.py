"""Servers under test and the platform that they talk to, all on loopback, all ended with the tests."""
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time

import pytest
import requests

from stub.media import encode, make_image
from stub.server import DEFAULT_TOKEN, start_in_thread

ROOT = pathlib.Path(__file__).parent.parent.parent
# Where the server and the example with the fake model lie.
TARGET = pathlib.Path(os.environ.get("SERVE_BINARIES", ROOT / "target" / "debug"))
START_PATIENCE_S = 30


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Platform:
    """The stub, as tests see it."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = DEFAULT_TOKEN
        self.stub = start_in_thread(self.port)
        self.next_project = 5000

    def reset(self):
        tasks = dict(self.stub.tasks)
        self.stub.reset()
        self.stub.tasks.update(tasks)

    def settle(self, quiet_s=0.3):
        """Waits until nobody has called for a while: some calls go on after the answer."""
        seen = -1
        while seen != len(self.stub.log):
            seen = len(self.stub.log)
            time.sleep(quiet_s)

    def calls(self):
        return list(self.stub.log)

    def annotations(self):
        return {str(image): annotation for image, annotation in self.stub.db.annotations.items()}

    def media(self, name):
        if name == "clip.avi":
            return self.stub.db.blobs["video-500"]
        image = next(image for image in self.stub.db.images.values() if image["name"] == name)
        return self.stub.db.blobs[image["hash"]]

    def add_empty_project(self):
        self.next_project += 1
        self.stub.db.add_project(self.next_project, f"project {self.next_project}")
        return self.next_project

    def add_project(self, count):
        """A project of that many small pictures."""
        project = self.add_empty_project()
        dataset = 100_000 + project
        self.stub.db.add_dataset(dataset, project, "pictures")
        for number in range(count):
            content = encode(make_image(160, 120, number), "JPEG")
            self.stub.db.add_image(project * 1000 + number, dataset, f"{number:04}.jpg", content, "image/jpeg", 160, 120)
        return project

    def misbehave(self, share, seed):
        self.stub.chance = random.Random(seed)
        self.stub.fail_share = share

    def images(self, project):
        return [image for image in self.stub.db.images.values() if image["projectId"] == project]

    def names(self, project):
        return [image["name"] for image in self.images(project)]

    def copies(self, project):
        names = self.names(project)
        return {name: names.count(name) for name in names}

    def annotations_of(self, project):
        return [self.stub.db.annotations[image["id"]] for image in self.images(project)]


class Server:
    """A server under test."""

    def __init__(self, command, platform, task):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.address = ("127.0.0.1", self.port)
        self.temp_folder = tempfile.mkdtemp(prefix="serve-test-")
        environment = dict(os.environ, SERVER_ADDRESS=platform.url, API_TOKEN=platform.token, TASK_ID=str(task),
                           ENV="production", APP_NAME="Serve Florence-2", SUPERVISELY_PUBLIC_API_RETRY_SLEEP_SEC="0.02",
                           TMPDIR=self.temp_folder, LOG_LEVEL="warn")
        self.process = subprocess.Popen([*command, "--port", str(self.port)], env=environment)
        platform.stub.tasks[task] = self.url
        self.memory_at_start = 0

    def wait_until(self, path):
        end = time.monotonic() + START_PATIENCE_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if requests.get(self.url + path, timeout=5).status_code == 200:
                    self.memory_at_start = self.memory()
                    return self
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        raise RuntimeError("the server did not start")

    def memory(self):
        """Resident bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024

    def metric(self, name):
        lines = requests.get(self.url + "/metrics", timeout=5).text.splitlines()
        return float(next(line for line in lines if line.startswith(name + " ")).split()[1])

    def check(self):
        """It still answers."""
        assert self.process.poll() is None
        assert requests.post(self.url + "/get_session_info", json={}, timeout=5).status_code == 200

    def post(self, path, state, **further):
        return requests.post(self.url + path, json={"state": state, "context": {}, **further}, timeout=120)

    def wait(self, uuid, patience_s):
        """The status of a run once it has ended."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            status = self.post("/get_inference_progress", {"inference_request_uuid": uuid}).json()
            if status["finished"]:
                return status
            time.sleep(0.05)
        raise TimeoutError(status)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.temp_folder, ignore_errors=True)


@pytest.fixture(scope="session")
def platform():
    return Platform()


def serve(command, platform, task, path):
    server = Server(command, platform, task)
    try:
        yield server.wait_until(path)
    finally:
        server.end()


@pytest.fixture(scope="session")
def fake_server(platform):
    command = [TARGET / "examples" / "fake_session", "--allow-fetch", f"127.0.0.1:{platform.port}"]
    yield from serve(command, platform, 777, "/readyz")


@pytest.fixture(scope="session")
def undeployed_server(platform):
    yield from serve([TARGET / "examples" / "fake_session", "--undeployed"], platform, 778, "/livez")


@pytest.fixture(scope="session")
def demo_server(platform):
    command = [TARGET / "serve-florence-2", "serve", "--model", "demo", "--device", "cpu"]
    yield from serve(command, platform, 779, "/readyz")
