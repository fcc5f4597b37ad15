"""`api.nn.deploy`: the SDK finds the app, has the platform start it, waits for it, and has it load a model."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from supervisely.nn.model.model_api import ModelAPI

from clients import OD, SCENES, api
from conftest import ROOT, TARGET, free_port
from stub.apps import AGENT, MODULE

CHECKPOINT = ROOT / "tests" / "fixtures" / "golden" / "tiny_a" / "original"
FILES = ("config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors")
WORKSPACE = 10
# What the platform's agent executes.
ENTRY_POINT = "exec {binary} serve --host 127.0.0.1 --port {port}"


class Node:
    """The platform's agent on a machine without a network: starts a task as a child of a shell, and stops it without a word."""

    def __init__(self, platform, *models):
        self.platform, self.children = platform, {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="serve-node-"))
        for model in models:
            place = self.folder / "apps_cache" / model
            place.mkdir(parents=True)
            for file in FILES:
                shutil.copy(CHECKPOINT / file, place)

    def start(self, task, body):
        port = free_port()
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder / "root"), "LANG": "C.UTF-8", "ENV": "production",
            "APP_MODE": "production", "TASK_ID": str(task), "SUPERVISELY_TASK_ID": str(task), "APP_NAME": "Serve Florence-2",
            "SERVER_ADDRESS": self.platform.url + "/", "API_TOKEN": self.platform.token, "CONTEXT": "{}",
            "MODAL_STATE": json.dumps(body["params"]["state"]), "APPS_CACHE_DIR": str(self.folder / "apps_cache"),
            "LOG_LEVEL": "info", "LOGLEVEL": "info", "HF_ENDPOINT": "http://127.0.0.1:9", "HTTP_PROXY": "", "HTTPS_PROXY": "",
            "http_proxy": "", "https_proxy": "", "NO_PROXY": "", "no_proxy": "", "TEAM_ID": "4", "WORKSPACE_ID": str(WORKSPACE),
        }
        log = open(self.folder / f"{task}.log", "wb")
        entry_point = ENTRY_POINT.format(binary=TARGET / "serve-florence-2", port=port)
        self.children[task] = subprocess.Popen(["bash", "-c", f"cd {self.folder} && {entry_point}"], env=environment, stdout=log,
                                               stderr=log)
        return f"http://127.0.0.1:{port}"

    def log(self, task):
        return [json.loads(line) for line in (self.folder / f"{task}.log").read_text().splitlines()]

    def stop(self, task):
        child = self.children.pop(task, None)
        if child:
            child.kill()
            child.wait()

    def end(self):
        for task in list(self.children):
            self.stop(task)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def node(platform, monkeypatch):
    platform.reset()
    # The SDK makes clients of its own on the way.
    monkeypatch.setenv("SERVER_ADDRESS", platform.url)
    monkeypatch.setenv("API_TOKEN", platform.token)
    node = Node(platform, "Florence-2-base", "Florence-2-large")
    platform.stub.apps.launcher, platform.stub.apps.stopper = node.start, node.stop
    yield node
    node.end()


def calls(platform, method):
    return [call["body"] for call in platform.calls() if call["method"] == method]


