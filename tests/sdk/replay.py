"""Plays recorded requests against a server and compares its answers, and what it asked of the platform.

A recording holds exchanges of the original server with a fake model, the calls that it made to the platform meanwhile,
and the annotations that the platform held afterwards. Placeholders in it match anything of their kind; further keys in
an answer are allowed. Polls of the queue depend on the moment: of them only the keys are compared, and the results that
they hand over are compared once, joined together.
"""
import json
import re
import time

import requests
import yaml

# Answers that depend on the moment of the question.
POLLS = {"/get_inference_progress", "/get_preparing_progress", "/get_inference_status", "/get_status",
         "/pop_inference_results"}
# Calls that change something on the platform.
WRITES = {"projects.add", "datasets.add", "images.bulk.add", "annotations.bulk.add", "projects.meta.update",
          "annotation-objects.bulk.add", "figures.bulk.add", "videos.notify-annotation-tool"}
# Longest wait for a run to end.
PATIENCE_S = 60
# The platform numbers what is made from here on, in the order in which it is made.
FIRST_NEW_ID = 9000

KINDS = {
    "<uuid>": lambda v: isinstance(v, str) and re.fullmatch(r"[0-9a-f]{32}", v.replace("-", "")),
    "<seconds>": lambda v: isinstance(v, (int, float)),
    "<milliseconds>": lambda v: isinstance(v, (int, float)),
    "<int>": lambda v: v is None or isinstance(v, int),
    "<string>": lambda v: isinstance(v, str),
    "<traceback>": lambda v: v is None or isinstance(v, str),
    "<#RRGGBB>": lambda v: isinstance(v, str) and re.fullmatch(r"#[0-9A-Fa-f]{6}", v),
}


def differ(want, got, at="", keys_only=False):
    """The first difference as a text, or None."""
    if isinstance(want, str) and want in KINDS:
        return None if KINDS[want](got) else f"{at}: {got!r} is not {want}"
    if isinstance(want, dict):
        return differ_objects(want, got, at, keys_only)
    if keys_only:
        return None
    if isinstance(want, list):
        return differ_lists(want, got, at)
    if isinstance(want, str) and isinstance(got, str) and re.search(r"<[a-z-]+>", want):
        parts = re.split(r"(<[a-z-]+>)", want)
        pattern = "".join(".*" if re.fullmatch(r"<(uuid|server|platform|token)>", part) else re.escape(part)
                          for part in parts)
        return None if re.fullmatch(pattern, got, re.S) else f"{at}: {got!r}, expected {want!r}"
    return None if want == got else f"{at}: {got!r}, expected {want!r}"


def differ_objects(want, got, at, keys_only):
    if not isinstance(got, dict):
        return f"{at}: {got!r} is not an object"
    for key, value in want.items():
        if key not in got:
            return f"{at}: no key {key!r}"
        if key == "settings" and isinstance(value, str) and "task_prompt:" in value:
            # Default settings: ours name more keys, the original's keep their values.
            ours, theirs = yaml.safe_load(got[key]), yaml.safe_load(value)
            if {name: ours.get(name) for name in theirs} != theirs:
                return f"{at}.settings: {ours!r}, expected {theirs!r}"
        elif not keys_only:
            difference = differ(value, got[key], f"{at}.{key}")
            if difference:
                return difference
    return None


def differ_lists(want, got, at):
    if not isinstance(got, list):
        return f"{at}: {got!r} is not a list"
    if want and all(isinstance(item, dict) and "title" in item for item in want):
        # Classes only ever grow while a server lives.
        missing = {item["title"] for item in want} - {item.get("title") for item in got}
        return f"{at}: classes {missing} are missing" if missing else None
    if len(want) != len(got):
        return f"{at}: {len(got)} items, expected {len(want)}"
    differences = (differ(w, g, f"{at}[{i}]") for i, (w, g) in enumerate(zip(want, got)))
    return next(filter(None, differences), None)


