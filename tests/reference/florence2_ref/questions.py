"""What both implementations are asked, and the files that keep what they said. Plain Python: no torch, no numpy."""
import dataclasses
import hashlib
import json
import pathlib

from .vocabulary import PROMPT_FIXED, PROMPT_INPUT

TASKS = [*PROMPT_FIXED, *PROMPT_INPUT]
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# Tasks about a region are asked about the middle of the picture.
MIDDLE = "<loc_250><loc_250><loc_750><loc_750>"


class Trouble(Exception):
    """What a user can do something about; told in one line."""


@dataclasses.dataclass(frozen=True)
class Question:
    """One prompt about one picture."""
    picture: pathlib.Path
    # Of the picture's file, so that answers are kept when it is moved, and forgotten when it changes.
    sha256: str
    task: str
    prompt: str

    @property
    def key(self):
        return [self.sha256, self.prompt]


def choose_tasks(names):
    """The tasks of these names, written with or without brackets and in any case; all without names."""
    chosen = []
    for name in names or TASKS:
        task = "<" + name.strip("<>").upper() + ">"
        if task not in TASKS:
            raise Trouble(f"no task is called {name}; there are {', '.join(task.strip('<>') for task in TASKS)}")
        chosen.append(task)
    return chosen


def prompt_of(task, text):
    """The task with what it needs: the text, or a region."""
    if task.startswith("<REGION_TO_"):
        return task + MIDDLE
    return task + text if task in PROMPT_INPUT else task


def ask(folder, tasks, text, limit=None):
    """All questions, those about one picture together."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise Trouble(f"{folder} is no folder")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)[:limit]
    if not files:
        raise Trouble(f"{folder} holds no pictures ({', '.join(PICTURES)})")
    questions = []
    for file in files:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        questions += [Question(file, sha256, task, prompt_of(task, text)) for task in tasks]
    return questions


class AnswerFile:
    """Answers, one a line, each written as soon as it is there.

    The first line says what the answers depend on; with anything else the file begins anew.
    """

    def __init__(self, path, depends):
        self.path, self.depends, self.answers = pathlib.Path(path), depends, {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for number, line in enumerate(lines):
            try:
                entry = json.loads(line)
            except ValueError:
                # The one that was being written when a run was broken off.
                break
            if number == 0:
                if entry != {"depends": depends}:
                    break
            else:
                self.answers[tuple(entry["key"])] = entry["answer"]
        self.write_all()

    def write_all(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"depends": self.depends}, *({"key": list(key), "answer": one} for key, one in self.answers.items())]
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        unfinished.replace(self.path)

    def missing(self, questions):
        return [question for question in questions if tuple(question.key) not in self.answers]

    def add(self, question, answer):
        self.answers[tuple(question.key)] = answer
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"key": question.key, "answer": answer}) + "\n")

    def answer(self, question):
        return self.answers[tuple(question.key)]


def digest(path):
    """SHA-256 of a file of any size."""
    sha256 = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            sha256.update(piece)
    return sha256.hexdigest()
