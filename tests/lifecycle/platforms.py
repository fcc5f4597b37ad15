"""Platforms that run an app: a good one, and several that are none."""
import contextlib
import socket
import threading

from settings import TASK
from stub.server import DEFAULT_TOKEN, start_in_thread


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Platform:
    """The stub, as the life cycle sees it."""

    def __init__(self):
        self.port = free_port()
        self.url, self.token = f"http://127.0.0.1:{self.port}", DEFAULT_TOKEN
        self.stub = start_in_thread(self.port)

    def reset(self):
        self.stub.log.clear()
        self.stub.faults.clear()
        self.release()
        self.stub.held_requests.clear()
        self.stub.held_answers.clear()
        self.stub.db.task_fields.clear()
        self.stub.db.task_parameters.clear()
        self.stub.tasks[TASK] = "http://127.0.0.1:9"

    def record(self, parameters):
        """What a run before this one left behind."""
        self.stub.db.task_fields[TASK] = {"autoRestartInfo": {"deployParams": parameters}}

    def recorded(self):
        """What the next run will find."""
        return (self.stub.db.task_fields.get(TASK, {}).get("autoRestartInfo") or {}).get("deployParams")

    def started_with(self, parameters):
        """What the task was started with through the platform's API."""
        self.stub.db.task_parameters[TASK] = parameters

    def calls(self, method):
        return [call for call in list(self.stub.log) if call["method"] == method]

    def hold_answers(self, method):
        """From now on what it says to this is on its way until `release`."""
        self.stub.held_answers[method] = threading.Event()

    def hold_requests(self, method):
        """From now on it hears this at `release`."""
        self.stub.held_requests[method] = threading.Event()

    def release(self):
        for event in [*self.stub.held_requests.values(), *self.stub.held_answers.values()]:
            event.set()


def record_of(name, **changes):
    """A deployment as the original records it."""
    return {"model_files": {"checkpoint": f"microsoft/{name}"}, "model_source": "Pretrained models",
            "model_info": {"Model": name, "meta": {"task_type": "prompt-based object detection", "model_name": name,
                                                   "model_files": {"checkpoint": f"microsoft/{name}"}}},
            "device": "cpu", "runtime": "PyTorch", **changes}


class BadPlatform:
    """Accepts connections, and answers each request with `answer`; without one it never says a word."""

    def __init__(self, answer=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url, self.token = "http://127.0.0.1:%d" % self.listener.getsockname()[1], DEFAULT_TOKEN
        self.answer, self.connections, self.count = answer, [], 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.count += 1
                self.connections.append(connection)
                if self.answer is not None:
                    threading.Thread(target=self.respond, args=(connection,), daemon=True).start()

    def respond(self, connection):
        with contextlib.suppress(OSError), connection:
            connection.recv(1 << 16)
            connection.sendall(self.answer)

    def close(self):
        for connection in [self.listener, *self.connections]:
            with contextlib.suppress(OSError):
                connection.close()


class DeadPlatform:
    """Refuses connections."""

    def __init__(self):
        self.url, self.token = f"http://127.0.0.1:{free_port()}", DEFAULT_TOKEN

    def close(self):
        pass


def answer(status, body, kind="application/json"):
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()


BAD_PLATFORMS = {
    "dead": DeadPlatform,
    "hanging": BadPlatform,
    "failing": lambda: BadPlatform(answer(500, '{"error": "no"}')),
    "busy": lambda: BadPlatform(answer(429, '{"error": "later"}')),
    "refusing": lambda: BadPlatform(answer(403, '{"error": "access denied"}')),
    "talking of something else": lambda: BadPlatform(answer(200, "<html>welcome</html>", "text/html")),
    "answering nonsense": lambda: BadPlatform(answer(200, '{"result": {"autoRestartInfo": 5}, "meta": []}')),
    "not speaking HTTP": lambda: BadPlatform(b"\x00\x01\x02 220 mail.test ESMTP\r\n"),
}
