"""Train the demo checkpoint: a few-million-parameter Florence-2 that grounds phrases about coloured shapes.

The scenes are drawn here, so the data needs no download. Output: a checkpoint folder in the layout of the
transformers-native Florence-2 models (see --out), from which export_demo.py writes the published layout.
"""
import argparse, json, math, os, re, time
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter

COLORS = {"red": (214, 40, 40), "green": (46, 160, 67), "blue": (33, 90, 214), "yellow": (240, 205, 35),
          "orange": (240, 130, 20), "purple": (125, 50, 180), "white": (245, 245, 245), "black": (20, 20, 20)}
SHAPES = ["circle", "square", "triangle", "star", "cross"]
NUMBERS = {2: "two", 3: "three", 4: "four"}
BINS = 1000


def background(rng, size):
    kind = rng.random()
    if kind < 0.35:
        base = np.ones((size, size, 3)) * rng.integers(60, 215, 3)
    elif kind < 0.75:
        a, b = rng.integers(50, 220, 3), rng.integers(50, 220, 3)
        t = np.linspace(0, 1, size)
        t = t[:, None, None] if rng.random() < 0.5 else t[None, :, None]
        base = np.ones((size, size, 1)) * (a * (1 - t) + b * t)
    else:
        small = rng.integers(70, 200, (6, 6, 3)).astype(np.uint8)
        base = np.asarray(Image.fromarray(small).resize((size, size), Image.BICUBIC), dtype=float)
        base = base * 0.5 + 64
    base = base + rng.normal(0, rng.uniform(0, 10), base.shape)
    return base


def polygon(shape, cx, cy, w, h, angle):
    if shape == "square":
        pts = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    elif shape == "triangle":
        pts = [(0, -1), (1, 1), (-1, 1)]
    elif shape == "star":
        pts = []
        for i in range(10):
            r = 1.0 if i % 2 == 0 else 0.42
            a = math.pi * i / 5 - math.pi / 2
            pts.append((r * math.cos(a), r * math.sin(a)))
    elif shape == "cross":
        k = 0.36
        pts = [(-k, -1), (k, -1), (k, -k), (1, -k), (1, k), (k, k), (k, 1), (-k, 1), (-k, k), (-1, k), (-1, -k), (-k, -k)]
    else:
        pts = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 40, endpoint=False)]
    c, s = math.cos(angle), math.sin(angle)
    return [(cx + (x * c - y * s) * w / 2, cy + (x * s + y * c) * h / 2) for x, y in pts]


def scene(rng, size, max_objects=5):
    base = background(rng, size)
    scale = 2
    img = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8)).resize((size * scale,) * 2, Image.BILINEAR)
    draw = ImageDraw.Draw(img)
    n = int(rng.choice([1, 2, 3, 4, 5][:max_objects], p=np.array([.15, .28, .27, .18, .12][:max_objects]) / sum([.15, .28, .27, .18, .12][:max_objects])))
    objects, tries = [], 0
    while len(objects) < n and tries < 60:
        tries += 1
        w = rng.uniform(0.12, 0.5) * size
        h = w * rng.uniform(0.7, 1.4)
        cx, cy = rng.uniform(w / 2, size - w / 2), rng.uniform(h / 2, size - h / 2)
        shape = SHAPES[rng.integers(len(SHAPES))]
        angle = rng.uniform(-0.2, 0.2) if shape in ("square", "triangle", "cross", "star") else 0.0
        pts = polygon(shape, cx, cy, w, h, angle)
        xs, ys = [p[0] for p in pts], [p[1] for p in pts]
        box = (max(0, min(xs)), max(0, min(ys)), min(size, max(xs)), min(size, max(ys)))
        def overlap(a, b):
            iw = min(a[2], b[2]) - max(a[0], b[0]); ih = min(a[3], b[3]) - max(a[1], b[1])
            return iw > 0 and ih > 0 and iw * ih > 0.05 * min((a[2]-a[0])*(a[3]-a[1]), (b[2]-b[0])*(b[3]-b[1]))
        if any(overlap(box, o["box"]) for o in objects):
            continue
        color = list(COLORS)[rng.integers(len(COLORS))]
        rgb = np.array(COLORS[color]) + rng.integers(-14, 15, 3)
        under = base[int(cy) % size, int(cx) % size]
        if np.abs(under - rgb).sum() < 90:
            continue
        objects.append(dict(color=color, shape=shape, box=box))
        draw.polygon([(x * scale, y * scale) for x, y in pts], fill=tuple(int(v) for v in np.clip(rgb, 0, 255)))
    img = img.resize((size, size), Image.BOX)
    if rng.random() < 0.25:
        img = img.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9)))
    objects.sort(key=lambda o: (round(o["box"][1] / size * 4), o["box"][0]))
    return img, objects


