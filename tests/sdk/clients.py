"""The SDK's own clients, set up against the stub and a server."""
import pytest
import supervisely as sly
from supervisely.nn.inference.session import Session, SessionJSON

from stub import shapes


def api(platform):
    return sly.Api(platform.url, platform.token, ignore_task_id=True, check_instance_version=False)


def session(platform, server, kind=SessionJSON, settings=None):
    return kind(api(platform), session_url=server.url, inference_settings=settings)


def boxes(annotation):
    """Class and corners of each label of an annotation in JSON; the far corner is made to lie behind the last pixel."""
    return [(label["classTitle"], [*label["points"]["exterior"][0], *(side + 1 for side in label["points"]["exterior"][1])])
            for label in annotation["objects"]]


def share_found(annotation, image_id):
    """How many of a scene's shapes `<OD>` found."""
    truth = shapes.truth_of(image_id)["objects"]
    found = boxes(annotation)
    hits = [any(title == f"{wanted['shape']}_bbox" and shapes.iou(box, wanted["box"]) >= 0.5 for title, box in found)
            for wanted in truth]
    return sum(hits) / len(hits)


OD = {"task_prompt": "<OD>"}
SCENES = [shapes.FIRST_IMAGE + number for number in range(len(shapes.TRUTH))]

# Most tests hold for both servers: the demo model sees what is there, the fake one answers by its rules.
both = pytest.mark.parametrize("kind", ["demo", "fake"])


@pytest.fixture
def server(request, kind):
    return request.getfixturevalue(f"{kind}_server")


def looks_right(kind, annotation, image_id):
    if kind == "fake":
        return [title for title, _ in boxes(annotation)] == ["car_bbox", "person_bbox"]
    return share_found(annotation, image_id) >= 0.6
