"""What the stub of the platform holds: projects, datasets, pictures, annotations and a video."""
import copy
import uuid
from typing import Any, Dict, List, Optional

from PIL import Image

from .media import encode, make_image, make_mjpeg_avi

STAMP = "2026-01-15T10:00:00.000Z"


class Db:
    def __init__(self):
        self.projects: Dict[int, dict] = {}
        self.datasets: Dict[int, dict] = {}
        self.images: Dict[int, dict] = {}
        self.videos: Dict[int, dict] = {}
        self.blobs: Dict[str, bytes] = {}
        self.annotations: Dict[int, dict] = {}
        self.video_objects: List[dict] = []
        self.figures: List[dict] = []
        self.notifications: List[dict] = []
        self.workflow: List[dict] = []
        self.task_fields: Dict[int, dict] = {}
        self.task_parameters: Dict[int, dict] = {}
        self.frames: Dict[int, List[Image.Image]] = {}
        self.next_id = 9000
        self.seed()

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def add_project(self, id_: int, name: str, type_: str = "images", description: str = "") -> dict:
        self.projects[id_] = {
            "id": id_, "name": name, "description": description, "size": "0", "readme": "",
            "workspaceId": 10, "teamId": 4, "type": type_, "createdAt": STAMP, "updatedAt": STAMP,
            "referenceImageUrl": None, "customData": {}, "backupArchive": {}, "settings": {},
            "importSettings": {}, "version": None, "createdBy": 1, "embeddingsEnabled": False,
            "embeddingsUpdatedAt": None, "embeddingsInProgress": False, "localEntitiesCount": 0,
            "remoteEntitiesCount": 0,
            "_meta": {"classes": [], "tags": [], "projectType": type_},
        }
        return self.projects[id_]

    def add_dataset(self, id_: int, project_id: int, name: str, parent: Optional[int] = None,
                    description: str = "") -> dict:
        self.datasets[id_] = {
            "id": id_, "name": name, "description": description or "", "size": "0",
            "projectId": project_id, "teamId": 4, "workspaceId": 10, "parentId": parent,
            "createdAt": STAMP, "updatedAt": STAMP, "referenceImageUrl": None, "customData": {},
            "createdBy": 1,
        }
        return self.datasets[id_]

    def add_image(self, id_: int, dataset_id: int, name: str, data: bytes, mime: str,
                  width: int, height: int, meta: Optional[dict] = None) -> dict:
        hash_ = "hash-%s" % uuid.uuid5(uuid.NAMESPACE_OID, repr((len(data), data[:4096]))).hex
        self.blobs[hash_] = data
        self.images[id_] = {
            "id": id_, "name": name, "title": name, "link": None, "hash": hash_, "mime": mime,
            "size": len(data), "width": width, "height": height, "labelsCount": 0,
            "datasetId": dataset_id, "projectId": self.datasets[dataset_id]["projectId"],
            "createdAt": STAMP, "updatedAt": STAMP, "meta": meta or {},
            "pathOriginal": "/h/%s" % name, "fullStorageUrl": "", "tags": [], "createdBy": 1,
            "description": "", "parentId": None,
        }
        self.annotations[id_] = {
            "description": "", "tags": [], "size": {"height": height, "width": width},
            "objects": [], "customBigData": {},
        }
        return self.images[id_]

    def seed(self):
        self.add_project(100, "cars")
        self.add_project(101, "empty")
        self.add_project(102, "broken")
        self.add_project(110, "clips", "videos")
        self.add_project(111, "clouds", "point_clouds")
        self.add_dataset(200, 100, "ds1")
        self.add_dataset(201, 100, "ds1-nested", parent=200)
        self.add_dataset(202, 102, "ds1")
        self.add_dataset(210, 110, "ds1")
        self.add_image(301, 200, "street.png", encode(make_image(640, 480, 1), "PNG"), "image/png", 640, 480)
        self.add_image(302, 200, "yard.jpg", encode(make_image(320, 240, 2), "JPEG"), "image/jpeg", 320, 240)
        self.add_image(303, 200, "alpha.png", encode(make_image(100, 200, 3, "RGBA"), "PNG"), "image/png", 100, 200)
        self.add_image(304, 201, "grey.jpg", encode(make_image(64, 64, 4, "L"), "JPEG"), "image/jpeg", 64, 64)
        self.add_image(305, 202, "broken.png", b"this is not an image at all", "image/png", 10, 10)
        # one human-made label, so that append / iou_merge have something to meet
        meta = self.projects[100]["_meta"]
        meta["classes"].append(
            {"id": 8001, "title": "lemon", "shape": "rectangle", "color": "#12AA34",
             "geometry_config": {}, "hotkey": ""}
        )
        self.annotations[302]["objects"].append(
            {"id": 8101, "classId": 8001, "classTitle": "lemon", "description": "", "tags": [],
             "geometryType": "rectangle", "shape": "rectangle", "labelerLogin": "admin",
             "createdAt": STAMP, "updatedAt": STAMP, "nnCreated": False, "nnUpdated": False,
             "points": {"exterior": [[10, 20], [111, 121]], "interior": []}}
        )
        frames = [make_image(160, 120, 10 + i) for i in range(12)]
        avi = make_mjpeg_avi([encode(f, "JPEG") for f in frames], 160, 120, 6)
        self.frames[500] = frames
        self.blobs["video-500"] = avi
        self.videos[500] = {
            "id": 500, "name": "clip.avi", "hash": "video-500", "link": None, "teamId": 4,
            "workspaceId": 10, "projectId": 110, "datasetId": 210, "pathOriginal": "/v/clip.avi",
            "createdAt": STAMP, "updatedAt": STAMP, "tags": [], "meta": {}, "customData": {},
            "processingPath": "1/500",
            "fileMeta": {
                "mime": "video/x-msvideo", "size": str(len(avi)), "width": 160, "height": 120,
                "duration": 2, "framesCount": 12, "codecTypes": ["video"], "streams": [],
                "framesToTimecodes": [round(i / 6, 4) for i in range(12)],
            },
        }

    # --- views

    def dataset_view(self, id_: int) -> dict:
        d = dict(self.datasets[id_])
        n = sum(1 for i in self.images.values() if i["datasetId"] == id_)
        n += sum(1 for v in self.videos.values() if v["datasetId"] == id_)
        d["imagesCount"] = d["itemsCount"] = n
        return d

    def project_view(self, id_: int) -> dict:
        p = {k: v for k, v in self.projects[id_].items() if not k.startswith("_")}
        ds = [d["id"] for d in self.datasets.values() if d["projectId"] == id_]
        n = sum(self.dataset_view(d)["itemsCount"] for d in ds)
        p["imagesCount"] = p["itemsCount"] = n
        p["datasetsCount"] = len(ds)
        return p

    def store_meta(self, project_id: int, meta: dict) -> dict:
        """Give ids to new classes and tags, as the platform does, and return the meta."""
        old = self.projects[project_id]["_meta"]
        known = {("c", c["title"]): c["id"] for c in old["classes"]}
        known.update({("t", t["name"]): t["id"] for t in old["tags"]})
        new = copy.deepcopy(meta)
        for c in new.get("classes", []):
            c["id"] = c.get("id") or known.get(("c", c["title"])) or self.new_id()
        for t in new.get("tags", []):
            t["id"] = t.get("id") or known.get(("t", t["name"])) or self.new_id()
        new.setdefault("projectType", old.get("projectType", "images"))
        self.projects[project_id]["_meta"] = new
        return new

    def store_annotation(self, image_id: int, ann: dict):
        image = self.images[image_id]
        classes = {c["title"]: c["id"]
                   for c in self.projects[image["projectId"]]["_meta"]["classes"]}
        ann = copy.deepcopy(ann)
        for o in ann.get("objects", []):
            if o["classTitle"] not in classes:
                raise ApiError(400, "class %r is not in the project meta" % o["classTitle"])
            o.setdefault("id", self.new_id())
            o["classId"] = classes[o["classTitle"]]
            o.setdefault("labelerLogin", "stub")
            o.setdefault("createdAt", STAMP)
            o.setdefault("updatedAt", STAMP)
        self.annotations[image_id] = ann
        image["labelsCount"] = len(ann.get("objects", []))


class ApiError(Exception):
    def __init__(self, status: int, message: str, details: Any = None):
        self.status, self.message, self.details = status, message, details