class Player:
    """Sends what a recording holds. `media` gives a file's content by its name."""

    def __init__(self, base, platform, token, media):
        self.base, self.platform, self.token, self.media = base, platform, token, media
        self.uuid = None

    def fill(self, value):
        """The value with our own addresses and ids in place of the recording's."""
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, str):
            for placeholder, text in (("<token>", self.token), ("<server>", self.base), ("<platform>", self.platform),
                                      ("<uuid>", self.uuid or "0" * 32)):
                value = value.replace(placeholder, text)
        return value

    def send(self, request):
        url, method = self.base + request["path"], request["method"]
        if "multipart" in request:
            files = [(part["name"], (part["filename"], self.media(part["filename"]))) if "filename" in part
                     else (part["name"], (None, self.fill(part["text"]))) for part in request["multipart"]]
            return requests.request(method, url, files=files, timeout=PATIENCE_S)
        if "json" in request:
            return requests.request(method, url, json=self.fill(request["json"]), timeout=PATIENCE_S)
        headers = {k: v for k, v in request.get("headers", {}).items() if k == "content-type"}
        return requests.request(method, url, data=self.fill(request.get("body_text")), headers=headers,
                                timeout=PATIENCE_S)

    def play(self, recording):
        """Every difference as a text."""
        problems, expected, popped = [], [], []
        self.uuid = None
        exchanges = recording["exchanges"]
        index = 0
        while index < len(exchanges):
            request, want = exchanges[index]["request"], exchanges[index]["response"]
            at = f"{index} {request['path']}"
            if request["path"] == "/pop_inference_results" and want["status"] == 200:
                index, last = self.gather(exchanges, index, expected)
                is_last = not self.pops_again(exchanges, index)
                answer = self.pop(request, popped, None if is_last else len(expected))
                if is_last and last["finished"] and recording["name"] != "stop":
                    problems += [differ(expected, popped, at), differ({**last, "pending_results": []}, answer, at, True),
                                 differ(last["stage"], answer["stage"], f"{at}.stage")]
                    expected, popped = [], []
                continue
            index += 1
            problems.append(self.compare(request, want, at))
        return [problem for problem in problems if problem]

    @staticmethod
    def gather(exchanges, index, expected):
        """Joins the results of pops that follow one another."""
        while index < len(exchanges) and exchanges[index]["request"]["path"] == "/pop_inference_results":
            last = exchanges[index]["response"]["json"]
            expected += last.get("pending_results") or []
            index += 1
        return index, last

    @staticmethod
    def pops_again(exchanges, index):
        for exchange in exchanges[index:]:
            answer = exchange["response"].get("json")
            if isinstance(answer, dict) and "inference_request_uuid" in answer:
                return False
            if exchange["request"]["path"] == "/pop_inference_results":
                return True
        return False

    def pop(self, request, popped, enough):
        """Takes results until the run has ended, or until there are enough."""
        end = time.monotonic() + PATIENCE_S
        while True:
            answer = self.send(request).json()
            popped += answer["pending_results"]
            if answer["finished"] or (enough is not None and len(popped) >= enough) or time.monotonic() > end:
                return answer
            time.sleep(0.02)

    def compare(self, request, want, at):
        response = self.send(request)
        got = self.read(response)
        ended = isinstance(want.get("json"), dict) and want["json"].get("finished")
        end = time.monotonic() + PATIENCE_S
        while ended and isinstance(got, dict) and got.get("finished") is False and time.monotonic() < end:
            time.sleep(0.02)
            got = self.send(request).json()
        if isinstance(got, dict) and isinstance(got.get("inference_request_uuid"), str):
            self.uuid = got["inference_request_uuid"]
        if want["status"] >= 400:
            # What a caller did wrong is 4xx here, where the original mostly says 500.
            return None if 400 <= response.status_code < 600 else f"{at}: {response.status_code}, expected an error"
        if response.status_code != want["status"]:
            return f"{at}: status {response.status_code}, expected {want['status']}"
        return differ(want.get("json", want.get("text")), got, at, request["path"] in POLLS)

    @staticmethod
    def read(response):
        try:
            return response.json()
        except ValueError:
            return response.text


def without_new_ids(value):
    """The value with a placeholder for what was numbered while the recording was made, or is now."""
    if isinstance(value, dict):
        return {key: without_new_ids(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_new_ids(item) for item in value]
    is_new = isinstance(value, int) and not isinstance(value, bool) and value > FIRST_NEW_ID
    return "<new>" if is_new else value


def without_class_ids(call):
    """Labels name their class; the original adds its id where it happens to know it."""
    for item in call["body"].get("annotations", []):
        for label in item["annotation"]["objects"]:
            label.pop("classId", None)
    return call


def writes(calls):
    """Calls that change something, in an order of their own."""
    found = [without_class_ids({"method": call["method"], "body": without_new_ids(call["body"])}) for call in calls
             if call["method"] in WRITES and call.get("status") == 200]
    return sorted(found, key=lambda call: (call["method"], len(json.dumps(call["body"])), json.dumps(call["body"])))


def downloaded(calls):
    """The pictures whose files were fetched."""
    singles = {call["body"]["id"] for call in calls if call["method"] == "images.download"}
    return singles.union(*[call["body"]["imageIds"] for call in calls if call["method"] == "images.bulk.download"])
