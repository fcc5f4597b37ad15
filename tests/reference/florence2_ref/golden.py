"""Golden data of tiny models: the tensors of every stage, generated ids, texts and answers.

A spec.json names the pictures, the models (seed, sizes, tuning of the random weights) and their cases.
Every case is run three times: in f32 (the expected values), in f32 with the padded vocabulary of the
native layout (`native_*`), and in f64 (ids that rounding alone can change are marked `fragile`).
"""
import json
import os
import re

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from transformers.modeling_outputs import BaseModelOutput

from .answers import post_process
from .checkpoints import dump, write_native_repo, write_original_repo
from .generation import Taps, build_native_model, encode, plain_search, run_generate
from .layouts import native_vocab_size
from .pictures import make_image, pixel_values, save_image
from .vocabulary import ADDED_TOKENS, base_size, clean_up, expand_prompt, load_base_tokenizer, tokenizer_with_added
from .weights import make_weights


def write_golden(folder, tokenizer_path, verbose=False, selftest=False):
    """Writes images/ and one folder for each model next to folder/spec.json."""
    torch.set_num_threads(1)
    with open(f"{folder}/spec.json", encoding="utf-8") as f:
        spec = json.load(f)
    pictures = write_pictures(spec["images"], f"{folder}/images")
    for model_spec in spec["models"]:
        model = GoldenModel(folder, model_spec, tokenizer_path, selftest)
        cases = []
        for case in model_spec["cases"]:
            rec = model.write_case(case, pictures)
            cases.append(rec)
            if verbose:
                print_case(rec)
        index = {"config": model.c, "seed": model_spec["seed"], "dtype": model_spec.get("dtype", "fp32"), "cases": cases}
        dump(index, f"{model.root}/golden.json", None)


def write_pictures(specs, folder):
    os.makedirs(folder, exist_ok=True)
    pictures = {}
    for s in specs:
        path = f"{folder}/{s['file']}"
        save_image(make_image(s), path, s)
        pictures[s["file"]] = Image.open(path).convert("RGB")
    return pictures


def print_case(rec):
    for e in rec["generate"]:
        print("   ", e["args"], [len(s[0]) for s in e["sequences"]], "native differs" if "native_sequences" in e else "",
              "FRAGILE" if e.get("fragile") else "")
        print("      ", e["decoded"][0][:300])


class Batch:
    """The inputs of one case: pixels, and prompts padded on the right."""

    def __init__(self, case, hw, pictures, tok):
        self.files, self.prompts = case["images"], case["prompts"]
        self.sizes = [pictures[f].size for f in self.files]
        self.pix = torch.from_numpy(np.stack([pixel_values(pictures[f], hw) for f in self.files]))
        self.texts = [expand_prompt(p) for p in self.prompts]
        self.rows = [tok.encode(p).ids for p in self.texts]
        longest = max(map(len, self.rows))
        self.ids = torch.tensor([r + [1] * (longest - len(r)) for r in self.rows])
        self.mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in self.rows])


