"""The task and location tokens, the prompts, and the tokenizer that holds them."""
import json


ADDED_TOKENS = (
    ["<od>", "</od>", "<ocr>", "</ocr>"]
    + [f"<loc_{i}>" for i in range(1000)]
    + ["<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>", "<grounding>", "</grounding>",
       "<seg>", "</seg>", "<sep>", "<region_cap>", "</region_cap>", "<region_to_desciption>",
       "</region_to_desciption>", "<proposal>", "</proposal>", "<poly>", "</poly>", "<and>"]
)
assert len(ADDED_TOKENS) == 1024

# Task token -> the sentence that is fed instead.
PROMPT_FIXED = {
    "<OCR>": "What is the text in the image?",
    "<OCR_WITH_REGION>": "What is the text in the image, with regions?",
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
    "<OD>": "Locate the objects with category name in the image.",
    "<DENSE_REGION_CAPTION>": "Locate the objects in the image, with their descriptions.",
    "<REGION_PROPOSAL>": "Locate the region proposals in the image.",
}
PROMPT_INPUT = {
    "<CAPTION_TO_PHRASE_GROUNDING>": "Locate the phrases in the caption: {}",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "Locate {} in the image with mask",
    "<REGION_TO_SEGMENTATION>": "What is the polygon mask of region {}",
    "<OPEN_VOCABULARY_DETECTION>": "Locate {} in the image.",
    "<REGION_TO_CATEGORY>": "What is the region {}?",
    "<REGION_TO_DESCRIPTION>": "What does the region {} describe?",
    "<REGION_TO_OCR>": "What text is in the region {}?",
}
ANSWER_KIND = {
    "<OCR>": "pure_text", "<OCR_WITH_REGION>": "ocr", "<CAPTION>": "pure_text",
    "<DETAILED_CAPTION>": "pure_text", "<MORE_DETAILED_CAPTION>": "pure_text",
    "<OD>": "description_with_bboxes", "<DENSE_REGION_CAPTION>": "description_with_bboxes",
    "<CAPTION_TO_PHRASE_GROUNDING>": "phrase_grounding",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "polygons", "<REGION_TO_SEGMENTATION>": "polygons",
    "<OPEN_VOCABULARY_DETECTION>": "description_with_bboxes_or_polygons",
    "<REGION_TO_CATEGORY>": "pure_text", "<REGION_TO_DESCRIPTION>": "pure_text",
    "<REGION_TO_OCR>": "pure_text", "<REGION_PROPOSAL>": "bboxes",
}
BANNED = sorted(set(
    "it I me mine you your yours he him his she her hers they them their theirs one oneself we us our ours its "
    "myself yourself himself herself itself ourselves yourselves themselves this that these those who whom whose "
    "which what all another any anybody anyone anything each everybody everyone everything few many nobody none "
    "several some somebody someone something image images the a an lots".split()
) | {"each other", "one another", "the image", "a group", "other objects", "a set"})


def expand_prompt(text, flavour="original"):
    """Task token -> English instruction.  flavour: original keeps the blanks around the
    user's text, native strips them."""
    for tok, sentence in PROMPT_FIXED.items():
        if tok in text:
            if text != tok:
                raise ValueError(f"{tok} takes no further text")
            text = sentence
            break
    for tok, sentence in PROMPT_INPUT.items():
        if tok in text:
            rest = text.replace(tok, "")
            if flavour == "native":
                rest = rest.strip()
            text = sentence.replace("{}", rest, 1)
            break
    return text


def load_base_tokenizer(path, keep_merges=None):
    """The hub's tokenizer.json (a dict); with keep_merges the vocabulary is cut down to the
    four specials, the 256 byte symbols, the first keep_merges merges and <mask>."""
    tj = json.load(open(path, encoding="utf-8"))
    if keep_merges is None:
        return tj
    old = tj["model"]["vocab"]
    byte_syms = sorted((s for s in old if len(s) == 1), key=lambda s: old[s])
    merges = tj["model"]["merges"][:keep_merges]
    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for s in byte_syms:
        vocab.setdefault(s, len(vocab))
    for m in merges:
        a, b = m.split(" ") if isinstance(m, str) else m
        assert a in vocab and b in vocab, (a, b)
        vocab.setdefault(a + b, len(vocab))
    vocab["<mask>"] = len(vocab)
    tj["model"]["vocab"], tj["model"]["merges"] = vocab, merges
    for a in tj["added_tokens"]:
        a["id"] = vocab[a["content"]]
    return tj


def base_size(tj):
    """How many ids the tokenizer has before the 1024 tokens are added.  Added tokens (such as
    `<mask>`) count also when the vocabulary itself does not list them."""
    return max([*tj["model"]["vocab"].values(), *(a["id"] for a in tj["added_tokens"])]) + 1


def pad_tokenizer(tj, size):
    """A copy with `size` ids before the added tokens: the missing ones are words that never come up."""
    tj = json.loads(json.dumps(tj))
    tj["model"]["vocab"].update((a["content"], a["id"]) for a in tj["added_tokens"])
    for i in range(base_size(tj), size):
        tj["model"]["vocab"][f"<unused_{i}>"] = i
    return tj


def tokenizer_with_added(tj, image_token=False):
    from tokenizers import AddedToken, Tokenizer
    tok = Tokenizer.from_str(json.dumps(tj, ensure_ascii=False))
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ADDED_TOKENS])
    if image_token:
        tok.add_special_tokens([AddedToken("<image>", normalized=False, special=True)])
    return tok


def clean_up(text):
    """What transformers 4.x does to decoded text unless told otherwise."""
    for a, b in ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
                 (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")):
        text = text.replace(a, b)
    return text
