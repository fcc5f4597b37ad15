"""Golden data against the original remote code.

Needs the folder with that code and a transformers that runs it (4.41 to 4.46), einops, and timm's DropPath.
"""
import importlib
import json
import os
import re
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.numpy import load_file
from transformers import BartTokenizerFast, CLIPImageProcessor

from .checkpoints import dump, write_original_repo
from .layouts import TIED
from .vocabulary import ADDED_TOKENS, load_base_tokenizer
from .weights import make_weights


def check(a):
    """Run the original remote code on the golden inputs.  a: dir, code, tokenizer."""
    torch.set_num_threads(1)
    code = os.path.abspath(a.code)
    sys.path.insert(0, os.path.dirname(code))
    pkg = os.path.basename(code)
    if not os.path.exists(os.path.join(code, "__init__.py")):
        open(os.path.join(code, "__init__.py"), "w").close()
    modeling = importlib.import_module(pkg + ".modeling_florence2")
    conf = importlib.import_module(pkg + ".configuration_florence2")
    processing = importlib.import_module(pkg + ".processing_florence2")
    print("transformers", transformers.__version__)
    spec = json.load(open(os.path.join(a.dir, "spec.json"), encoding="utf-8"))
    worst, problems = {}, []

    def cmp(name, x, y):
        e = float(np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64)).max()) if np.size(x) else 0.0
        worst[name] = max(worst.get(name, 0.0), e)
    for ms in spec["models"]:
        root = f"{a.dir}/{ms['name']}"
        idx = json.load(open(f"{root}/golden.json", encoding="utf-8"))
        half = ms.get("dtype", "fp32") == "fp16"
        tj = load_base_tokenizer(a.tokenizer, ms.get("keep_merges"))
        c = idx["config"]
        w = make_weights(c, ms["seed"], half)
        with tempfile.TemporaryDirectory() as repo:
            write_original_repo(repo, c, w, tj, "float32", False, False, True)
            tokz = BartTokenizerFast.from_pretrained(repo)
            ip = CLIPImageProcessor.from_pretrained(repo)
            proc = processing.Florence2Processor(ip, tokz)
            cfg = conf.Florence2Config(**json.load(open(f"{repo}/config.json")))
        cfg._attn_implementation = "eager"
        model = modeling.Florence2ForConditionalGeneration(cfg).float().eval()
        f = f"{root}/original/pytorch_model.bin"
        if os.path.exists(f):
            sd = torch.load(f, weights_only=True)
        else:
            sd = {k: torch.from_numpy(v) for k, v in w.items()}
            for n in TIED:
                sd[n] = sd["language_model.model.shared.weight"]
        miss, extra = model.load_state_dict({k: v.float() for k, v in sd.items()}, strict=False)
        print(ms["name"], "missing", miss, "extra", extra)
        for rec in idx["cases"]:
            G = load_file(f"{root}/{rec['file']}")
            hw = rec["image_hw"]
            imgs = [Image.open(f"{a.dir}/images/{x}").convert("RGB") for x in rec["images"]]
            if hw == idx["config"]["image"]:
                inp = proc(text=rec["prompts"], images=imgs, return_tensors="pt", padding=True)
                cmp("input_ids", inp["input_ids"].numpy(), G["input_ids"])
                pix = inp["pixel_values"]
                if "pixel_values" in G:
                    cmp("pixel_values", pix.numpy(), G["pixel_values"])
            else:
                pix = torch.from_numpy(G["pixel_values"])
            with torch.no_grad():
                try:
                    feats = model._encode_image(pix)
                except AssertionError as e:
                    print("   ", rec["name"], "original code refuses:", e)
                    continue
                cmp("image_features", feats.numpy(), G["image_features"])
                big = "logits_step0" not in G
                n = feats.shape[1]
                for b in range(len(imgs)):
                    ids = torch.tensor([rec["input_ids"][b]])
                    x = torch.cat([feats[b:b + 1], model.get_input_embeddings()(ids)], 1)
                    h = model.get_encoder()(inputs_embeds=x, attention_mask=torch.ones(x.shape[:2])).last_hidden_state
                    cmp("encoder_output", h[0].numpy(), G["encoder_output"][b][:x.shape[1]])
                    o = model.language_model(encoder_outputs=(h,), attention_mask=torch.ones(x.shape[:2]),
                                             decoder_input_ids=torch.tensor([[2, 0]])).logits
                    for st in (0, 1):
                        lgt = o[0, st].numpy()
                        if big:
                            cmp("logits", lgt[G[f"logits_step{st}_top64_ids"][b]], G[f"logits_step{st}_top64_values"][b])
                        else:
                            cmp("logits", lgt, G[f"logits_step{st}"][b])
                    for e in rec["generate"]:
                        g = dict(e["args"])
                        nb = g.setdefault("num_beams", 3)
                        g.setdefault("num_return_sequences", nb)
                        if g.get("no_repeat_ngram_size") == 0:
                            g["no_repeat_ngram_size"] = 0
                        for k in ("forced_bos_token_id", "forced_eos_token_id"):
                            if g.get(k) == -1:
                                g[k] = None
                                setattr(model.language_model.generation_config, k, None)
                            else:
                                setattr(model.language_model.generation_config, k, 0 if "bos" in k else 2)
                        out = model.generate(input_ids=ids, pixel_values=pix[b:b + 1], do_sample=False,
                                             return_dict_in_generate=True, output_scores=True, **g)
                        seqs = []
                        for row in out.sequences.tolist():
                            end = next((j + 1 for j in range(1, len(row)) if row[j] == 2), len(row))
                            seqs.append(row[:end])
                        tag = f"{ms['name']}/{rec['name']}[{b}] {e['args']}"
                        if seqs[0] != e["sequences"][b][0]:
                            problems.append("best ids differ: " + tag)
                        elif seqs != e["sequences"][b]:
                            problems.append("lower-ranked ids differ: " + tag)
                        if "scores" in e and seqs == e["sequences"][b]:
                            z = np.array(e["scores"][b])
                            cmp("scores", np.where(z > -1e8, out.sequences_scores.numpy(), 0), np.where(z > -1e8, z, 0))
                        dec = tokz.decode(e["sequences"][b][0], skip_special_tokens=False)
                        if dec != e["decoded_clean"][b]:
                            problems.append("decoded text differs: " + tag)
                        mt = re.match(r"<[A-Z_]+>", rec["prompts"][b])
                        task = mt.group(0) if mt else "<CAPTION>"
                        if post := proc.post_process_generation(text=dec, task=task, image_size=imgs[b].size):
                            if post != e["parsed_original"][b]:
                                problems.append("parsed differs: " + tag)
    for fn, keyfn in (("postprocess.json", None),):
        p = f"{a.dir}/{fn}"
        if os.path.exists(p):
            cases = json.load(open(p, encoding="utf-8"))
            bad = 0
            for k in cases:
                r = proc.post_process_generation(text=k["text"], task=k["task"], image_size=tuple(k["size"]))[k["task"]]
                if r != k["original"]:
                    bad += 1
                    problems.append(f"postprocess {k['name']}: {r} != {k['original']}")
            print("postprocess", len(cases), "cases,", bad, "differ")
    p = f"{a.dir}/tokenizer_cases.json"
    if os.path.exists(p):
        with tempfile.TemporaryDirectory() as d:
            shutil.copy(a.tokenizer, f"{d}/tokenizer.json")
            dump({"model_max_length": 1024}, f"{d}/tokenizer_config.json")
            tk = BartTokenizerFast.from_pretrained(d)
            tk.add_special_tokens({"additional_special_tokens": list(ADDED_TOKENS)})
        bad = 0
        for k in json.load(open(p, encoding="utf-8")):
            text = proc._construct_prompts([k["prompt"]])[0] if k.get("expand", True) else k["prompt"]
            if tk(text)["input_ids"] != k["ids"]:
                bad += 1
                problems.append("tokenizer: " + repr(k["prompt"]))
            if tk.decode(k["ids"], skip_special_tokens=False, clean_up_tokenization_spaces=False) != k["decoded"]:
                problems.append("tokenizer decode: " + repr(k["prompt"]))
        print("tokenizer cases differ:", bad)
    print("worst absolute differences:", worst)
    print(len(problems), "differences")
    for q in problems:
        print("  ", q)
