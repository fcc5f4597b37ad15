"""Synthetic pictures, and the preprocessing of the model restated bit for bit."""
import numpy as np


def make_image(s):
    """A synthetic picture from a small description (deterministic)."""
    from PIL import Image, ImageDraw
    w, h = s["size"]
    rng = np.random.Generator(np.random.PCG64(s.get("seed", 0)))
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    kind = s.get("kind", "scene")
    if kind == "gradient":
        a = np.stack([x / max(w - 1, 1), y / max(h - 1, 1), (x + y) / max(w + h - 2, 1)], -1) * 255
    elif kind == "checker":
        q = s.get("cell", 7)
        a = np.where(((x // q + y // q) % 2)[..., None] > 0, [250.0, 30.0, 90.0], [10.0, 220.0, 160.0])
    elif kind == "noise":
        a = rng.integers(0, 256, (h, w, 3)).astype(np.float64)
    else:
        f = rng.uniform(0.5, 3.0, 6) * 2 * np.pi
        a = np.stack([127 + 120 * np.sin(f[i] * x / w + f[i + 3] * y / h + i) for i in range(3)], -1)
    im = Image.fromarray(np.clip(np.rint(a), 0, 255).astype(np.uint8), "RGB")
    if kind == "scene":
        d = ImageDraw.Draw(im)
        for _ in range(s.get("shapes", 8)):
            x0, y0 = rng.integers(0, w), rng.integers(0, h)
            x1, y1 = x0 + rng.integers(2, max(w // 3, 3)), y0 + rng.integers(2, max(h // 3, 3))
            col = tuple(int(v) for v in rng.integers(0, 256, 3))
            (d.rectangle if rng.random() < 0.5 else d.ellipse)([int(x0), int(y0), int(x1), int(y1)], fill=col)
    mode = s.get("mode", "RGB")
    if mode == "RGBA":
        alpha = Image.fromarray(np.clip(x * 255 / max(w - 1, 1), 0, 255).astype(np.uint8), "L")
        im.putalpha(alpha)
    elif mode == "LA":
        im = im.convert("L")
        im.putalpha(Image.fromarray(np.clip(y * 255 / max(h - 1, 1), 0, 255).astype(np.uint8), "L"))
    elif mode == "P":
        im = im.quantize(32, dither=Image.Dither.NONE)
    elif mode == "I;16":
        g = np.asarray(im.convert("L")).astype(np.uint16) * 257
        im = Image.fromarray(g)
    elif mode != "RGB":
        im = im.convert(mode)
    return im


def save_image(im, path, s):
    kw = {}
    if s.get("orientation"):
        ex = im.getexif()
        ex[0x0112] = s["orientation"]
        kw["exif"] = ex
    if path.endswith(".jpg"):
        kw.update(quality=s.get("quality", 92), subsampling=s.get("subsampling", 2))
    if s.get("transparency") is not None:
        kw["transparency"] = s["transparency"]
    im.save(path, **kw)


MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def pil_bicubic(a, out_w, out_h):
    """Pillow's 8-bit bicubic resize restated (bit exact): horizontal pass first, then vertical,
    22-bit fixed-point coefficients, an 8-bit intermediate; a pass whose size does not change is skipped."""
    def kernel(t):
        t = abs(t)
        if t < 1:
            return ((-0.5 + 2) * t - (-0.5 + 3)) * t * t + 1
        return (((t - 5) * t + 8) * t - 4) * -0.5 if t < 2 else 0.0

    def one_axis(a, n_out):  # along axis 1 of (H, W, C)
        n_in = a.shape[1]
        scale = n_in / n_out
        fs = max(scale, 1.0)
        support, ss = 2.0 * fs, 1.0 / fs
        out = np.empty((a.shape[0], n_out, a.shape[2]), np.uint8)
        for o in range(n_out):
            center = (o + 0.5) * scale
            lo = max(int(center - support + 0.5), 0)
            hi = min(int(center + support + 0.5), n_in)
            k = [kernel((i + lo - center + 0.5) * ss) for i in range(hi - lo)]
            tot = 0.0
            for v in k:
                tot += v
            k = [v / tot for v in k]
            q = np.array([int(v * (1 << 22) - 0.5) if v < 0 else int(v * (1 << 22) + 0.5) for v in k], np.int64)
            acc = (a[:, lo:hi].astype(np.int64) * q[None, :, None]).sum(1) + (1 << 21)
            out[:, o] = np.clip(acc >> 22, 0, 255)
        return out

    if a.shape[1] != out_w:
        a = one_axis(a, out_w)
    if a.shape[0] != out_h:
        a = one_axis(a.transpose(1, 0, 2), out_h).transpose(1, 0, 2)
    return np.ascontiguousarray(a)


def resize_u8(im, hw):
    """Two one-axis resizes, width first: the order of Pillow up to 12.x.  (Pillow 13 sometimes
    runs the vertical pass first, which changes pixels; doing the axes apart pins the order.)"""
    from PIL import Image
    im = im.convert("RGB")
    im = im.resize((hw[1], im.size[1]), Image.Resampling.BICUBIC)
    return np.asarray(im.resize((hw[1], hw[0]), Image.Resampling.BICUBIC))


def pixel_values(im, hw):
    a = resize_u8(im, hw).astype(np.float64) * (1 / 255)
    a = (a.astype(np.float32) - MEAN) / STD
    return np.ascontiguousarray(a.transpose(2, 0, 1))
