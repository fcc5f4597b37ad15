#!/usr/bin/env python3
"""Reference material for a Florence-2 implementation.

What it can do (each is one sub-command, see --help of each):

  golden       read a spec.json, build tiny random-weight checkpoints in both
               weight layouts and write golden inputs/outputs for every stage
  preprocess   write the image fixtures and their 8-bit resized forms
  postprocess  fill in the expected results of a list of post-processing cases
  tokenizer    fill in the expected ids of a list of tokenizer cases
  checkpoint   write a full-size (base | large | large-4k) random-weight
               checkpoint for benchmarks, fp32 or fp16, either layout
  flops        print multiply-add counts, bytes and parameter counts
  shapes       print every tensor name and shape of a configuration
  check        compare golden data with the original remote code (needs the
               remote code folder and an old transformers, 4.41 - 4.46)

Packages: requirements.txt, except for `check`.  Everything random comes from
numpy's PCG64 with the seed in the spec, so output is reproducible.
"""
import argparse
import json
import os
import sys

import numpy as np

from florence2_ref import cost
from florence2_ref.answers import native_post_processor, post_process
from florence2_ref.checkpoints import write_native_repo, write_original_repo
from florence2_ref.layouts import TIED, full_config, native_name, native_vocab_size, tensor_specs
from florence2_ref.pictures import make_image, pil_bicubic, pixel_values, resize_u8, save_image
from florence2_ref.vocabulary import (ADDED_TOKENS, base_size, expand_prompt, load_base_tokenizer, pad_tokenizer,
                                      tokenizer_with_added)
from florence2_ref.weights import make_weights

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_TOKENIZER = os.path.normpath(os.path.join(HERE, "..", "..", "src", "models", "demo", "tokenizer.json"))
GOLDEN = os.path.normpath(os.path.join(HERE, "..", "fixtures", "golden"))
SIZES = ["base", "large", "large-4k"]
# Tuning of full-size random weights whose outputs depend on picture, prompt and step, with clear winners among
# the beams.  The deeper models need weaker layers for that.
VARIED_BASE = {"tok": 0.15, "qk": 2.0, "lin": 1.0, "res": 0.4, "cross": 0.8, "pos": 1.5, "loc": 0.6, "kick": 8,
               "eos_norm": 1.3, "eos": 0.5, "eos_kick": 8, "eos_at": 35}
VARIED_LARGE = {**VARIED_BASE, "res": 0.25, "cross": 0.5}
VARIED = {"base": VARIED_BASE, "large": VARIED_LARGE, "large-4k": VARIED_LARGE}


