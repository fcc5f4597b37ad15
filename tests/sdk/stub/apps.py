"""The part of the platform that finds, starts and stops apps: modules, agents and tasks."""
from .data import STAMP, ApiError

MODULE = 42
AGENT = 7


class Apps:
    """`launcher`, given a task's number and what it is to be started with, starts it and returns its address; `stopper` ends it."""

    def __init__(self):
        self.launcher = self.stopper = None
        self.modules = [
            {"id": MODULE, "name": "Serve Florence-2", "slug": "test/serve-florence-2",
             "config": {"categories": ["neural network", "images", "object detection", "serve", "framework:Florence-2"]}},
            {"id": MODULE + 1, "name": "Serve Something", "slug": "test/serve-something",
             "config": {"categories": ["serve", "framework:Something"]}},
        ]
        self.agents = [{
            "id": AGENT, "name": "node", "token": "", "status": "running", "userId": 1, "teamId": 4, "capabilities": {},
            "createdAt": STAMP, "updatedAt": STAMP, "isPublic": False, "type": "sly_agent", "disabled": False, "version": "6.9.1",
            "gpuInfo": {"is_available": True, "device_memory": [{"available": 16 << 30, "total": 24 << 30}]},
        }]
        # What tasks were started with, by number.
        self.started = {}

    def call(self, stub, method, body):
        """The answer to one of its methods, None to any other."""
        if method == "ecosystem.list":
            return stub.page(body, [module for module in self.modules if fits(module, body)])
        if method == "agents.available":
            return self.agents
        if method == "tasks.run.app":
            return self.run(stub, body)
        if method == "tasks.list":
            return stub.page({}, [self.task(stub, number) for number in self.started])
        if method == "tasks.stop":
            self.stopper(int(body["id"]))
            stub.tasks.pop(int(body["id"]), None)
            self.started.pop(int(body["id"]), None)
            return {"id": body["id"], "status": "stopped"}
        return None

    def run(self, stub, body):
        if self.launcher is None or all(module["id"] != body.get("moduleId") for module in self.modules):
            raise ApiError(400, "the app cannot be started")
        number = stub.db.new_id()
        self.started[number] = body
        stub.db.task_parameters[number] = body.get("params") or {}
        # It is not there yet: the caller has to ask until it is.
        stub.tasks[number] = self.launcher(number, body)
        return [{"taskId": number, "status": "queued"}]

    def task(self, stub, number):
        return {"id": number, "type": "app", "status": "started", "workspaceId": 10, "description": "",
                "meta": {"sessionToken": f"task-{number}", "params": stub.db.task_parameters.get(number) or {},
                         "app": {"id": 1, "moduleId": self.started[number]["moduleId"], "name": "Serve Florence-2"}}}


def fits(module, body):
    wanted, has = body.get("categories"), module["config"]["categories"]
    if wanted is None:
        return body.get("search", "").lower() in module["name"].lower()
    found = [category in has for category in wanted]
    return all(found) if body.get("categoriesOperation") == "and" else any(found)
