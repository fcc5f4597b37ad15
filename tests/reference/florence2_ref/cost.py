"""Multiply-add counts, bytes and parameter counts."""
import numpy as np

from .layouts import tensor_specs


def count(c, text=20, beams=3, kv=577 + 20, hw=None):
    """Multiply-adds (MACs) of the matrix work; 1 MAC = 2 FLOP."""
    dims, r = c["dim_embed"], {}
    h, w = hw or c["image"]
    conv = dw = qkvp = win = chan = ffn = 0
    cin = 3
    per_stage = []
    for i, d in enumerate(dims):
        k, s, p = ((7, 4, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1))[i]
        h, w = (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1
        n = h * w
        W = c["window"]
        npad = -(-h // W) * W * (-(-w // W) * W)
        st = n * d * cin * k * k
        conv += st
        D = c["depths"][i]
        x_dw = D * 4 * n * d * 9
        x_qkvp = D * (npad * 4 * d * d + n * 4 * d * d)
        x_win = D * npad * (W * W) * d * 2
        x_chan = D * 2 * n * d * (d // c["num_groups"][i])
        x_ffn = D * 2 * n * 8 * d * d
        dw += x_dw; qkvp += x_qkvp; win += x_win; chan += x_chan; ffn += x_ffn
        per_stage.append((h, w, d, st + x_dw + x_qkvp + x_win + x_chan + x_ffn))
        cin = d
    n = h * w + 1
    dm, f = c["d_model"], c["ffn"]
    proj = n * dims[-1] * dm
    r["stages"] = per_stage
    r["vision"] = dict(conv=conv, depthwise=dw, qkv_proj=qkvp, window_attn=win, channel_attn=chan, mlp=ffn, projection=proj,
                       total=conv + dw + qkvp + win + chan + ffn + proj)
    S = n + text
    le = c["enc_layers"]
    r["encoder"] = dict(linear=le * S * (4 * dm * dm + 2 * dm * f), attention=le * 2 * S * S * dm)
    r["encoder"]["total"] = sum(r["encoder"].values())
    ld = c["dec_layers"]
    r["cross_kv"] = ld * S * 2 * dm * dm
    lin = ld * (4 * dm * dm + 2 * dm * dm + 2 * dm * f)
    head = c["vocab"] * dm
    step_w = lin + head
    r["step"] = dict(linear=beams * lin, lm_head=beams * head, cross_attn=beams * ld * 2 * S * dm,
                     self_attn_per_past=beams * ld * 2 * dm, weights=step_w)
    return r


def param_groups(c):
    g = {}
    for name, shape, kind in tensor_specs(c):
        n = int(np.prod(shape))
        if kind in ("zero", "temporal"):
            key = "buffers"
        elif name.startswith("vision_tower.convs"):
            key = "vision conv embeds"
        elif name.startswith("vision_tower.blocks"):
            key = f"vision stage {name.split('.')[2]} blocks"
        elif name.startswith("image_"):
            key = "projector + 2-D positions"
        elif "shared" in name:
            key = "token embedding (tied)"
        elif ".encoder." in name:
            key = "text encoder"
        else:
            key = "text decoder"
        g[key] = g.get(key, 0) + n
    return g


def report(c):
    """Prints the figures of one full-size configuration."""
    g = param_groups(c)
    tot = sum(v for k, v in g.items() if k != "buffers")
    print(f"== {c['name']}: {tot:,} parameters (tied embedding once); fp16 {tot*2/1e6:.1f} MB, fp32 {tot*4/1e6:.1f} MB")
    for k, v in g.items():
        print(f"   {k:28s} {v:>13,}")
    for t in (10, 30, 100):
        r = count(c, text=t)
        if t == 10:
            print("   stage (h, w, dim, GMAC):", [(h, w, d, round(m / 1e9, 3)) for h, w, d, m in r["stages"]])
            print("   vision GMAC:", {k: round(v / 1e9, 3) for k, v in r["vision"].items()})
        print(f"   text {t}: encoder GMAC {r['encoder']['total']/1e9:.3f} (attention {r['encoder']['attention']/1e9:.3f}),"
              f" cross K/V {r['cross_kv']/1e9:.3f}")
    s = count(c, text=10)["step"]
    print("   step beam 3 GMAC: linear %.4f lm_head %.4f cross_attn %.4f self per past token %.6f; weights read %.1f M"
          % (s["linear"] / 1e9, s["lm_head"] / 1e9, s["cross_attn"] / 1e9, s["self_attn_per_past"] / 1e9, s["weights"] / 1e6))
