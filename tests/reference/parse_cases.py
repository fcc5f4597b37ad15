#!/usr/bin/env python3
"""Random post-processing cases with their expected answers.

Each case is a made-up model output: labels with odd characters, banned phrases, runs of location
tokens of every length, separators, polygon tags, end and padding marks, stray angle brackets and
broken tokens, in any order.  The expected answer is that of `post_process` (original flavour).

  parse_cases.py --count 100000 > cases.jsonl        for a differential test of a parser
  parse_cases.py --count 400 --json FILE             the committed fixture (a JSON array with names)
  parse_cases.py --count 20000 --verify              compare with the processor of transformers instead
"""
import argparse
import json
import random
import sys

from florence2_ref.answers import native_post_processor, post_process
from florence2_ref.vocabulary import ANSWER_KIND, BANNED

PURE_TEXT = [task for task, kind in ANSWER_KIND.items() if kind == "pure_text"] + ["<VQA>"]
TASKS = 3 * [task for task in ANSWER_KIND if task not in PURE_TEXT] + PURE_TEXT  # the hard ones more often
WORDS = ["car", "dog", "a red circle", "two blue squares", "Traffic LIGHT", "man's hat, (red): 50% off!", "x", "1 2 3",
         "café crème", "日本", "価格 €5", "🙂", "naïve", "Ünï", "loc_5", "loc_7>", "loc_", "_12>", "poly", "sep", "od"]
SPACES = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\x0b", "\x1f", "\x85"]
MARKS = ["<s>", "</s>", "<pad>", "<sep>", "<poly>", "</poly>", "<od>", "</od>", "<and>", "<box>", "</bbox>",
         "<ocr>", "<grounding>", "<unk>", "<mask>", "<obj>"]
BROKEN = ["<", ">", "<<", "<>", "< ", "<loc_", "<loc_12", "<loc_>", "<loc_ 5>", "<loc_-1>", "<LOC_5>", "<loc_5", "<poly",
          "</poly", "<sep", "</s", "<pa", "<s", "<loc_1<loc_2>", "<loc_007>", "<loc_1000>", "<loc_123456>"]


def label(rng):
    word = rng.choice(BANNED) if rng.random() < 0.25 else rng.choice(WORDS)
    if rng.random() < 0.15:
        word += rng.choice(SPACES) + rng.choice(WORDS)
    before = rng.choice(SPACES) if rng.random() < 0.2 else ""
    after = rng.choice(SPACES) if rng.random() < 0.2 else ""
    return before + word + after


def locs(rng, count=None):
    count = count or rng.choice([1, 2, 3, 4, 4, 4, 4, 5, 6, 7, 8, 8, 8, 9])
    return "".join(f"<loc_{rng.randrange(1000)}>" for _ in range(count))


def polygon(rng):
    body = "<sep>".join(locs(rng, rng.randint(1, 7)) for _ in range(rng.choice([1, 1, 2])))
    return f"<poly>{body}</poly>" if rng.random() < 0.8 else body + rng.choice(["", "<sep>", "</poly>"])


def output_text(rng, kind):
    """One model output.  Pieces that the kind of answer is made of come more often."""
    pieces = []
    noise = rng.choice([0.0, 0.1, 0.1, 0.3])
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3, 4])):
        if rng.random() < noise:
            pieces.append(rng.choice(BROKEN if rng.random() < 0.5 else MARKS))
        if kind == "ocr":
            pieces += [label(rng), locs(rng, 8 if rng.random() < 0.7 else None)]
        elif "polygons" in kind and rng.random() < 0.6:
            pieces += [label(rng) if rng.random() < 0.5 else "", polygon(rng)]
        elif rng.random() < 0.8:
            pieces += [label(rng) if rng.random() < 0.8 else "", locs(rng)]
        else:
            pieces.append(rng.choice([label(rng), locs(rng), polygon(rng), rng.choice(MARKS)]))
    if rng.random() < noise:
        rng.shuffle(pieces)
    head = "</s><s>" if rng.random() < 0.85 else rng.choice(["", "<s>", "</s>"])
    tail = rng.choice(["</s>", "</s>", "</s>", "", "</s><pad><pad>"])
    return head + "".join(pieces) + tail


def cases(seed, count):
    rng = random.Random(seed)
    for i in range(count):
        task = TASKS[i % len(TASKS)]
        size = [rng.choice([1, 10, 120, 333, 640, 1023, 1920, 4001, rng.randint(1, 9000)]) for _ in range(2)]
        yield task, size, output_text(rng, ANSWER_KIND.get(task, "pure_text"))


def verify(seed, count):
    """Compare the native flavour with the processor of transformers; returns how many differ."""
    real, bad = native_post_processor(), 0
    for task, size, text in cases(seed, count):
        mine = post_process(text, task, size, "native")
        theirs = real.post_process_generation(text=text, task=task, image_size=tuple(size))
        if mine != theirs:
            bad += 1
            print(f"differs: {task} {size} {text!r}\n   here {mine}\n   real {theirs}", file=sys.stderr)
    print(f"{count} cases, {bad} differ from the native processor")
    return bad


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--count", type=int, default=400)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--json", help="write a JSON array with a name for each case here instead of lines on stdout")
    ap.add_argument("--verify", action="store_true", help="only compare with the processor of transformers")
    a = ap.parse_args()
    if a.verify:
        sys.exit(1 if verify(a.seed, a.count) else 0)
    rows = ({"task": task, "size": size, "text": text, "original": post_process(text, task, size)[task]}
            for task, size, text in cases(a.seed, a.count))
    if a.json:
        lines = [json.dumps({"name": f"random_{i:04}", **row}, ensure_ascii=False) for i, row in enumerate(rows)]
        with open(a.json, "w", encoding="utf-8") as f:
            f.write("[\n" + ",\n".join(lines) + "\n]\n")
    else:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
