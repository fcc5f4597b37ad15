"""A small in-memory stand-in for the Supervisely platform.

It serves the REST calls that a model-serving app makes, and those that the SDK's clients make to find and call such an
app. Everything is deterministic and listens on loopback only.
"""
import copy
import json
import random
import threading
import time
import uuid
from typing import Any, Dict, List, Optional

import requests
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from .apps import Apps
from .data import STAMP, ApiError, Db
from .media import encode
from .shapes import add_shapes

DEFAULT_TOKEN = "stub" + "0" * 124
# Longest that an answer is held back.
HOLD_S = 60
# How a platform that misbehaves fails: before it does anything, or after, when only the answer is lost.
FAILURES = ("500", "429", "slow", "garbage", "500 after", "garbage after")


class Stub:
    def __init__(self, token: str = DEFAULT_TOKEN, tasks: Optional[Dict[int, str]] = None,
                 check_token: bool = True, page_size: int = 500):
        self.token = token
        self.check_token = check_token
        self.page_size = page_size
        self.tasks: Dict[int, str] = dict(tasks or {})
        self.lock = threading.RLock()
        self.fail_share, self.chance = 0.0, random.Random(0)
        self.reset()
        self.app = FastAPI()
        self._routes()

    def reset(self):
        with self.lock:
            self.db = Db()
            self.apps = Apps()
            add_shapes(self.db)
            self.log: List[dict] = []
            self.faults: List[dict] = []
            self.delays: Dict[str, float] = {}
            # Methods whose request, or whose answer, stands still until the event.
            self.held_requests: Dict[str, threading.Event] = {}
            self.held_answers: Dict[str, threading.Event] = {}

    # --- small parts

    def page(self, body: dict, items: List[dict]) -> dict:
        for f in body.get("filter") or []:
            field, op, value = f["field"], f["operator"], f["value"]
            if op == "in":
                items = [i for i in items if i.get(field) in value]
            elif op == "=":
                items = [i for i in items if i.get(field) == value]
        if body.get("sort") == "name":
            items = sorted(items, key=lambda i: i["name"])
        else:
            items = sorted(items, key=lambda i: i["id"])
        per = int(body.get("per_page") or body.get("perPage") or self.page_size)
        page = int(body.get("page") or 1)
        return {
            "total": len(items), "perPage": per, "pagesCount": max(1, -(-len(items) // per)),
            "entities": items[(page - 1) * per: page * per],
        }

    def need(self, table: Dict[int, dict], id_: Any, what: str) -> dict:
        try:
            return table[int(id_)]
        except (KeyError, TypeError, ValueError):
            raise ApiError(404, "%s with id %r is not found" % (what, id_))

    @staticmethod
    def multipart(parts: List[tuple]) -> Response:
        boundary = "stub-" + uuid.uuid4().hex
        out = b""
        for name, filename, mime, data in parts:
            out += (
                '--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n'
                "Content-Type: %s\r\n\r\n" % (boundary, name, filename, mime)
            ).encode() + data + b"\r\n"
        out += ("--%s--\r\n" % boundary).encode()
        return Response(out, media_type="multipart/form-data; boundary=%s" % boundary)

    # --- the API methods: name -> function(body) -> JSON-able or Response

    def call(self, method: str, b: dict):
        db = self.db
        if method == "instance.version":
            return {"version": "6.99.0"}
        if method == "images.info":
            return self.need(db.images, b.get("id"), "image")
        if method == "images.list":
            items = list(db.images.values())
            if b.get("datasetId") is not None:
                self.need(db.datasets, b["datasetId"], "dataset")
                items = [i for i in items if i["datasetId"] == b["datasetId"]]
            if b.get("projectId") is not None:
                items = [i for i in items if i["projectId"] == b["projectId"]]
            return self.page(b, items)
        if method == "images.download":
            image = self.need(db.images, b.get("id"), "image")
            return Response(db.blobs[image["hash"]], media_type=image["mime"])
        if method == "images.bulk.download":
            parts = []
            for id_ in b["imageIds"]:
                image = self.need(db.images, id_, "image")
                if image["datasetId"] != b.get("datasetId"):
                    raise ApiError(400, "image %s is not in dataset %s" % (id_, b.get("datasetId")))
                parts.append((str(id_), image["name"], image["mime"], db.blobs[image["hash"]]))
            return self.multipart(parts)
        if method == "images.bulk.download-by-hash":
            return self.multipart([(h, h, "image/png", db.blobs[h]) for h in b["hashes"]])
        if method == "images.bulk.add":
            ds = self.need(db.datasets, b.get("datasetId"), "dataset")
            out, names = [], {i["name"] for i in db.images.values() if i["datasetId"] == ds["id"]}
            for item in b["images"]:
                if item["title"] in names:
                    raise ApiError(400, "image name is not unique",
                                   [{"type": "NONUNIQUE", "errors": [{"name": item["title"]}]}])
                if "imageId" in item:
                    src = self.need(db.images, item["imageId"], "image")
                else:
                    src = next((i for i in db.images.values() if i["hash"] == item.get("hash")), None)
                    if src is None:
                        raise ApiError(400, "unknown image source")
                out.append(db.add_image(db.new_id(), ds["id"], item["title"], db.blobs[src["hash"]],
                                        src["mime"], src["width"], src["height"], item.get("meta")))
                names.add(item["title"])
            return out
        if method == "datasets.info":
            return db.dataset_view(self.need(db.datasets, b.get("id"), "dataset")["id"])
        if method == "datasets.list":
            items = [db.dataset_view(d["id"]) for d in db.datasets.values()]
            if b.get("projectId") is not None:
                self.need(db.projects, b["projectId"], "project")
                items = [d for d in items if d["projectId"] == b["projectId"]]
            if not b.get("recursive", False) and not b.get("filter"):
                items = [d for d in items if d["parentId"] == b.get("parentId")]
            return self.page(b, items)
        if method == "datasets.add":
            self.need(db.projects, b.get("projectId"), "project")
            d = db.add_dataset(db.new_id(), b["projectId"], b["name"], b.get("parentId"),
                               b.get("description"))
            return db.dataset_view(d["id"])
        if method == "projects.info":
            return db.project_view(self.need(db.projects, b.get("id"), "project")["id"])
        if method == "projects.list":
            return self.page(b, [db.project_view(p) for p in db.projects])
        if method == "projects.add":
            p = db.add_project(db.new_id(), b["name"], b.get("type") or "images",
                               b.get("description") or "")
            return db.project_view(p["id"])
        if method == "projects.meta":
            return self.need(db.projects, b.get("id"), "project")["_meta"]
        if method == "projects.meta.update":
            self.need(db.projects, b.get("id"), "project")
            return db.store_meta(b["id"], b["meta"])
        if method == "advanced.object_classes.list":
            classes = self.need(db.projects, b.get("projectId"), "project")["_meta"]["classes"]
            return self.page(b, [{**c, "name": c["title"], "settings": {}, "createdAt": STAMP, "updatedAt": STAMP}
                                 for c in classes])
        if method == "tags.list":
            tags = self.need(db.projects, b.get("projectId"), "project")["_meta"]["tags"]
            return self.page(b, [{**t, "settings": {"type": t.get("value_type")}, "createdAt": STAMP,
                                  "updatedAt": STAMP} for t in tags])
        if method == "projects.settings.update":
            return {"success": True, "settings": b.get("settings", {})}
        if method == "annotations.info":
            image = self.need(db.images, b.get("imageId"), "image")
            return self.ann_view(image)
        if method == "annotations.bulk.info":
            return [self.ann_view(self.need(db.images, i, "image")) for i in b["imageIds"]]
        if method == "annotations.bulk.add":
            for item in b["annotations"]:
                self.need(db.images, item["imageId"], "image")
                db.store_annotation(item["imageId"], item["annotation"])
            return {"success": True}
        if method == "videos.info":
            return self.need(db.videos, b.get("id"), "video")
        if method == "videos.list":
            items = [v for v in db.videos.values()
                     if b.get("datasetId") in (None, v["datasetId"])]
            return self.page(b, items)
        if method == "videos.download":
            video = self.need(db.videos, b.get("id"), "video")
            return Response(db.blobs[video["hash"]], media_type="video/x-msvideo")
        if method == "videos.download-frame":
            self.need(db.videos, b.get("videoId"), "video")
            return Response(self.frame(b["videoId"], b["frame"]), media_type="image/png")
        if method == "videos.bulk.download-frame":
            self.need(db.videos, b.get("videoId"), "video")
            return self.multipart([(str(f), "%s.png" % f, "image/png", self.frame(b["videoId"], f))
                                   for f in b["frames"]])
        if method == "videos.notify-annotation-tool":
            db.notifications.append(b)
            return {"stopped": False}
        if method == "annotation-objects.bulk.add":
            out = []
            for o in b["annotationObjects"]:
                item = {"id": db.new_id(), "entityId": b.get("entityId"), **o}
                db.video_objects.append(item)
                out.append({"id": item["id"]})
            return out
        if method == "figures.bulk.add":
            out = []
            for f in b["figures"]:
                item = {"id": db.new_id(), "entityId": b.get("entityId", f.get("entityId")), **f}
                db.figures.append(item)
                out.append({"id": item["id"]})
            return out
        if method == "tasks.info":
            if int(b.get("id") or 0) not in self.tasks:
                raise ApiError(404, "task is not found")
            id_ = int(b["id"])
            return {
                "id": id_, "type": "app", "status": "started", "teamId": 4, "workspaceId": 10,
                "description": "", "meta": {
                    "sessionToken": "task-%d" % id_, "params": db.task_parameters.get(id_) or {},
                    "app": {"id": 1, "name": "Serve Florence-2", "config": {
                        "session_tags": ["deployed_florence_2", "deployed_nn"]}},
                },
            }
        if method == "tasks.data.get":
            store = db.task_fields.get(int(b["taskId"]), {})
            return {"result": {f: store.get(f) for f in b["fields"]}}
        if method == "tasks.data.set":
            store = db.task_fields.setdefault(int(b["taskId"]), {})
            for f in b["fields"]:
                store[f["field"]] = f["payload"]
            return {"success": True}
        if method in ("tasks.app-v2.data.set", "tasks.meta.update", "tasks.output.set",
                      "tasks.status.update"):
            return {"success": True}
        if method == "teams.info":
            return {"id": 4, "name": "team", "description": "", "role": "admin",
                    "createdAt": STAMP, "updatedAt": STAMP}
        if method == "workspaces.info":
            return {"id": 10, "name": "workspace", "description": "", "teamId": 4,
                    "createdAt": STAMP, "updatedAt": STAMP, "hidden": False}
        if method.startswith("file-storage."):
            if method.endswith("upload"):
                return []
            if method.endswith(".list"):
                return []
            raise ApiError(404, "no such file")
        if method.startswith("apps.workflow"):
            db.workflow.append({"method": method, "body": b})
            return {"success": True, "id": db.new_id()}
        answer = self.apps.call(self, method, b)
        if answer is not None:
            return answer
        raise ApiError(404, "the stub has no method %r" % method)

    def frame(self, video_id: int, index: int) -> bytes:
        frames = self.db.frames[int(video_id)]
        if not 0 <= index < len(frames):
            raise ApiError(400, "frame %r is out of range" % index)
        return encode(frames[index], "PNG")

    def ann_view(self, image: dict) -> dict:
        return {
            "imageId": image["id"], "imageName": image["name"], "datasetId": image["datasetId"],
            "createdAt": STAMP, "updatedAt": STAMP,
            "annotation": copy.deepcopy(self.db.annotations[image["id"]]),
        }

    # --- routing

    def _routes(self):
        app = self.app

        @app.exception_handler(ApiError)
        def on_api_error(request: Request, exc: ApiError):
            body = {"error": exc.message, "details": {"message": exc.message}}
            if exc.details is not None:
                body["details"] = exc.details
            return JSONResponse(body, status_code=exc.status)

        @app.get("/_stub/log")
        def get_log():
            return self.log

        @app.post("/_stub/reset")
        def post_reset():
            self.reset()
            return {"ok": True}

        @app.post("/_stub/fault")
        async def post_fault(request: Request):
            fault = await request.json()
            fault.setdefault("times", 1)
            fault.setdefault("skip", 0)
            fault.setdefault("status", 503)
            self.faults.append(fault)
            return {"ok": True}

        @app.post("/_stub/delay")
        async def post_delay(request: Request):
            b = await request.json()
            self.delays[b["method"]] = float(b["seconds"])
            return {"ok": True}

        @app.post("/_stub/task")
        async def post_task(request: Request):
            b = await request.json()
            self.tasks[int(b["id"])] = b["url"]
            return {"ok": True}

        @app.get("/_stub/annotations")
        def get_annotations():
            return self.db.annotations

        @app.get("/_stub/db")
        def get_db():
            db = self.db
            return {
                "projects": {i: {**db.project_view(i), "meta": db.projects[i]["_meta"]} for i in db.projects},
                "datasets": {i: db.dataset_view(i) for i in db.datasets}, "images": db.images,
                "videos": db.videos, "figures": db.figures, "videoObjects": db.video_objects,
                "notifications": db.notifications, "workflow": db.workflow,
                "taskFields": db.task_fields,
            }

        @app.get("/static/{name}")
        def get_static(name: str):
            for image in self.db.images.values():
                if image["name"] == name:
                    return Response(self.db.blobs[image["hash"]], media_type=image["mime"])
            return JSONResponse({"error": "no such file"}, status_code=404)

        @app.get("/")
        def root():
            return {"stub": True}


        @app.api_route("/public/api/v3/{method}", methods=["GET", "POST"])
        async def api(method: str, request: Request):
            raw = await request.body()
            try:
                body = json.loads(raw) if raw else dict(request.query_params)
            except ValueError:
                body = {"_raw_bytes": len(raw)}
            if method == "tasks.app-v2.data.set":  # the app's UI, sent again and again
                body = {"taskId": body.get("taskId"), "payload": "..."}
            entry = {
                "method": method, "http": request.method, "body": body,
                "headers": {k: v for k, v in request.headers.items() if k.startswith("x-")},
            }
            from starlette.concurrency import run_in_threadpool

            def work():
                response = self.handle(method, body, request.headers.get("x-api-key"))
                entry["status"] = response.status_code
                with self.lock:
                    self.log.append(entry)
                return response

            return await run_in_threadpool(work)

        # /net/<token>/<path>: what the platform's proxy does for a running app
        async def net_proxy(request: Request, token: str, path: str):
            raw = await request.body()
            headers = {k: v for k, v in request.headers.items()
                       if k.lower() not in ("host", "content-length", "connection")}
            from starlette.concurrency import run_in_threadpool

            def work():
                base = self.tasks.get(int(token.split("-")[-1])) if token.startswith("task-") else None
                if base is None:
                    return JSONResponse({"error": "no such session"}, status_code=404)
                r = requests.request(request.method, "%s/%s" % (base.rstrip("/"), path), data=raw,
                                     headers=headers, timeout=120)
                return Response(r.content, status_code=r.status_code,
                                media_type=r.headers.get("content-type"))

            return await run_in_threadpool(work)

        app.add_api_route("/net/{token}/{path:path}", net_proxy, methods=["GET", "POST"])

    def handle(self, method: str, body: dict, key: Optional[str]) -> Response:
        failure = None
        if self.fail_share:
            with self.lock:
                failure = self.chance.choice(FAILURES) if self.chance.random() < self.fail_share else None
        if failure in ("500", "429", "garbage"):
            return self.fail(failure)
        if failure == "slow":
            time.sleep(0.3)
        self.hold(self.held_requests, method)
        response = self.perform(method, body, key)
        self.hold(self.held_answers, method)
        return self.fail(failure.split()[0]) if failure and failure.endswith("after") else response

    @staticmethod
    def hold(held: Dict[str, threading.Event], method: str):
        if method in held:
            held[method].wait(HOLD_S)

    @staticmethod
    def fail(failure: str) -> Response:
        if failure == "garbage":
            return Response("<html>not what you asked for</html>", media_type="text/html")
        headers = {"Retry-After": "0"} if failure == "429" else {}
        return JSONResponse({"error": "misbehaving"}, status_code=int(failure), headers=headers)

    def perform(self, method: str, body: dict, key: Optional[str]) -> Response:
        try:
            for fault in self.faults:
                if fault["method"] == method and fault["times"] > 0:
                    if fault["skip"] > 0:
                        fault["skip"] -= 1
                        continue
                    fault["times"] -= 1
                    raise ApiError(fault["status"], "injected fault")
            if method in self.delays:
                time.sleep(self.delays[method])
            if self.check_token and key != self.token:
                raise ApiError(403, "access denied")
            if method == "tasks.request.direct":
                return self.forward(body)
            with self.lock:
                result = self.call(method, body)
            return result if isinstance(result, Response) else JSONResponse(result)
        except ApiError as e:
            content = {"error": e.message, "details": e.details or {"message": e.message}}
            return JSONResponse(content, status_code=e.status)

    def forward(self, b: dict) -> Response:
        """What the platform does for api.task.send_request: POST <app>/<command>."""
        base = self.tasks.get(int(b["taskId"]))
        if base is None:
            raise ApiError(404, "task is not found")
        payload = {
            "state": b.get("state") or {}, "context": b.get("context") or {},
            "api_token": self.token,
        }
        try:
            r = requests.post("%s/%s" % (base.rstrip("/"), b["command"]), json=payload,
                              timeout=b.get("timeout") or 60)
        except requests.RequestException as e:
            raise ApiError(500, "the app did not answer: %r" % e)
        return Response(r.content, status_code=r.status_code,
                        media_type=r.headers.get("content-type"))


def start_in_thread(port: int, **kwargs) -> Stub:
    """For tests: run a stub on 127.0.0.1:port in a daemon thread; returns it when it answers."""
    stub = Stub(**kwargs)
    server = uvicorn.Server(uvicorn.Config(stub.app, host="127.0.0.1", port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    for _ in range(100):
        try:
            if requests.get("http://127.0.0.1:%d/" % port, timeout=1).ok:
                return stub
        except requests.RequestException:
            time.sleep(0.05)
    raise RuntimeError("the platform stub did not start")