def loc(box, size):
    return "".join(f"<loc_{min(BINS - 1, max(0, int(v / size * BINS)))}>" for v in box)


def noun(color, shape, plural=False):
    s = shape + ("es" if plural and shape == "cross" else "s" if plural else "")
    return f"{color} {s}"


def article(color, shape):
    return ("an " if color[0] == "o" else "a ") + noun(color, shape)


def groups(objects):
    out = {}
    for o in objects:
        out.setdefault((o["color"], o["shape"]), []).append(o)
    return out


def phrase_of(key, n):
    return article(*key) if n == 1 else f"{NUMBERS.get(n, 'many')} {noun(*key, plural=True)}"


def join(parts):
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def caption(objects):
    return join([phrase_of(k, len(v)) for k, v in groups(objects).items()])


def sample(rng, objects, size):
    """One (prompt, target) pair of a random task for a scene."""
    gs = groups(objects)
    keys = list(gs)
    r = rng.random()
    if r < 0.62:  # caption to phrase grounding
        style = rng.random()
        ask = [keys[i] for i in rng.permutation(len(keys))[: rng.integers(1, len(keys) + 1)]]
        if style < 0.35:  # the whole caption of the picture, as the cascade sends it
            ask = keys
            phrases = [(phrase_of(k, len(gs[k])), gs[k]) for k in ask]
            text = join([p for p, _ in phrases])
            text += rng.choice([".", "", " on a plain background."])
        elif style < 0.72:
            form = rng.integers(3)
            phrases = [({0: article(*k), 1: "the " + noun(*k), 2: noun(*k)}[int(form)], gs[k]) for k in ask]
            text = join([p for p, _ in phrases]) + rng.choice([".", ""])
        elif style < 0.86:  # one shape or one colour, whatever matches
            if rng.random() < 0.5:
                shape = objects[rng.integers(len(objects))]["shape"]
                match = [o for o in objects if o["shape"] == shape]
                phrase = rng.choice([shape, "a " + shape, "the " + shape])
            else:
                color = objects[rng.integers(len(objects))]["color"]
                match = [o for o in objects if o["color"] == color]
                phrase = rng.choice([f"{color} shape", f"the {color} shape", f"{color} object"])
            phrases, text = [(phrase, match)], phrase
        else:
            phrase = rng.choice(["shapes", "all shapes", "objects", "all objects", "find all objects"])
            phrases, text = [(phrase, objects)], phrase
        target = "".join(p + "".join(loc(o["box"], size) for o in os_) for p, os_ in phrases)
        return "Locate the phrases in the caption: " + text, target
    if r < 0.76:
        return "Locate the objects with category name in the image.", "".join(o["shape"] + loc(o["box"], size) for o in objects)
    if r < 0.85:
        return "What does the image describe?", caption(objects)
    if r < 0.89:
        return "Describe in detail what is shown in the image.", "The image shows " + caption(objects) + "."
    if r < 0.91:
        return "Describe with a paragraph what is shown in the image.", "The image shows " + caption(objects) + " on a plain background."
    if r < 0.95:
        return "Locate the objects in the image, with their descriptions.", "".join(noun(o["color"], o["shape"]) + loc(o["box"], size) for o in objects)
    if r < 0.97:
        return "Locate the region proposals in the image.", "".join(loc(o["box"], size) for o in objects)
    if r < 0.985:
        o = objects[rng.integers(len(objects))]
        return f"What is the region {loc(o['box'], size)}?", o["shape"]
    k = keys[rng.integers(len(keys))]
    return f"Locate {noun(*k)} in the image.", "".join(noun(*k) + loc(o["box"], size) for o in gs[k])


SPECIAL = ["<od>", "</od>", "<ocr>", "</ocr>"] + [f"<loc_{i}>" for i in range(BINS)] + [
    "<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>", "<grounding>", "</grounding>", "<seg>", "</seg>",
    "<sep>", "<region_cap>", "</region_cap>", "<region_to_desciption>", "</region_to_desciption>", "<proposal>",
    "</proposal>", "<poly>", "</poly>", "<and>"]


