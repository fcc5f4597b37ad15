"""The program under test: one process with an environment of its own, its log, and what clients ask it."""
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import requests

from settings import PATIENCE_S, ROOT, TASK, binary

PICTURE = ROOT / "tests" / "fixtures" / "scenes" / "scene_00.png"
LISTENING = "listening on http://"
# Nobody listens there.
NOWHERE = "http://127.0.0.1:9"


class App:
    """A `serve` that was started in a folder of its own: home, hub cache and the platform's cache lie below it."""

    def __init__(self, folder, *words, hub=None, platform=None, production=None, **variables):
        self.folder = pathlib.Path(folder)
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "APPS_CACHE_DIR": str(self.cache),
            "HF_HOME": str(self.folder / "hub"), "HF_ENDPOINT": hub.endpoint if hub else NOWHERE, "LOG_LEVEL": "debug",
            "LANG": "C.UTF-8",
        }
        if platform:
            self.environment.update(SERVER_ADDRESS=platform.url, API_TOKEN=platform.token, TASK_ID=str(TASK),
                                    SUPERVISELY_TASK_ID=str(TASK), SUPERVISELY_PUBLIC_API_RETRY_SLEEP_SEC="0.02")
        if platform if production is None else production:
            self.environment["ENV"] = "production"
        # Names with dots are no keywords, so they are written with two underscores.
        self.environment.update({name.replace("__", "."): value for name, value in variables.items() if value is not None})
        self.words, self.lines, self.process, self.url = words, [], None, None

    @property
    def cache(self):
        return self.folder / "cache"

    # --- its life

    def start(self):
        """Starts the process, again if it ended, and waits until it listens."""
        command = [binary(), "serve", *map(str, self.words), "--device", "cpu", "--port", "0", "--threads", "2"]
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.url, self.first_line = None, len(self.lines)
        self.reader = threading.Thread(target=self.read_log, args=(self.process.stderr,), daemon=True)
        self.reader.start()
        self.wait_for(lambda: self.url or self.process.poll() is not None, "it listens")
        assert self.url, f"the process ended with {self.process.returncode}: {self.tail()}"
        return self

    def read_log(self, stream):
        for line in stream:
            self.lines.append(line.rstrip("\n"))
            if LISTENING in line:
                self.url = "http://" + line.split(LISTENING)[1].split('"')[0].strip()

    def kill(self):
        """As the platform's agent ends a task."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.reader.join()

    def wait_for_exit(self, patience_s=60):
        status = self.process.wait(patience_s)
        self.reader.join()
        return status

    def close(self):
        """Ends it whatever it does; what it said has to be fit for the platform and keep its secrets."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("it did not end when it was told to") from None
            self.reader.join()
        for line in self.lines:
            record = json.loads(line)
            assert isinstance(record["message"], str) and isinstance(record["level"], str), line
            assert "stub" + "0" * 100 not in line, "the platform's token is in the log"

    # --- what it says

    def tail(self, count=15):
        """The end of the log, without what the tests' own requests put there."""
        return "\n".join([line for line in self.lines if "responseTime" not in line][-count:])

    def records(self):
        """The log of this run."""
        return [json.loads(line) for line in self.lines[self.first_line:]]

    def progress(self, subtask):
        """How often the platform was shown the beginning of this."""
        return sum(record.get("subtask") == subtask and record.get("current") == 0 for record in self.records())

    def wait_for(self, condition, what, patience_s=PATIENCE_S):
        end = time.monotonic() + patience_s
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, f"waited in vain until {what}; the log ends with\n{self.tail()}"
            time.sleep(0.03)

    # --- what clients ask

    def get(self, path, **further):
        return requests.get(self.url + path, timeout=PATIENCE_S, **further)

    def post(self, path, body=None, **further):
        return requests.post(self.url + path, json={} if body is None else body, timeout=PATIENCE_S, **further)

    def status(self):
        answer = self.get("/api/status")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def model(self):
        """Name of the model that is served, and why it is."""
        model = self.status()["model"]
        return model and (model["name"], model["cause"])

    def is_ready(self):
        return self.get("/readyz").status_code == 200

    def wait_until_ready(self):
        def is_settled():
            status = self.status()
            return self.is_ready() or (status["failure"] and not status["loading"])
        self.wait_for(is_settled, "a model is served")
        assert self.is_ready(), self.tail()
        return self

    def wait_until_served(self, name, cause=None):
        """Until this model is served and nothing else is about to be."""
        def is_served():
            status = self.status()
            model = status["model"]
            return model and model["name"] == name and cause in (None, model["cause"]) and not status["loading"]
        self.wait_for(is_served, f"{name} is served ({cause})")

    def wait_until_loading(self, name):
        def is_loading():
            loading = self.status()["loading"]
            return loading and loading["model_name"] == name
        self.wait_for(is_loading, f"{name} is loading")

    def wait_until_failed(self):
        return self.wait_for(lambda: self.status()["failure"], "a load has failed")

    def stays_empty(self, quiet_s=0.5):
        """Nothing is served and nothing loads, now and a little later."""
        for _ in range(2):
            status = self.status()
            if status["model"] or status["loading"]:
                return False
            time.sleep(quiet_s)
        return True

    def infer(self, **settings):
        """One picture, as an upload."""
        with open(PICTURE, "rb") as picture:
            form = {"settings": json.dumps({"settings": {"task_prompt": "<OD>", "max_new_tokens": 8, **settings}})}
            return requests.post(self.url + "/inference_image", files={"files": picture}, data=form, timeout=120)

    def infer_long(self, prompts=48, tokens=200):
        """One picture with many questions, which keep the model busy for seconds."""
        with open(PICTURE, "rb") as picture:
            mapping = {str(number): f"a red circle, number {number}" for number in range(prompts)}
            form = {"settings": json.dumps({"settings": {"mapping": mapping, "max_new_tokens": tokens}})}
            return requests.post(self.url + "/inference_image", files={"files": picture}, data=form, timeout=120)

    def keep_busy(self, **further):
        """Sends it, and gives its answer's future once the model is at it."""
        answer, = at_once(lambda: self.infer_long(**further))
        self.wait_for(lambda: answer.done() or self.status()["requests"]["held"] > 0, "the model is busy")
        assert not answer.done(), answer.result().text
        return answer

    def answers(self):
        answer = self.infer()
        assert answer.status_code == 200 and "annotation" in answer.json(), answer.text
        return True

    def deploy(self, name, **parameters):
        parameters = {"model_source": "Pretrained models", "device": None, "runtime": None, **parameters}
        return self.post("/deploy_from_api", {"state": {"model_name": name, "deploy_params": parameters}})

    def serve(self, name, **order):
        """As the page does."""
        return self.post("/api/serve", {"model": name, "device": "auto", "precision": "auto", "update": False, **order})


def at_once(*works):
    """Runs these side by side; gives what they return."""
    pool = concurrent.futures.ThreadPoolExecutor(len(works))
    return [pool.submit(work) for work in works]


def message_of(answer):
    """What an error says to a person: one readable line, in one of the shapes that clients look for."""
    body = answer.json()
    detail = body["detail"]
    if not isinstance(detail, str):
        assert detail["title"], body
        detail = detail["message"]
    assert body["message"] == detail and body["success"] is False, body
    return readable(detail)


def readable(message):
    """A sentence for people, and no piece of a program."""
    assert 10 <= len(message) <= 600 and "\n" not in message, message
    assert not any(sign in message for sign in ("Os {", "Some(", "Error(", "::", "panicked", "\\n")), message
    return message
