"""Write the trained demo model as a checkpoint folder in the published layout (fp16), and measure it.

python export_demo.py RUN_FOLDER OUT_FOLDER
RUN_FOLDER is train_demo.py's --out (state.pt, tokenizer.json, args.json if finished).
"""
import argparse, json, os, re, sys
import numpy as np
import torch

import train_demo as T
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from florence2_ref.checkpoints import write_original_repo
from florence2_ref.generation import build_native_model
from florence2_ref.layouts import native_name, tensor_specs
from florence2_ref.pictures import pixel_values
from florence2_ref.vocabulary import base_size
from florence2_ref.weights import temporal_table


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("run"); ap.add_argument("out")
    ap.add_argument("--scenes", type=int, default=300); ap.add_argument("--write-scenes", default=None)
    ap.add_argument("--seed", type=int, default=777); ap.add_argument("--count", type=int, default=40)
    ap.add_argument("--size", type=int, default=128); ap.add_argument("--dims", type=int, nargs=4, default=[16, 32, 64, 128])
    ap.add_argument("--depth3", type=int, default=2); ap.add_argument("--d-model", dest="d_model", type=int, default=128)
    ap.add_argument("--layers", type=int, default=2)
    a = ap.parse_args()
    if a.write_scenes:
        return write_scenes(a)
    state = torch.load(f"{a.run}/state.pt")
    tj = json.load(open(f"{a.run}/tokenizer.json"))
    vocab = base_size(tj) + len(T.SPECIAL)
    c = dict(name="demo", vocab=vocab, d_model=a.d_model, ffn=4 * a.d_model, heads=a.d_model // 32, enc_layers=a.layers,
             dec_layers=a.layers, max_pos=512, dim_embed=a.dims, depths=[1, 1, a.depth3, 1], num_heads=[d // 16 for d in a.dims],
             num_groups=[d // 16 for d in a.dims], window=12, image=[a.size, a.size], pos2d=50, temporal=100)
    w = {}
    for name, shape, kind in tensor_specs(c):
        native = native_name(name)
        if native is None:
            v = np.zeros(shape, np.float32)
        elif kind == "temporal":
            v = temporal_table(*shape).astype(np.float32)
        else:
            v = state[native].float().numpy()
            if name == "image_projection":
                v = v.T
            if name == "language_model.model.shared.weight":
                v = v[:vocab]
        assert v.shape == tuple(shape), (name, v.shape, shape)
        w[name] = np.ascontiguousarray(v).astype(np.float16)
    write_original_repo(a.out, c, w, tj, "float16", with_bin=False, with_vocab=False)
    if os.path.exists(f"{a.out}/vocab.json"):
        os.remove(f"{a.out}/vocab.json")
    print("parameters", sum(v.size for k, v in w.items() if "temporal" not in k), "file", os.path.getsize(f"{a.out}/model.safetensors"))
    report(c, {k: v.astype(np.float32) for k, v in w.items()}, tj, a)


def report(c, w, tj, a):
    """Beam search as served (3 beams, 3-gram ban, forced first token), on fresh scenes drawn at 384 px."""
    from tokenizers import Tokenizer
    torch.set_num_threads(2)
    tok = Tokenizer.from_str(json.dumps(tj)); tok.add_special_tokens(T.SPECIAL)
    vocab = c["vocab"]
    m = build_native_model(c, w, vocab + 1, vocab)
    rng = np.random.default_rng(a.seed)
    n_img = (a.size // 32) ** 2 + 1
    stats = {}
    for k in range(a.scenes):
        img, objects = draw(rng, 384)
        W, H = img.size
        gs = T.groups(objects)
        pix = torch.from_numpy(pixel_values(img.convert("RGB"), [a.size, a.size]))[None].float()
        key = list(gs)[rng.integers(len(gs))]
        shape = key[1]
        asks = [("caption", "Locate the phrases in the caption: " + T.caption(objects), [(T.phrase_of(g, len(v)), v) for g, v in gs.items()]),
                ("one phrase", "Locate the phrases in the caption: " + T.article(*key), [(T.article(*key), gs[key])]),
                ("shape only", "Locate the phrases in the caption: " + shape, [(shape, [o for o in objects if o["shape"] == shape])]),
                ("OD", "Locate the objects with category name in the image.", [(s, [o for o in objects if o["shape"] == s]) for s in {o["shape"] for o in objects}])]
        for name, prompt, want in asks:
            ids = [vocab] * n_img + tok.encode(prompt).ids
            out = m.generate(input_ids=torch.tensor([ids]), pixel_values=pix, attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                             max_new_tokens=150, num_beams=3, no_repeat_ngram_size=3, forced_bos_token_id=0, forced_eos_token_id=2, early_stopping=True,
                             do_sample=False, eos_token_id=2, pad_token_id=1, decoder_start_token_id=2)
            s = tok.decode(out[0].tolist(), skip_special_tokens=False)
            got = boxes(s, W, H)
            st = stats.setdefault(name, dict(asked=0, found=0, iou=0.0, extra=0, scenes=0)); st["scenes"] += 1
            used = set()
            for label, objs in want:
                for o in objs:
                    st["asked"] += 1
                    best, who = 0, None
                    for i, (q, b) in enumerate(got):
                        if q == label and i not in used and iou(b, o["box"]) > best:
                            best, who = iou(b, o["box"]), i
                    if best >= 0.5:
                        used.add(who); st["found"] += 1
                    st["iou"] += best
            st["extra"] += len(got) - len(used)
        cap = tok.decode(m.generate(input_ids=torch.tensor([[vocab] * n_img + tok.encode("What does the image describe?").ids]), pixel_values=pix, max_new_tokens=80, num_beams=3,
                         no_repeat_ngram_size=3, forced_bos_token_id=0, forced_eos_token_id=2, early_stopping=True, do_sample=False, eos_token_id=2, pad_token_id=1, decoder_start_token_id=2)[0].tolist(), skip_special_tokens=True)
        st = stats.setdefault("captions exactly right", dict(asked=0, found=0)); st["asked"] += 1; st["found"] += cap.strip() == T.caption(objects)
    for name, st in stats.items():
        line = f"{name}: {st['found']} of {st['asked']} = {st['found'] / st['asked']:.3f}"
        if "iou" in st:
            line += f", mean IoU {st['iou'] / st['asked']:.3f}, boxes too many {st['extra']} in {st['scenes']} scenes"
        print(line, flush=True)


def draw(rng, size):
    while True:
        img, objects = T.scene(rng, size)
        if objects:
            return img, objects


def boxes(s, W, H):
    out = []
    for m in re.finditer(r"([^<]*)((?:<loc_\d+>)+)", s.replace("<s>", "").replace("</s>", "")):
        v = [int(q) for q in re.findall(r"<loc_(\d+)>", m[2])]
        v = [(q + 0.5) * (W if i % 2 == 0 else H) / 1000 for i, q in enumerate(v)]
        out += [(m[1].strip(), v[i:i + 4]) for i in range(0, len(v) - 3, 4)]
    return out


def iou(a, b):
    iw, ih = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if iw <= 0 or ih <= 0:
        return 0.0
    return iw * ih / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - iw * ih)


def write_scenes(a):
    """PNG scenes with their truth, for tests: out/NAME.png and out/scenes.json."""
    from PIL import Image
    os.makedirs(a.write_scenes, exist_ok=True)
    rng = np.random.default_rng(a.seed)
    truth = []
    for k in range(a.count):
        img, objects = draw(rng, 320)
        W, H = [(320, 320), (320, 240), (400, 320)][k % 3]
        sx, sy = W / 320, H / 320
        img = img.resize((W, H), Image.BICUBIC)
        name = f"scene_{k:02d}.png"
        img.save(f"{a.write_scenes}/{name}", optimize=True)
        truth.append(dict(file=name, width=W, height=H, caption=T.caption(objects), objects=[dict(color=o["color"], shape=o["shape"], box=[round(float(v), 2) for v in
                     (o["box"][0] * sx, o["box"][1] * sy, o["box"][2] * sx, o["box"][3] * sy)]) for o in objects]))
    json.dump(truth, open(f"{a.write_scenes}/scenes.json", "w"), indent=1)


if __name__ == "__main__":
    main()
