"""Post-processing: a compact statement of the rules.

`make_reference.py postprocess` and `parse_cases.py --verify` compare the native flavour with the
processor of transformers, `make_reference.py check` the original flavour with the remote code.
"""
import re

import numpy as np

from .checkpoints import post_processor_config
from .vocabulary import ANSWER_KIND, BANNED


F32 = np.float32
BOX = r"<loc_(\d+)>" * 4
HEAD = r"^\s*(.*?)(?=<od>|</od>|<box>|</box>|<bbox>|</bbox>|<loc_"


def dequant(bins, size, flavour):
    """bins: flat list, x y x y ...; f32 arithmetic, then (native) truncation to int."""
    scale = [F32(size[0] / 1000), F32(size[1] / 1000)]
    v = [float((F32(b) + F32(0.5)) * scale[i % 2]) for i, b in enumerate(bins)]
    return [int(x) for x in v] if flavour == "native" else v


def strip_marks(text):
    return text.replace("<s>", "").replace("</s>", "").replace("<pad>", "")


def parse_boxes(text, size, flavour, empty_ok, grounding=False):
    text = strip_marks(text)
    out = []
    for chunk in re.findall(r"(?:<loc_\d+>){4,}" if empty_ok else r"[^<]+(?:<loc_\d+>){4,}", text):
        m = re.search(HEAD + ")", chunk)
        if not m:
            continue
        label = m.group().strip()
        if grounding and label in BANNED:
            continue
        boxes = [dequant([int(g) for g in b.groups()], size, flavour) for b in re.finditer(BOX, chunk)]
        label = label.encode("ascii", "ignore").decode()
        if grounding:
            out.append((label, boxes))
        else:
            out += [(label, b) for b in boxes]
    return out


def parse_polygons(text, size, flavour, empty_ok):
    text = strip_marks(text)
    unit = r"(?:<loc_\d+>|<sep>|<poly>|</poly>){4,}"
    out = []
    for chunk in re.findall(unit if empty_ok else "[^<]+" + unit, text):
        head = re.sub(r"^<loc_\d+>" if flavour == "native" else r"^loc_\d+>", "", chunk, count=1)
        if not head and not empty_ok:
            continue
        m = re.search(HEAD + "|<poly>)", head)
        if not m:
            continue
        label = m.group().strip()
        parts = re.findall(r"<poly>(.*?)</poly>", chunk) if "<poly>" in chunk and "</poly>" in chunk else [chunk]
        for part in parts:
            runs = re.findall(r"((?:<loc_\d+>)+)(?:<sep>|$)", part)
            if not runs:
                continue
            polys = []
            for r in runs:
                b = [int(x) for x in re.findall(r"<loc_(\d+)>", r)]
                polys.append(dequant(b[:len(b) // 2 * 2], size, flavour))
            out.append((label, polys))
    return out


def post_process(text, task, size, flavour="original"):
    """size is (width, height).  Returns {task: answer}."""
    kind = ANSWER_KIND.get(task, "pure_text")
    if kind == "pure_text":
        a = text.replace("<s>", "").replace("</s>", "")
        a = a.strip() if flavour == "native" else a
    elif kind == "ocr":
        t = strip_marks(text) if flavour == "native" else text.replace("<s>", "")
        quads, labels = [], []
        for m in re.finditer(r"(.+?)" + r"<loc_(\d+)>" * 8, t):
            quads.append(dequant([int(x) for x in m.groups()[1:]], size, flavour))
            labels.append(m.group(1).strip() if flavour == "native" else m.group(1))
        a = {"quad_boxes": quads, "labels": labels}
    elif kind in ("description_with_bboxes", "bboxes"):
        r = parse_boxes(text, size, flavour, kind == "bboxes")
        a = {"bboxes": [b for _, b in r], "labels": [x for x, _ in r]}
    elif kind == "phrase_grounding":
        r = parse_boxes(text, size, flavour, False, True)
        a = {"bboxes": [b for _, bs in r for b in bs], "labels": [x for x, bs in r for _ in bs]}
    elif kind == "polygons":
        r = parse_polygons(text, size, flavour, True)
        a = {"polygons": [p for _, p in r], "labels": [x for x, _ in r]}
    else:
        a = {"bboxes": [], "bboxes_labels": [], "polygons": [], "polygons_labels": []}
        if "<poly>" in text:
            r = parse_polygons(text, size, flavour, False)
            a["polygons"], a["polygons_labels"] = [p for _, p in r], [x for x, _ in r]
        else:
            r = parse_boxes(text, size, flavour, False)
            a["bboxes"], a["bboxes_labels"] = [b for _, b in r], [x for x, _ in r]
    return {task: a}


def native_post_processor():
    """The processor of transformers, without a tokenizer and an image processor."""
    from transformers.models.florence2.processing_florence2 import Florence2PostProcessor, Florence2Processor

    class NoTokenizer:
        all_special_tokens = []
    proc = Florence2Processor.__new__(Florence2Processor)
    proc.tasks_answer_post_processing_type = ANSWER_KIND
    proc.post_processor = Florence2PostProcessor(post_processor_config(), NoTokenizer())
    return proc