def write_rows(path, rows):
    """A JSON array with one row per line."""
    with open(path, "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def cmd_golden(a):
    from florence2_ref.golden import write_golden
    write_golden(a.dir, a.tokenizer, a.verbose, a.selftest)


def cmd_preprocess(a):
    from PIL import Image
    out = f"{a.dir}/preprocess"
    os.makedirs(out, exist_ok=True)
    index = []
    for s in read_json(f"{a.dir}/spec.json")["preprocess"]:
        path = f"{out}/{s['file']}"
        save_image(make_image(s), path, s)
        raw = Image.open(path)
        rgb = raw.convert("RGB")
        stem = s["file"].rsplit(".", 1)[0]
        rec = {"file": s["file"], "mode": raw.mode, "size": list(raw.size), "orientation_tag": s.get("orientation"),
               "lossy": s["file"].endswith(".jpg"), "outputs": []}
        if raw.mode != "RGB" or rec["lossy"]:
            rgb.save(f"{out}/{stem}.rgb.png", optimize=True)
            rec["rgb"] = f"{stem}.rgb.png"
        rec["outputs"] = [preprocess_output(rgb, s, hw, out, stem) for hw in s["to"]]
        index.append(rec)
    write_rows(f"{out}/preprocess.json", index)
    print(len(index), "images")


def preprocess_output(rgb, s, hw, out, stem):
    """Writes one resized picture; returns its record with sample values after normalisation."""
    from PIL import Image
    u8 = resize_u8(rgb, hw)
    if s.get("emulate", True):
        mine = pil_bicubic(np.asarray(rgb), hw[1], hw[0])
        assert (mine == u8).all(), ("restated resize differs", s["file"], hw, int(np.abs(mine.astype(int) - u8).max()))
    name = f"{stem}.{hw[0]}x{hw[1]}.png"
    Image.fromarray(u8).save(f"{out}/{name}", optimize=True)
    pv = pixel_values(rgb, hw)
    rng = np.random.Generator(np.random.PCG64(1))
    points = [[int(rng.integers(0, 3)), int(rng.integers(0, hw[0])), int(rng.integers(0, hw[1]))] for _ in range(48)]
    return {"hw": hw, "resized": name, "mean": float(pv.astype(np.float64).mean()),
            "abs_mean": float(np.abs(pv.astype(np.float64)).mean()), "points_chw": points,
            "values": [float(pv[tuple(q)]) for q in points]}


def cmd_postprocess(a):
    cases = read_json(a.cases)
    proc = None if a.no_native else native_post_processor()
    bad = 0
    for i, k in enumerate(cases):
        for flavour in ("original", "native"):
            k[flavour] = post_process(k["text"], k["task"], k["size"], flavour)[k["task"]]
        k.setdefault("name", f"case{i}")
        if proc is None:
            continue
        try:
            real = proc.post_process_generation(text=k["text"], task=k["task"], image_size=tuple(k["size"]))[k["task"]]
        except Exception as e:  # noqa: BLE001
            real = {"error": type(e).__name__}
        if real != k["native"]:
            bad += 1
            print("native differs:", k["name"], real, k["native"])
    write_rows(a.out or a.cases, cases)
    print(len(cases), "cases,", bad, "differ from the native processor")
    return bad


def cmd_tokenizer(a):
    cases = read_json(a.cases)
    tok = tokenizer_with_added(load_base_tokenizer(a.tokenizer))
    for k in cases:
        expand = k.get("expand", True)
        k["text"] = expand_prompt(k["prompt"]) if expand else k["prompt"]
        k["text_native"] = expand_prompt(k["prompt"], "native") if expand else k["prompt"]
        k["ids"] = tok.encode(k["text"]).ids
        k["decoded"] = tok.decode(k["ids"], skip_special_tokens=False)
        k["decoded_skip_special"] = tok.decode(k["ids"], skip_special_tokens=True)
    write_rows(a.out or a.cases, cases)
    print(len(cases), "tokenizer cases")


def cmd_checkpoint(a):
    c = full_config(a.size)
    if a.varied:
        c["tune"] = VARIED[a.size]
    w = make_weights(c, a.seed, a.dtype == "fp16", plain=not a.varied)
    tj = None
    if os.path.exists(a.tokenizer):
        tj = load_base_tokenizer(a.tokenizer)
        if base_size(tj) + len(ADDED_TOKENS) < c["vocab"]:
            tj = pad_tokenizer(tj, c["vocab"] - len(ADDED_TOKENS))
    dtype = "float16" if a.dtype == "fp16" else "float32"
    if a.layout in ("original", "both"):
        write_original_repo(a.out if a.layout == "original" else f"{a.out}/original", c, w, tj, dtype, a.bin, not a.bin_only)
    if a.layout in ("native", "both"):
        write_native_repo(a.out if a.layout == "native" else f"{a.out}/native", c, w, tj, dtype)
    print("written", a.out)


def cmd_flops(_):
    for size in SIZES:
        cost.report(full_config(size))


def cmd_shapes(a):
    c = full_config(a.size)
    for name, shape, _ in tensor_specs(c):
        nn = native_name(name)
        sh = list(shape)
        ns = sh[::-1] if name == "image_projection" else sh
        if "shared" in name:
            ns = [native_vocab_size(c["vocab"]), sh[1]]
        print(name, sh, "->", nn, ns if nn else "")
    for n in TIED:
        print(n, "tied to language_model.model.shared.weight ->", native_name(n))


def cmd_check(a):
    from florence2_ref.remote_code import check
    return check(a)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="cmd", required=True)

    def add(name, fn, *flags):
        p = sub.add_parser(name)
        p.set_defaults(fn=fn)
        p.add_argument("--tokenizer", default=DEFAULT_TOKENIZER, help="tokenizer.json without the 1024 added tokens")
        for f, kw in flags:
            p.add_argument(f, **kw)
    folder = ("--dir", dict(default=GOLDEN, help="folder with spec.json; output goes there"))
    add("golden", cmd_golden, folder, ("--verbose", dict(action="store_true")),
        ("--selftest", dict(action="store_true", help="also run the plain-Python beam search on every case (slow)")))
    add("preprocess", cmd_preprocess, folder)
    add("postprocess", cmd_postprocess, ("--cases", dict(default=f"{GOLDEN}/postprocess.json")), ("--out", {}),
        ("--no-native", dict(action="store_true")))
    add("tokenizer", cmd_tokenizer, ("--cases", dict(default=f"{GOLDEN}/tokenizer_cases.json")), ("--out", {}))
    add("checkpoint", cmd_checkpoint, ("--size", dict(choices=SIZES, required=True)),
        ("--out", dict(required=True)), ("--dtype", dict(choices=["fp32", "fp16"], default="fp16")),
        ("--layout", dict(choices=["original", "native", "both"], default="original")),
        ("--bin", dict(action="store_true", help="also write pytorch_model.bin")),
        ("--bin-only", dict(action="store_true")), ("--seed", dict(type=int, default=0)),
        ("--varied", dict(action="store_true", help="weights with varied outputs; otherwise flat ones that repeat one token")))
    add("flops", cmd_flops)
    add("shapes", cmd_shapes, ("--size", dict(choices=SIZES, default="base")))
    add("check", cmd_check, folder, ("--code", dict(required=True, help="folder with the remote code")))
    a = ap.parse_args()
    sys.exit(1 if a.fn(a) else 0)


if __name__ == "__main__":
    main()
