"""What the demo model knows: a project of drawn scenes, and a video of shapes that move."""
import json
import pathlib

from PIL import Image, ImageDraw

from .media import encode, make_mjpeg_avi

SCENES = pathlib.Path(__file__).parent.parent.parent / "fixtures" / "scenes"
TRUTH = json.loads((SCENES / "scenes.json").read_text())

PROJECT, DATASET, NESTED, VIDEO_PROJECT, VIDEO_DATASET, VIDEO = 1000, 1000, 1001, 1010, 1010, 1500
FIRST_IMAGE = 1001
# The circle is gone on these frames.
HIDDEN = range(10, 13)
FRAMES, WIDTH, HEIGHT, RATE = 24, 320, 240, 8


def truth_of(image_id):
    """The scene that a picture of the project shows."""
    return TRUTH[(image_id - FIRST_IMAGE) % len(TRUTH)]


def boxes_at(frame):
    """Where the shapes are on a frame, by shape; the circle is nowhere on some."""
    left = 20 + 8 * frame
    boxes = {"square": [230 - 4 * frame, 150, 300 - 4 * frame, 220]}
    if frame not in HIDDEN:
        boxes["circle"] = [left, 20, left + 80, 100]
    return boxes


def draw_frame(frame):
    """A frame at four times its size, made smaller for smooth edges."""
    image = Image.new("RGB", (4 * WIDTH, 4 * HEIGHT), (120, 130, 140))
    draw, boxes = ImageDraw.Draw(image), boxes_at(frame)
    scaled = {shape: [4 * side for side in box] for shape, box in boxes.items()}
    draw.rectangle(scaled["square"], fill=(33, 90, 214))
    if "circle" in scaled:
        draw.ellipse(scaled["circle"], fill=(214, 40, 40))
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def add_shapes(db):
    """Adds both to the stub's data."""
    db.add_project(PROJECT, "shapes")
    db.add_dataset(DATASET, PROJECT, "scenes")
    db.add_dataset(NESTED, PROJECT, "nested", parent=DATASET)
    for number, scene in enumerate(TRUTH):
        dataset = NESTED if number == len(TRUTH) - 1 else DATASET
        content = (SCENES / scene["file"]).read_bytes()
        db.add_image(FIRST_IMAGE + number, dataset, scene["file"], content, "image/png", scene["width"], scene["height"])
    db.add_project(VIDEO_PROJECT, "moving shapes", "videos")
    db.add_dataset(VIDEO_DATASET, VIDEO_PROJECT, "clips")
    frames = [draw_frame(frame) for frame in range(FRAMES)]
    avi = make_mjpeg_avi([encode(frame, "JPEG") for frame in frames], WIDTH, HEIGHT, RATE)
    db.frames[VIDEO] = frames
    db.blobs["video-%d" % VIDEO] = avi
    record = dict(db.videos[500], id=VIDEO, name="shapes.avi", hash="video-%d" % VIDEO, projectId=VIDEO_PROJECT,
                  datasetId=VIDEO_DATASET)
    record["fileMeta"] = dict(record["fileMeta"], size=str(len(avi)), width=WIDTH, height=HEIGHT, duration=FRAMES / RATE,
                              framesCount=FRAMES)
    db.videos[VIDEO] = record


def iou(one, other):
    """Intersection over union of two boxes, with corners as [x1, y1, x2, y2]."""
    def area(box):
        return max(0, box[2] - box[0]) * max(0, box[3] - box[1])
    common = area([max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])])
    return common / (area(one) + area(other) - common)
