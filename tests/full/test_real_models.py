"""`tests/reference/real` from end to end, on tiny checkpoints that a hub on loopback serves under the published names.

Needs pytest beside the packages of tests/reference/requirements.txt, and the program (SERVE_FLORENCE_2, or target/release).
Takes a minute: python -m pytest tests/full/test_real_models.py
"""
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from hub_stub import Hub  # noqa: E402

GOLDEN = ROOT / "tests" / "fixtures" / "golden"
BINARY = pathlib.Path(os.environ.get("SERVE_FLORENCE_2", ROOT / "target" / "release" / "serve-florence-2"))
pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def hub():
    """Both layouts, both kinds of weights, and both places of the tokens that the original adds."""
    files = {path.name: path for path in (GOLDEN / "tiny_a" / "original").iterdir()}
    pickled = {name: path for name, path in files.items() if name != "model.safetensors"}
    repositories = {"microsoft/Florence-2-base": files, "microsoft/Florence-2-large": pickled,
                    "microsoft/Florence-2-base-ft": GOLDEN / "tiny_a" / "native",
                    "microsoft/Florence-2-large-ft": GOLDEN / "tiny_b" / "native"}
    with Hub(repositories) as hub:
        yield hub


def real(hub, work, *words):
    command = [sys.executable, ROOT / "tests" / "reference" / "real", "--binary", BINARY, "--endpoint", hub.endpoint,
               "--work", work, "--pictures", GOLDEN / "images", "--limit", "2", "--max-new-tokens", "24", *words]
    environment = dict(os.environ, HF_HOME=str(work / "home"), HOME=str(work / "home"))
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN"):
        environment.pop(name, None)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)


def test_all_checkpoints_agree_and_nothing_is_done_twice(hub, tmp_path):
    tasks = ["--tasks", "OD", "CAPTION", "OCR_WITH_REGION", "OPEN_VOCABULARY_DETECTION", "--require-equal"]
    table = tmp_path / "table.md"
    first = real(hub, tmp_path, *tasks, "--table", table)
    assert first.returncode == 0, first.stdout + first.stderr
    rows = [line for line in table.read_text().splitlines() if line.startswith("| Florence-2")]
    assert len(rows) == 4 and all(row.split("|")[2:5] == [" 8 ", " 100 % ", " 100 % "] for row in rows), rows
    assert hub.sent("*.safetensors") > 0 and hub.sent("*.bin") > 0

    hub.forget()
    again = real(hub, tmp_path, *tasks)
    assert again.returncode == 0 and hub.sent("*.safetensors") + hub.sent("*.bin") == 0

    # A token that is another one is seen.
    answers = tmp_path / "Florence-2-base.ours.jsonl"
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    rows[1]["answer"]["ids"][2] += 1
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed = real(hub, tmp_path, *tasks, "--models", "Florence-2-base")
    assert changed.returncode == 1 and "not everything is equal" in changed.stderr, changed.stderr
    assert "token 2 of" in changed.stdout and "| Florence-2-base | 8 | 87.50 % |" in changed.stdout, changed.stdout


def test_what_a_user_can_mend_is_said_in_a_line(hub, tmp_path):
    for words, said in [(["--models", "Florence-2-none"], "Florence-2-none could not be fetched: "),
                        (["--tasks", "CATS"], "no task is called CATS"),
                        (["--pictures", tmp_path], "holds no pictures"),
                        (["--binary", tmp_path / "none"], "build it with")]:
        done = real(hub, tmp_path, *words)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