class GoldenModel:
    """One random checkpoint on disk and in its three forms in memory."""

    def __init__(self, folder, spec, tokenizer_path, selftest):
        self.spec, self.selftest, self.root = spec, selftest, f"{folder}/{spec['name']}"
        half = spec.get("dtype", "fp32") == "fp16"
        tj = load_base_tokenizer(tokenizer_path, spec.get("keep_merges"))
        self.c = c = dict(spec["config"])
        c["vocab"] = vocab = base_size(tj) + len(ADDED_TOKENS)
        w = make_weights(c, spec["seed"], half)
        self.write_checkpoints(w, tj, "float16" if half else "float32")
        self.tok = tokenizer_with_added(tj)
        self.f32 = build_native_model(c, w, vocab, vocab - 1)                   # exactly the original's rows
        self.padded = build_native_model(c, w, native_vocab_size(vocab), vocab)  # with <image> and padding rows
        self.f64 = build_native_model(c, w, vocab, vocab - 1).double()

    def write_checkpoints(self, w, tj, dtype):
        layouts = self.spec.get("layouts", ["original", "bin", "native"])
        if "original" in layouts or "bin" in layouts:
            write_original_repo(f"{self.root}/original", self.c, w, tj, dtype, "bin" in layouts, "original" in layouts)
        if "native" in layouts:
            write_native_repo(f"{self.root}/native", self.c, w, tj, dtype, self.spec.get("native_added_tokens", True))

    def write_case(self, case, pictures):
        """Writes CASE.safetensors and returns the case's record for golden.json."""
        name, hw = case["name"], case.get("image_hw", self.c["image"])
        batch = Batch(case, hw, pictures, self.tok)
        tensors, mask, enc = self.stage_tensors(batch, case.get("taps", "full"))
        tensors.update(self.logits(enc, mask, case))
        generated = [self.generate(batch, enc, mask, g) for g in case["generate"]]
        tensors.update(self.teacher(enc, mask, case))
        image_tokens = tensors["image_features"].shape[1]
        self.check_placeholder_path(batch, image_tokens, mask)
        self.check_padding(batch, enc)
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, f"{self.root}/{name}.safetensors")
        lengths = [[len(s) for s in row] for row in generated[0]["sequences"]]
        print(self.spec["name"], name, "img tokens", image_tokens, "text", batch.ids.shape[1], "beam lengths", lengths)
        return {"name": name, "images": batch.files, "image_hw": hw, "image_tokens": image_tokens, "prompts": batch.prompts,
                "texts": batch.texts, "input_ids": batch.rows, "generate": generated, "file": f"{name}.safetensors"}

    def stage_tensors(self, batch, taps):
        """Everything up to the encoder's output.  taps: full (each block and layer), stages or none."""
        t, model = Taps(), self.f32.model
        tower = model.vision_tower
        if taps == "full":
            for i in range(4):
                t.tap(tower.convs[i], f"vision.stage{i}.conv")
                for j, b in enumerate(tower.blocks[i]):
                    t.tap(b.spatial_block, f"vision.stage{i}.block{j}.spatial")
                    t.tap(b.channel_block, f"vision.stage{i}.block{j}.channel")
            first = tower.blocks[0][0]
            t.tap(first.spatial_block.window_attn, "vision.stage0.block0.window_attn")
            t.tap(first.channel_block.channel_attn, "vision.stage0.block0.channel_attn")
            t.tap(model.language_model.encoder.layernorm_embedding, "encoder.embed_norm")
            for i, layer in enumerate(model.language_model.encoder.layers):
                t.tap(layer, f"encoder.layer{i}")
        elif taps == "stages":
            for i in range(4):
                t.tap(tower.blocks[i][-1], f"vision.stage{i}.out")
        feats, x, mask, enc = encode(self.f32, batch.pix, batch.ids, batch.mask)
        t.close()
        out = dict(t.out)
        if taps != "none":
            out["pixel_values"], out["inputs_embeds"] = batch.pix.numpy(), x.numpy()
        out["image_features"], out["input_ids"] = feats.numpy(), batch.ids.numpy()
        out["attention_mask"], out["encoder_output"] = mask.numpy(), enc.numpy()
        return out, mask, enc

    def decode(self, enc, mask, ids):
        """Logits of the decoder input ids, without a cache."""
        with torch.no_grad():
            return self.f32(encoder_outputs=BaseModelOutput(last_hidden_state=enc), attention_mask=mask,
                            decoder_input_ids=ids, use_cache=False).logits

    def logits(self, enc, mask, case):
        """The first two steps.  Large vocabularies, and cases with `"logits": "top"`, keep the best 64 of them."""
        t = Taps()
        if case.get("taps", "full") == "full":
            decoder = self.f32.model.language_model.decoder
            t.tap(decoder.layernorm_embedding, "decoder_step0.embed_norm")
            for i, layer in enumerate(decoder.layers):
                t.tap(layer.self_attn, f"decoder_step0.layer{i}.self_attn")
                t.tap(layer.encoder_attn, f"decoder_step0.layer{i}.cross_attn")
                t.tap(layer, f"decoder_step0.layer{i}")
        step0 = self.decode(enc, mask, torch.full((len(enc), 1), 2))[:, 0]
        t.close()
        step1 = self.decode(enc, mask, torch.tensor([[2, 0]] * len(enc)))[:, 1]
        out = dict(t.out)
        if self.c["vocab"] < 10000 and case.get("logits", "all") == "all":
            out["logits_step0"], out["logits_step1"] = step0.numpy(), step1.numpy()
            return out
        for name, v in (("step0", step0), ("step1", step1)):
            top = v.topk(64)
            out[f"logits_{name}_top64_values"], out[f"logits_{name}_top64_ids"] = top.values.numpy(), top.indices.numpy()
            out[f"logits_{name}_lse"] = v.logsumexp(-1).numpy()
        return out

    def teacher(self, enc, mask, case):
        """Logits along the whole greedy path of row 0, without a cache."""
        greedy = run_generate(self.f32, enc[:1], mask[:1], {"num_beams": 1, "max_new_tokens": case.get("tf_len", 24)})
        seq = greedy["sequences"][0][0]
        logits = self.decode(enc[:1], mask[:1], torch.tensor([seq]))[0]
        out = {"teacher_ids": np.array(seq)}
        if case.get("taps", "full") == "full":
            out["teacher_logits"] = logits.numpy()
        else:
            v, i = logits.topk(16)
            out["teacher_top16_values"], out["teacher_top16_ids"] = v.numpy(), i.numpy()
        return out

    def generate(self, batch, enc, mask, g):
        """One generate setting: ids and scores, texts and answers."""
        r = run_generate(self.f32, enc, mask, g)
        entry = {"args": g, **r}
        native = self.run_other(self.padded, batch, batch.pix, g)
        if native["sequences"] != r["sequences"]:
            entry["native_sequences"] = native["sequences"]
        if "scores" in native:
            entry["native_scores"] = native["scores"]
        if self.run_other(self.f64, batch, batch.pix.double(), g)["sequences"] != r["sequences"]:
            entry["fragile"] = True
        if self.selftest and g.get("num_beams", 3) > 1 and g["max_new_tokens"] > 2:
            self.check_plain_search(enc, mask, g, r)
        entry["decoded"] = [self.tok.decode(s[0], skip_special_tokens=False) for s in r["sequences"]]
        entry["decoded_clean"] = [clean_up(text) for text in entry["decoded"]]
        entry["parsed_original"], entry["parsed_native"] = [], []
        for prompt, text, size in zip(batch.prompts, entry["decoded"], batch.sizes):
            m = re.match(r"<[A-Z_]+>", prompt)
            task = m.group(0) if m else "<CAPTION>"
            entry["parsed_original"].append(post_process(clean_up(text), task, size, "original"))
            entry["parsed_native"].append(post_process(text, task, size, "native"))
        return entry

    @staticmethod
    def run_other(model, batch, pix, g):
        _, _, mask, enc = encode(model, pix, batch.ids, batch.mask)
        return run_generate(model, enc, mask, g)

    def check_plain_search(self, enc, mask, g, expected):
        def setting(name, default):
            return None if g.get(name, default) == -1 else g.get(name, default)

        for b in range(len(enc)):
            def step(seqs):
                k = len(seqs)
                return self.decode(enc[b:b + 1].repeat(k, 1, 1), mask[b:b + 1].repeat(k, 1),
                                   torch.tensor(seqs))[:, -1].numpy()
            mine = plain_search(step, g["max_new_tokens"], g.get("num_beams", 3), g.get("no_repeat_ngram_size", 3),
                                setting("forced_bos_token_id", 0), setting("forced_eos_token_id", 2),
                                g.get("early_stopping", True), g.get("length_penalty", 1.0))
            want = expected["sequences"][b]
            if [seq for _, seq in mine][:len(want)] != want:
                print("   plain search differs", b, g, mine, want, expected["scores"][b])

    def check_placeholder_path(self, batch, image_tokens, mask):
        """The whole native path, with <image> placeholders, must give the ids of the split path."""
        ids = torch.cat([torch.full((len(batch.ids), image_tokens), self.c["vocab"]), batch.ids], 1)
        with torch.no_grad():
            whole = self.padded.generate(input_ids=ids, pixel_values=batch.pix, attention_mask=mask, do_sample=False,
                                         num_beams=3, no_repeat_ngram_size=3, forced_bos_token_id=0,
                                         forced_eos_token_id=2, early_stopping=True, max_new_tokens=20)
        split = self.run_other(self.padded, batch, batch.pix, {"max_new_tokens": 20, "num_return_sequences": 1})
        for row, (best,) in zip(whole.tolist(), split["sequences"]):
            assert row[:len(best)] == best, "native placeholder path differs"

    def check_padding(self, batch, enc):
        """Each row of a padded batch must equal the row alone."""
        for b, row in enumerate(batch.rows):
            alone = encode(self.f32, batch.pix[b:b + 1], torch.tensor([row]), torch.ones(1, len(row), dtype=batch.mask.dtype))[3]
            err = (alone[0] - enc[b, :alone.shape[1]]).abs().max().item()
            assert err < 5e-4, ("padding leaks", err)
