"""How far two implementations agree, answer by answer. Plain Python: no torch, no numpy.

An answer is what one picture and one prompt gave: `prompt_ids`, `ids`, `text` and, as `answer`, what the text means.

* Equal answers: the prompt ids are the same, and the output ids are, after `strip`.
* Equal tokens: the positions at which both outputs have the same id, of all positions of the longer one.
* Equal boxes: pairs of one label whose four numbers differ by a pixel at most each, of all boxes of the answer that has more.
  Each box is in one pair only, and there are as many pairs as can be. Quadrilaterals and polygons are outlines, counted alike:
  as many points, and none of their numbers further away.

All three are shares of sums over the answers, so that long answers weigh more than short ones.
"""
import dataclasses

START, PAD, END = 2, 1, 2
# How far a number may be off, in pixels of the picture.
TOLERANCE_PX = 1.0


@dataclasses.dataclass
class Share:
    """How many of how many; two of them can be added."""
    equal: int = 0
    total: int = 0

    def __add__(self, other):
        return Share(self.equal + other.equal, self.total + other.total)

    def __str__(self):
        if not self.total:
            return "none"
        if self.equal == self.total:
            return "100 %"
        # Never rounded up to a hundred.
        return f"{min(100 * self.equal / self.total, 99.99):.2f} %"


@dataclasses.dataclass
class Agreement:
    """What two runs have in common."""
    answers: Share = dataclasses.field(default_factory=Share)
    tokens: Share = dataclasses.field(default_factory=Share)
    boxes: Share = dataclasses.field(default_factory=Share)
    outlines: Share = dataclasses.field(default_factory=Share)

    def __add__(self, other):
        return Agreement(self.answers + other.answers, self.tokens + other.tokens, self.boxes + other.boxes,
                         self.outlines + other.outlines)

    @property
    def is_full(self):
        return all(share.equal == share.total for share in (self.answers, self.tokens, self.boxes, self.outlines))


def strip(ids):
    """Output ids without start token, padding and final end, however a program counts those."""
    ids = [one for one in ids if one != PAD]
    if ids and ids[0] == START:
        ids = ids[1:]
    return ids[:ids.index(END)] if END in ids else ids


def compare(ours, reference):
    """The agreement of two answers to the same question."""
    mine, other = strip(ours["ids"]), strip(reference["ids"])
    same = sum(a == b for a, b in zip(mine, other))
    is_equal = mine == other and ours["prompt_ids"] == reference["prompt_ids"]
    boxes = [labelled_boxes(one["answer"]) for one in (ours, reference)]
    outlines = [labelled_outlines(one["answer"]) for one in (ours, reference)]
    return Agreement(Share(int(is_equal), 1), Share(same, max(len(mine), len(other))), match(*boxes), match(*outlines))


def labelled_boxes(answer):
    """(label, numbers) of each box of an answer."""
    if not isinstance(answer, dict):
        return []
    labels = answer.get("labels") or answer.get("bboxes_labels") or []
    return list(zip(labels, answer.get("bboxes") or []))


def labelled_outlines(answer):
    """(label, numbers) of each quadrilateral and polygon of an answer."""
    if not isinstance(answer, dict):
        return []
    labels = answer.get("labels") or answer.get("polygons_labels") or []
    if answer.get("quad_boxes"):
        return list(zip(labels, answer["quad_boxes"]))
    return [(label, part) for label, parts in zip(labels, answer.get("polygons") or []) for part in parts]


def match(ours, reference):
    """The share of shapes that both have."""
    close = [[at for at, other in enumerate(reference) if is_same(one, other)] for one in ours]
    taken = {}

    def place(one, tried):
        """Finds a partner for one of ours, moving others to another partner if need be."""
        for at in close[one]:
            if at not in tried:
                tried.add(at)
                if at not in taken or place(taken[at], tried):
                    taken[at] = one
                    return True
        return False

    pairs = sum(place(one, set()) for one in range(len(ours)))
    return Share(pairs, max(len(ours), len(reference)))


def is_same(one, other):
    (label, numbers), (other_label, other_numbers) = one, other
    return (label == other_label and len(numbers) == len(other_numbers)
            and all(abs(a - b) <= TOLERANCE_PX for a, b in zip(numbers, other_numbers)))


def first_difference(ours, reference):
    """One line that says where two answers part, None if they do not."""
    if ours["prompt_ids"] != reference["prompt_ids"]:
        return "the prompt has other ids"
    mine, other = strip(ours["ids"]), strip(reference["ids"])
    if mine == other:
        return None
    at = next((at for at, (a, b) in enumerate(zip(mine, other)) if a != b), min(len(mine), len(other)))
    told = [str(ids[at]) if at < len(ids) else "the end" for ids in (mine, other)]
    return f"token {at + 1} of {max(len(mine), len(other))} is {told[0]}, not {told[1]}"


def table(what, rows, notes=()):
    """Markdown: a row for each name and agreement of `rows`, whose names are of `what`, and a line for each note."""
    head = [what, "answers", "equal answers", "equal tokens", "equal boxes", "equal outlines"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for name, agreement in rows:
        cells = [name, str(agreement.answers.total)]
        cells += [str(share) for share in (agreement.answers, agreement.tokens, agreement.boxes, agreement.outlines)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + "".join(f"\n{note}\n" for note in notes)