def test_a_model_by_its_name(platform, node):
    client = api(platform)
    model = client.nn.deploy("Florence-2/florence-2-BASE", workspace_id=WORKSPACE)
    assert isinstance(model, ModelAPI)

    # What was asked of the platform, in this order.
    methods = [call["method"] for call in platform.calls()]
    steps = ["agents.available", "file-storage.list", "ecosystem.list", "tasks.run.app", "tasks.request.direct", "tasks.info"]
    assert [methods.index(step) for step in steps] == sorted(methods.index(step) for step in steps), methods
    start, = calls(platform, "tasks.run.app")
    assert (start["agentId"], start["moduleId"], start["workspaceId"]) == (AGENT, MODULE, WORKSPACE)
    assert start["params"] == {"state": {}} and start["restartPolicy"] == "never"
    commands = [request["command"] for request in calls(platform, "tasks.request.direct")]
    assert set(commands[:-1]) == {"is_running"} and commands[-1] == "deploy_from_api"

    # The model that was returned is of use.
    assert model.is_deployed() and model.get_info()["model_name"] == "Florence-2-base"
    assert model.url == f"{platform.url}/net/task-{model.task_id}"
    prediction, = model.predict(image_id=SCENES[0], max_new_tokens=8, **OD)
    assert prediction.image_id == SCENES[0]
    assert model.status()["is_deployed"] and "Florence-2-large" in model.list_pretrained_models()
    # The platform knows what to bring back after a failure.
    node_record = platform.stub.db.task_fields[model.task_id]["autoRestartInfo"]["deployParams"]
    assert node_record["model_info"]["meta"]["model_name"] == "Florence-2-base"

    # Others find it, change its model, and stop it.
    listed, = client.nn.list_deployed_models(framework="Florence-2", workspace_id=WORKSPACE)
    assert listed["task_info"]["id"] == model.task_id and listed["model_info"]["model_name"] == "Florence-2-base"
    assert len(client.nn.list_deployed_models(model="Florence-2-base", framework="Florence-2", workspace_id=WORKSPACE)) == 1
    connected = client.nn.connect(model.task_id)
    connected.load("Florence-2-large")
    assert model.get_info()["model_name"] == "Florence-2-large"
    client.task.stop(model.task_id)
    assert client.nn.list_deployed_models(framework="Florence-2", workspace_id=WORKSPACE) == []


@pytest.mark.parametrize("device, runtime", [("cpu", "torch"), (None, "PyTorch")])
def test_device_and_runtime_are_heard(platform, node, device, runtime):
    model = api(platform).nn.deploy("Florence-2/Florence-2-base", device=device, runtime=runtime, workspace_id=WORKSPACE)
    assert (model.get_info()["device"], model.get_info()["runtime"]) == ("cpu", "PyTorch")


def test_a_deployment_goes_before_autostart(platform, node):
    """As when the launch dialog's defaults count for starts through the API: the default model is on its way already."""
    model = api(platform).nn.deploy("Florence-2/Florence-2-base", workspace_id=WORKSPACE, params={"state": {"autostart": True}})
    assert model.get_info()["model_name"] == "Florence-2-base"
    assert model.predict(image_id=SCENES[0], max_new_tokens=8, **OD)[0].image_id == SCENES[0]
    assert model.get_info()["model_name"] == "Florence-2-base"


@pytest.mark.parametrize("name, runtime, words", [
    ("Florence-2/Florence-2-none", None, "not found in models.json"), ("Florence-2/Florence-2-base", "TensorRT", "TensorRT"),
    # Its weights are nowhere, and there is no network.
    ("Florence-2/Florence-2-large-ft", None, "Florence-2-large-ft")])
def test_what_cannot_be_deployed_is_said_at_once(platform, node, name, runtime, words):
    with pytest.raises(Exception) as error:
        api(platform).nn.deploy(name, runtime=runtime, workspace_id=WORKSPACE)
    assert words in error.value.response.text
    task, = platform.stub.apps.started
    asked = [request["command"] for request in calls(platform, "tasks.request.direct")]
    # The client does not ask again what it was refused for good.
    assert asked.count("deploy_from_api") == 1
    # The app is still there, and another model can be had.
    ModelAPI(api(platform), task_id=task).load("Florence-2-base")
    assert ModelAPI(api(platform), task_id=task).get_info()["model_name"] == "Florence-2-base"


def test_its_log_is_for_the_platform(platform, node):
    model = api(platform).nn.deploy("Florence-2/Florence-2-base", workspace_id=WORKSPACE)
    subtasks = [record["subtask"] for record in node.log(model.task_id) if record.get("event_type") == "EventType.PROGRESS"]
    assert subtasks[0] == "Deploying model ..." and subtasks[-1] == "Model deployed"
    assert not any(platform.token in line for line in (node.folder / f"{model.task_id}.log").read_text().splitlines())
