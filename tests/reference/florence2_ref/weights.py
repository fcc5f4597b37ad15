"""Random weights that come from a seed alone, and their native form."""
import math

import numpy as np

from .layouts import native_name, tensor_specs


def temporal_table(n, d):
    import torch
    fac = math.log(10000)
    den = torch.exp(-fac * torch.arange(0, d, 2) / d)
    ang = torch.arange(0, n).reshape(n, 1) * den
    out = torch.zeros((n, d))
    out[:, 0::2], out[:, 1::2] = torch.sin(ang), torch.cos(ang)
    return out.numpy()


def make_weights(c, seed, half=False, plain=False):
    """Original-layout tensors (the tied embedding once).  With plain=True (full size) a flat
    0.02-ish initialisation; otherwise one that makes the output text varied."""
    rng = np.random.Generator(np.random.PCG64(seed))
    t = c.get("tune", {})
    dm, V = c["d_model"], c["vocab"]
    loc0 = V - 1024 + 4
    basis = np.linalg.qr(rng.standard_normal((dm, 4)))[0].T.astype(np.float32)
    u_loc, u_eos, u_odd = basis[0], basis[1], basis[2]
    out = {}
    for name, shape, kind in tensor_specs(c):
        def n(std):
            return (rng.standard_normal(shape, dtype=np.float32) * np.float32(std))
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
        if kind == "lin":
            gain = 1.1
            if not plain and "language_model" in name:
                gain = t.get("qk", 2.2) if ("q_proj" in name or "k_proj" in name) else t.get("lin", 1.1)
                if "out_proj" in name or "fc2" in name:
                    gain = t.get("cross", 4.0) if "encoder_attn" in name else t.get("res", 2.5)
            w = n(gain / math.sqrt(fan))
        elif kind == "lin_t":
            w = n(1.1 / math.sqrt(shape[0]))
        elif kind == "dw":
            w = n(0.15)
        elif kind == "bias":
            w = n(0.02 if plain else 0.1)
        elif kind == "gain":
            w = 1 + n(0.02 if plain else 0.1)
        elif kind == "emb":
            w = n(0.02 if plain else 0.4)
        elif kind == "zero":
            w = np.zeros(shape, np.float32)
        elif kind == "temporal":
            w = temporal_table(*shape).astype(np.float32)
        elif kind == "tok":
            w = n(0.02 if plain else t.get("tok", 0.35))
            if not plain:  # equal row norms, then a few planted directions
                w *= t.get("tok", 0.35) * math.sqrt(dm) / np.linalg.norm(w, axis=1, keepdims=True)
                w[loc0:loc0 + 1000] += t.get("loc", 0.8) * u_loc
                w[2] *= t.get("eos_norm", 2.2)  # a wide spread of its logit: ends come at varied steps
                w[2] += t.get("eos", 1.2) * u_eos
                odd = [0, 1, 3, loc0 - 5] + list(range(loc0 - 4, loc0)) + list(range(loc0 + 1000, V))
                w[odd] -= t.get("odd", 1.2) * u_odd
        elif kind == "pos_encoder":
            w = n(0.02 if plain else 0.4)
        elif kind == "pos_decoder":
            w = n(0.02 if plain else t.get("pos", 1.5))
            if not plain:  # row p+2 is decoder input p, which predicts generated token p+1
                cyc = t.get("cycle", [2, 8])
                for p in range(shape[0] - 2):
                    phase = (p - 1) % sum(cyc)
                    w[p + 2] += (t.get("kick", 3.0) if phase >= cyc[0] else -t.get("kick", 3.0)) * u_loc
                    w[p + 2] += t.get("eos_kick", 3.0) * (p - t.get("eos_at", 30)) / t.get("eos_at", 30) * u_eos
        elif kind == "out_bias":
            w = n(0.02 if plain else 0.1)
            if not plain:
                w += t.get("odd_bias", 2.0) * u_odd + t.get("eos_bias", 1.5) * u_eos
        else:
            raise AssertionError(kind)
        w = w.astype(np.float32)
        out[name] = w.astype(np.float16) if half else w
    return out


def to_native(w, native_vocab=None):
    """Original-layout dict -> native-layout dict.  native_vocab > vocab appends rows (the
    <image> placeholder and padding), set to the mean row as a resize would."""
    out = {}
    for k, v in w.items():
        nk = native_name(k)
        if nk is None:
            continue
        if k == "image_projection":
            v = np.ascontiguousarray(v.T)
        if k == "language_model.model.shared.weight" and native_vocab and native_vocab > v.shape[0]:
            mean = v.astype(np.float32).mean(0, keepdims=True)
            v = np.concatenate([v, np.repeat(mean, native_vocab - v.shape[0], 0).astype(v.dtype)])
        out[nk] = v
    return out
