"""What `real` computes and keeps, without a model: shares, tables, questions, answers of runs that were broken off."""
import argparse
import importlib.machinery
import importlib.util
import json
import pathlib
import sys

import pytest

from florence2_ref import comparison
from florence2_ref.comparison import Agreement, Share, compare, match, strip
from florence2_ref.questions import TASKS, AnswerFile, Question, Trouble, ask, choose_tasks

HERE = pathlib.Path(__file__).parent


def load_real():
    loader = importlib.machinery.SourceFileLoader("real", str(HERE / "real"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("real", loader))
    loader.exec_module(module)
    return module


def answer(ids, found="", prompt_ids=(0, 9, 2)):
    return {"prompt_ids": list(prompt_ids), "ids": ids, "text": "", "answer": found}


def test_ids_are_compared_without_what_programs_add():
    assert strip([2, 0, 5, 6, 2, 1, 1]) == strip([0, 5, 6]) == [0, 5, 6]
    assert strip([2, 0, 5, 2, 7]) == [0, 5]
    assert strip([]) == strip([2]) == strip([2, 2]) == []


def test_tokens_count_by_their_place_in_the_longer_output():
    same = compare(answer([2, 0, 5, 6, 7, 2]), answer([0, 5, 6, 7]))
    assert same.is_full and same.answers == Share(1, 1) and same.tokens == Share(4, 4)
    other = compare(answer([0, 5, 8, 7, 9]), answer([0, 5, 6, 7]))
    assert (other.answers, other.tokens) == (Share(0, 1), Share(3, 5))
    assert compare(answer([0, 5], prompt_ids=[0, 1]), answer([0, 5])).answers == Share(0, 1)
    assert compare(answer([2]), answer([])).answers == Share(1, 1)


def test_boxes_have_the_same_label_and_corners_within_a_pixel():
    reference = [("a", [10, 10, 20, 20]), ("b", [10, 10, 20, 20])]
    assert match([("a", [11, 9, 20.5, 20]), ("b", [10, 10, 20, 20])], reference) == Share(2, 2)
    assert match([("a", [11.1, 10, 20, 20])], reference) == Share(0, 2)
    assert match([("c", [10, 10, 20, 20])], reference) == Share(0, 2)
    assert match([], reference) == match(reference, []) == Share(0, 2)
    assert match([("a", [10, 10, 20])], reference) == Share(0, 2)


def test_each_box_is_in_one_pair_and_there_are_as_many_as_can_be():
    twice = [("a", [0, 0, 9, 9]), ("a", [0, 0, 9, 9])]
    assert match(twice, twice[:1]) == Share(1, 2)
    # The first of ours fits both and must leave the nearer one to the second.
    ours = [("a", [1, 0, 9, 9]), ("a", [0, 0, 9, 9])]
    assert match(ours, [("a", [0.5, 0, 9, 9]), ("a", [2, 0, 9, 9])]) == Share(2, 2)


def test_every_shape_of_an_answer_counts():
    boxes = {"bboxes": [[1, 2, 3, 4]], "labels": ["a"]}
    quads = {"quad_boxes": [[1, 2, 3, 4, 5, 6, 7, 8]], "labels": ["a"]}
    polygons = {"polygons": [[[1, 2, 3, 4, 5, 6], [7, 8, 9, 9, 9, 8]]], "labels": [""]}
    either = {"bboxes": [[1, 2, 3, 4]], "bboxes_labels": ["a"], "polygons": [[[1, 2, 3, 4, 5, 6]]], "polygons_labels": ["b"]}
    for found, counts in [(boxes, (1, 0)), (quads, (0, 1)), (polygons, (0, 2)), (either, (1, 1)), ("text", (0, 0))]:
        one = compare(answer([0], found), answer([0], found))
        assert (one.boxes.total, one.outlines.total) == counts and one.is_full, found
    assert compare(answer([0], polygons), answer([0], quads)).outlines == Share(0, 2)


def test_shares_never_look_better_than_they_are():
    assert [str(Share(*pair)) for pair in [(0, 0), (3, 3), (999_999, 1_000_000), (0, 7), (2, 3)]] == [
        "none", "100 %", "99.99 %", "0.00 %", "66.67 %"]
    total = Agreement(Share(1, 2), Share(3, 4)) + Agreement(Share(1, 1), Share(4, 4))
    assert (total.answers, total.tokens, total.is_full) == (Share(2, 3), Share(7, 8), False)


def test_the_table_is_markdown():
    row = Agreement(Share(1, 2), Share(3, 4), Share(0, 0), Share(5, 5))
    lines = comparison.table("checkpoint", [("Florence-2-base", row)], ["f32 on cpu."]).splitlines()
    assert lines[0] == "| checkpoint | answers | equal answers | equal tokens | equal boxes | equal outlines |"
    assert lines[2] == "| Florence-2-base | 2 | 50.00 % | 75.00 % | none | 100 % |"
    assert lines[1].count("|") == lines[0].count("|") and lines[-1] == "f32 on cpu."


def test_where_answers_part_is_told():
    told = comparison.first_difference
    assert told(answer([0, 5, 2]), answer([0, 5])) is None
    assert told(answer([0, 5]), answer([0, 6])) == "token 2 of 2 is 5, not 6"
    assert told(answer([0]), answer([0, 6])) == "token 2 of 2 is the end, not 6"
    assert told(answer([0], prompt_ids=[3]), answer([0])) == "the prompt has other ids"


def test_tasks_by_name():
    assert choose_tasks(None) == TASKS and len(TASKS) == 15
    assert choose_tasks(["od", "<OCR>"]) == ["<OD>", "<OCR>"]
    with pytest.raises(Trouble, match="no task is called cats; there are OCR, "):
        choose_tasks(["cats"])


def test_questions_go_picture_by_picture(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        (tmp_path / name).write_text(name)
    tasks = ["<OD>", "<CAPTION_TO_PHRASE_GROUNDING>", "<REGION_TO_OCR>"]
    questions = ask(tmp_path, tasks, "a cat")
    assert [question.picture.name for question in questions] == ["a.jpg"] * 3 + ["b.PNG"] * 3
    assert [question.prompt for question in questions[:3]] == [
        "<OD>", "<CAPTION_TO_PHRASE_GROUNDING>a cat", "<REGION_TO_OCR><loc_250><loc_250><loc_750><loc_750>"]
    assert len(ask(tmp_path, tasks, "", limit=1)) == 3
    for folder, words in [(tmp_path / "absent", "no folder"), (HERE / "florence2_ref", "no pictures")]:
        with pytest.raises(Trouble, match=words):
            ask(folder, tasks, "")


def question(number):
    return Question(pathlib.Path(f"{number}.png"), f"{number:064}", "<OD>", "<OD>")


def test_answers_outlive_a_run_that_is_broken_off(tmp_path):
    path, questions = tmp_path / "answers.jsonl", [question(number) for number in range(3)]
    file = AnswerFile(path, {"weights": "x"})
    file.add(questions[0], answer([1]))
    with open(path, "a", encoding="utf-8") as stream:
        stream.write('{"key": ["00')
    again = AnswerFile(path, {"weights": "x"})
    assert again.missing(questions) == questions[1:] and again.answer(questions[0]) == answer([1])
    again.add(questions[1], answer([2]))
    assert AnswerFile(path, {"weights": "x"}).missing(questions) == questions[2:]
    assert AnswerFile(path, {"weights": "y"}).missing(questions) == questions


# Stands in for the server's program: says how it was called, and answers as many pairs as the file `count` allows.
PROGRAM = """#!{python}
import json, pathlib, sys
words, folder = sys.argv[1:], pathlib.Path({folder!r})
with open(folder / "calls", "a") as stream:
    stream.write(json.dumps(words) + "\\n")
if words[0] == "download":
    if words[1] == "Florence-2-none":
        sys.exit("INFO looking\\nerror: there is no such model")
    place = folder / "work" / "checkpoints" / words[1]
    place.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (place / name).write_text("")
    print(words[1], place)
if words[0] == "generate":
    prompts = words[words.index("--prompt") + 1:]
    count = int((folder / "count").read_text())
    for prompt in prompts[:count]:
        print(json.dumps({{"prompt_ids": [], "ids": [], "text": prompt, "answer": ""}}), flush=True)
    if count < len(prompts):
        sys.exit("error: the picture is broken")
"""


@pytest.fixture
def ours(tmp_path):
    program = tmp_path / "program"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    settings = argparse.Namespace(binary=program, work=tmp_path / "work", endpoint="http://127.0.0.1:9", device="cpu",
                                  precision="f32", max_new_tokens=8)
    return load_real().Ours(settings)


def test_a_checkpoint_is_fetched_by_the_program_itself(ours, tmp_path):
    assert ours.fetch("Florence-2-base") == tmp_path / "work" / "checkpoints" / "Florence-2-base"
    assert ours.environment["HF_ENDPOINT"] == "http://127.0.0.1:9"
    with pytest.raises(Trouble, match="Florence-2-none could not be fetched: error: there is no such model"):
        ours.fetch("Florence-2-none")


def test_only_what_is_missing_is_asked_again(ours, tmp_path):
    questions, file = [question(number) for number in range(4)], AnswerFile(tmp_path / "ours.jsonl", {})
    (tmp_path / "count").write_text("2")
    with pytest.raises(Trouble, match="ended with status 1: error: the picture is broken"):
        ours.answer("folder", questions, file)
    (tmp_path / "count").write_text("4")
    ours.answer("folder", questions, AnswerFile(tmp_path / "ours.jsonl", {}))
    assert not AnswerFile(tmp_path / "ours.jsonl", {}).missing(questions)
    last = json.loads((tmp_path / "calls").read_text().splitlines()[-1])
    images = last[last.index("--image") + 1:last.index("--prompt")]
    assert images == ["2.png", "3.png"] and last[:3] == ["generate", "--weights", "folder"]
