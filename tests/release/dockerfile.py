"""The Dockerfile as instructions, for checks of what they do."""
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent.parent


@dataclasses.dataclass
class Instruction:
    stage: int
    word: str
    text: str


def instructions():
    """Every instruction in order, continued lines joined, comments left out."""
    found, stage, pending = [], -1, ""
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1] + "\n"
            continue
        word, text = (pending + line).split(None, 1)
        pending = ""
        stage += word == "FROM"
        found.append(Instruction(stage, word, text))
    return found


def last_stage():
    """The instructions of what runs."""
    every = instructions()
    return [one for one in every if one.stage == every[-1].stage]


def shell_steps():
    """The commands of its RUN instructions, as the shell gets them."""
    return [re.sub(r"\n\s*", " ", one.text) for one in last_stage() if one.word == "RUN"]


def variables():
    """What its ENV instructions set."""
    words = " ".join(one.text for one in last_stage() if one.word == "ENV").split()
    return dict(word.split("=", 1) for word in words)