def build_tokenizer(out):
    from tokenizers import Tokenizer, models, pre_tokenizers, decoders, processors, trainers
    rng = np.random.default_rng(0)
    corpus = []
    for _ in range(4000):
        objects = []
        for _ in range(rng.integers(1, 6)):
            objects.append(dict(color=list(COLORS)[rng.integers(8)], shape=SHAPES[rng.integers(5)], box=(0, 0, 1, 1)))
        p, t = sample(rng, objects, 192)
        corpus += [re.sub(r"<loc_\d+>", "", p), re.sub(r"<loc_\d+>", " ", t)]
    corpus += ["What is the text in the image?", "What is the text in the image, with regions?",
               "Locate a shape in the image with mask", "What is the polygon mask of region", "What does the region describe?"] * 50
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_special_tokens(["<mask>"])
    tok.post_processor = processors.RobertaProcessing(sep=("</s>", 2), cls_token=("<s>", 0), trim_offsets=True, add_prefix_space=False)
    os.makedirs(out, exist_ok=True)
    tok.save(f"{out}/tokenizer.json")  # the base vocabulary only, as the published checkpoints ship it
    base = tok.get_vocab_size()
    tok.add_special_tokens(SPECIAL)
    return tok, base


def build_model(vocab, image_token_id, args):
    from transformers import Florence2Config, Florence2ForConditionalGeneration, BartConfig
    from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig
    dims = args.dims
    vision = Florence2VisionConfig(embed_dim=dims, depths=[1, 1, args.depth3, 1], num_heads=[d // 16 for d in dims],
                                   num_groups=[d // 16 for d in dims], window_size=12, projection_dim=args.d_model)
    text = BartConfig(vocab_size=vocab, d_model=args.d_model, encoder_layers=args.layers, decoder_layers=args.layers,
                      encoder_attention_heads=args.d_model // 32, decoder_attention_heads=args.d_model // 32,
                      encoder_ffn_dim=4 * args.d_model, decoder_ffn_dim=4 * args.d_model, max_position_embeddings=512,
                      dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, bos_token_id=0, pad_token_id=1,
                      eos_token_id=2, decoder_start_token_id=2, forced_bos_token_id=None, forced_eos_token_id=None)
    cfg = Florence2Config(vision_config=vision.to_dict(), text_config=text.to_dict(), image_token_id=image_token_id,
                          bos_token_id=0, pad_token_id=1, eos_token_id=2)
    return Florence2ForConditionalGeneration(cfg)


MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def pixels(img):
    return (torch.from_numpy(np.array(img)).permute(2, 0, 1).float() / 255 - MEAN) / STD


class Stream(torch.utils.data.IterableDataset):
    """Endless batches of fresh scenes."""
    def __init__(self, args, tok, base, image_token_id, seed):
        self.args, self.tok, self.base, self.image, self.seed = args, tok, base, image_token_id, seed

    def __iter__(self):
        a = self.args
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0, a.start])
        n_img = (a.size // 32) ** 2 + 1
        while True:
            pix, ins, outs, dense = [], [], [], []
            for _ in range(a.batch // a.pairs):
                while True:
                    img, objects = scene(rng, a.size)
                    if objects:
                        break
                pix.append(pixels(img)); dense.append(dense_target(objects, a.size))
                for _ in range(a.pairs):
                    p, t = sample(rng, objects, a.size)
                    ins.append([self.image] * n_img + self.tok.encode(p).ids)
                    outs.append(self.tok.encode(t).ids)
            L, M = max(map(len, ins)), max(map(len, outs))
            x = torch.full((len(ins), L), 1); y = torch.full((len(outs), M), -100)
            for i, (p, t) in enumerate(zip(ins, outs)):
                x[i, :len(p)] = torch.tensor(p); y[i, :len(t)] = torch.tensor(t)
            yield torch.stack(pix), x, y, tuple(torch.stack(v) for v in zip(*dense))


class Dense(torch.nn.Module):
    """Training-only head: what stands in each cell of the last feature map, and where its box lies."""
    def __init__(self, d):
        super().__init__()
        self.cls, self.box = torch.nn.Linear(d, len(COLORS) * len(SHAPES)), torch.nn.Linear(d, 4)

    def loss(self, feats, target):
        what, box, has = target
        bce = F.binary_cross_entropy_with_logits(self.cls(feats), what, reduction="none").sum(-1).mean()
        l1 = ((self.box(feats).sigmoid() - box).abs().sum(-1) * has).sum() / has.sum().clamp(min=1)
        return bce + 4 * l1


def dense_target(objects, size):
    """Per cell: the classes that cover it, and the box of the object that covers most of it (cx, cy, w, h in 0..1)."""
    n = size // 32
    what, box, has, best = torch.zeros(n * n, 40), torch.zeros(n * n, 4), torch.zeros(n * n), torch.zeros(n * n)
    names, shapes = list(COLORS), SHAPES
    for o in objects:
        x0, y0, x1, y1 = [v / 32 for v in o["box"]]
        for r in range(int(y0), min(n, int(math.ceil(y1)))):
            for c in range(int(x0), min(n, int(math.ceil(x1)))):
                a = (min(x1, c + 1) - max(x0, c)) * (min(y1, r + 1) - max(y0, r))
                if a > 0.2 or int((x0 + x1) / 2) == c and int((y0 + y1) / 2) == r:
                    k = r * n + c
                    what[k, names.index(o["color"]) * 5 + shapes.index(o["shape"])] = 1
                    if a > best[k]:
                        best[k], has[k] = a, 1
                        b = [v / size for v in o["box"]]
                        box[k] = torch.tensor([(b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1]])
    return what, box, has


def smooth_loss(logits, y, loc0, sigma):
    """Cross entropy whose target for a location token is a narrow bell over its neighbours."""
    logp = F.log_softmax(logits.float(), -1).flatten(0, 1)
    y = y.flatten()
    keep = y != -100
    logp, y = logp[keep], y[keep]
    is_loc = (y >= loc0) & (y < loc0 + BINS)
    ce = -logp[~is_loc].gather(1, y[~is_loc, None]).sum()
    lp, t = logp[is_loc][:, loc0:loc0 + BINS], y[is_loc] - loc0
    w = torch.exp(-0.5 * ((torch.arange(BINS)[None] - t[:, None]) / sigma) ** 2)
    w = w / w.sum(1, keepdim=True)
    mass = torch.logsumexp(lp, 1)
    lce = -(w * lp).sum(1).sum()
    return (ce + lce) / keep.sum(), (-logp.gather(1, y[:, None]).mean()).item()


@torch.no_grad()
def evaluate(model, tok, args, image_token_id, loc0, n=64, seed=12345, show=0):
    """Share of asked-for boxes found at IoU 0.5, on fresh scenes, for whole-caption grounding."""
    rng = np.random.default_rng(seed)
    model.eval()
    hit = total = extra = 0; ious = []
    n_img = (args.size // 32) ** 2 + 1
    for k in range(n):
        while True:
            img, objects = scene(rng, args.size)
            if objects:
                break
        gs = groups(objects)
        text = join([phrase_of(g, len(v)) for g, v in gs.items()])
        ids = [image_token_id] * n_img + tok.encode("Locate the phrases in the caption: " + text).ids
        out = model.generate(input_ids=torch.tensor([ids]), pixel_values=pixels(img)[None], attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                             max_new_tokens=80, num_beams=1, do_sample=False, eos_token_id=2, pad_token_id=1, decoder_start_token_id=2)
        s = tok.decode(out[0].tolist(), skip_special_tokens=False)
        if k < show:
            print("   ", text, "->", s)
        got = []
        for m in re.finditer(r"([^<]*)((?:<loc_\d+>)+)", s.replace("<s>", "").replace("</s>", "")):
            v = [(int(q) + 0.5) * args.size / BINS for q in re.findall(r"<loc_(\d+)>", m[2])]
            got += [(m[1].strip(), v[i:i + 4]) for i in range(0, len(v) - 3, 4)]
        for g, os_ in gs.items():
            p = phrase_of(g, len(os_))
            for o in os_:
                total += 1
                best = 0
                for q, b in got:
                    if q == p:
                        iw = min(b[2], o["box"][2]) - max(b[0], o["box"][0]); ih = min(b[3], o["box"][3]) - max(b[1], o["box"][1])
                        if iw > 0 and ih > 0:
                            u = (b[2]-b[0])*(b[3]-b[1]) + (o["box"][2]-o["box"][0])*(o["box"][3]-o["box"][1]) - iw*ih
                            best = max(best, iw * ih / u)
                ious.append(best); hit += best >= 0.5
        extra += max(0, len(got) - len(objects))
    model.train()
    return hit / total, float(np.mean(ious)), extra


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="demo")
    ap.add_argument("--size", type=int, default=192)
    ap.add_argument("--dims", type=int, nargs=4, default=[32, 64, 96, 160])
    ap.add_argument("--depth3", type=int, default=2)
    ap.add_argument("--d-model", dest="d_model", type=int, default=128)
    ap.add_argument("--layers", type=int, default=2)
    ap.add_argument("--batch", type=int, default=48)
    ap.add_argument("--pairs", type=int, default=3, help="tasks drawn for each picture")
    ap.add_argument("--steps", type=int, default=10000)
    ap.add_argument("--start", type=int, default=0)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--resume")
    args = ap.parse_args()
    torch.manual_seed(0); torch.set_num_threads(args.threads)
    tok, base = build_tokenizer(args.out)
    loc0 = base + 4
    vocab = base + len(SPECIAL)
    image_token_id = vocab  # transformers-native placeholder, after the vocabulary
    model = build_model(vocab + 1, image_token_id, args)
    print("base vocab", base, "vocab", vocab, "params", sum(p.numel() for p in model.parameters()) / 1e6, "M", flush=True)
    with torch.no_grad():  # neighbours among the location tokens start near each other
        emb = model.get_input_embeddings().weight
        t = torch.linspace(0, 1, BINS)[:, None]
        freqs = torch.exp(torch.linspace(math.log(0.5), math.log(60), args.d_model // 2))[None] * 2 * math.pi
        emb[loc0:loc0 + BINS] = torch.cat([torch.sin(t * freqs), torch.cos(t * freqs)], 1) * 0.03 / (1 + freqs.repeat(1, 2) / 60)
    if args.resume:
        model.load_state_dict(torch.load(args.resume))
    head = Dense(args.d_model)
    model.train()
    named = list(model.parameters()) + list(head.parameters())
    decay = [p for p in named if p.dim() > 1]; rest = [p for p in named if p.dim() <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}], lr=args.lr, betas=(0.9, 0.98))
    loader = torch.utils.data.DataLoader(Stream(args, tok, base, image_token_id, 1), batch_size=None, num_workers=1, prefetch_factor=4)
    t0 = time.time(); n_img = (args.size // 32) ** 2 + 1
    for step, (pix, x, y, dense) in enumerate(loader, start=args.start):
        frac = max(step / args.steps, (time.time() - t0) / 60 / args.minutes)
        if frac >= 1:
            break
        lr = args.lr * min(1, (step + 1) / 300) * (0.5 * (1 + math.cos(math.pi * frac)) * 0.97 + 0.03)
        for g in opt.param_groups:
            g["lr"] = lr
        feats = model.model.get_image_features(pix)
        feats = feats.pooler_output if hasattr(feats, "pooler_output") else feats
        aux = head.loss(feats[:, 1:], dense)
        feats = feats.repeat_interleave(args.pairs, 0)
        emb = model.get_input_embeddings()(x[:, n_img:])
        inputs = torch.cat([feats, emb], 1)
        out = model(inputs_embeds=inputs, attention_mask=(x != 1).long(), labels=y)
        loss, plain = smooth_loss(out.logits, y, loc0, sigma=max(2, 10 * (1 - 1.3 * frac)))
        total = loss + max(0.1, 1 - 1.5 * frac) * 0.3 * aux
        opt.zero_grad(); total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.3f} ce {plain:.3f} dense {aux.item():.3f} lr {lr:.2e} {time.time() - t0:.0f}s", flush=True)
        if step and step % 500 == 0:
            print("  eval", evaluate(model, tok, args, image_token_id, loc0, n=32, show=2), flush=True)
            torch.save(model.state_dict(), f"{args.out}/state.pt")
    torch.save(model.state_dict(), f"{args.out}/state.pt")
    json.dump({k: v for k, v in vars(args).items()}, open(f"{args.out}/args.json", "w"))
    print("final", evaluate(model, tok, args, image_token_id, loc0, n=200, show=8), flush=True)


if __name__ == "__main__":
    main()
