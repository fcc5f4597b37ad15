"""The model of transformers on random weights, its generate call, and the search restated in plain Python."""
import numpy as np
import torch
from transformers import Florence2ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from .checkpoints import native_config
from .weights import to_native

F32 = np.float32


def build_native_model(c, w, vocab, image_id):
    """The class of transformers in f32 with these original-layout weights; its own generation defaults are cleared."""
    cfg, gen = native_config(c, vocab, image_id)
    cfg._attn_implementation = "eager"
    with torch.no_grad():
        m = Florence2ForConditionalGeneration(cfg).float().eval()
    sd = {k: torch.from_numpy(v.astype(np.float32)) for k, v in to_native(w, vocab).items()}
    for k in ("model.language_model.encoder.embed_tokens.weight", "model.language_model.decoder.embed_tokens.weight",
              "lm_head.weight"):
        sd[k] = sd["model.language_model.shared.weight"]
    miss, extra = m.load_state_dict(sd, strict=False)
    assert not extra and all("pos_idx_to_embed" in x for x in miss), (miss, extra)
    m.tie_weights()
    return clear_defaults(m)


def clear_defaults(m):
    """Leaves of the model's own generation settings nothing but the special ids."""
    gc = m.generation_config
    gc.max_length = None
    for k in ("early_stopping", "no_repeat_ngram_size", "num_beams", "forced_bos_token_id", "forced_eos_token_id"):
        setattr(gc, k, None)
    gc.decoder_start_token_id, gc.bos_token_id, gc.eos_token_id, gc.pad_token_id = 2, 0, 2, 1
    return m


class Taps:
    """Keeps the outputs of chosen modules during a forward pass."""

    def __init__(self):
        self.out, self.handles = {}, []

    def tap(self, module, name):
        def hook(_m, _i, o):
            o = o[0] if isinstance(o, tuple) else o
            self.out[name] = o.detach().float().numpy().copy()
        self.handles.append(module.register_forward_hook(hook))

    def close(self):
        for h in self.handles:
            h.remove()


def encode(model, pix, ids, mask):
    """Image features in front of the text embeddings, then the encoder."""
    with torch.no_grad():
        feats = model.model.get_image_features(pixel_values=pix).pooler_output
        emb = model.get_input_embeddings()(ids)
        x = torch.cat([feats, emb], 1)
        m = torch.cat([torch.ones(feats.shape[:2], dtype=mask.dtype), mask], 1)
        h = model.model.language_model.encoder(inputs_embeds=x, attention_mask=m).last_hidden_state
    return feats, x, m, h


def run_generate(model, enc, mask, g):
    """`generate` on encoder states, with the defaults of the original: per input the sequences, best first,
    each cut after its first EOS, and their scores."""
    kw = dict(g)
    kw.setdefault("num_beams", 3)
    kw.setdefault("no_repeat_ngram_size", 3)
    kw.setdefault("forced_bos_token_id", 0)
    kw.setdefault("forced_eos_token_id", 2)
    kw.setdefault("early_stopping", True)
    kw.setdefault("length_penalty", 1.0)
    kw.setdefault("num_return_sequences", kw["num_beams"])
    for k in ("no_repeat_ngram_size", "forced_bos_token_id", "forced_eos_token_id"):
        if kw[k] in (None, -1) or (k == "no_repeat_ngram_size" and kw[k] == 0):
            kw.pop(k)
    if kw["num_beams"] == 1:
        kw.pop("early_stopping"), kw.pop("length_penalty")
    with torch.no_grad():
        o = model.generate(encoder_outputs=BaseModelOutput(last_hidden_state=enc), attention_mask=mask, do_sample=False,
                           return_dict_in_generate=True, output_scores=True, **kw)
    n = kw["num_return_sequences"]
    seqs = []
    for i, row in enumerate(o.sequences.tolist()):
        end = len(row)
        for j in range(1, len(row)):
            if row[j] == 2:
                end = j + 1
                break
        seqs.append(row[:end])
    res = {"sequences": [seqs[i:i + n] for i in range(0, len(seqs), n)]}
    if kw["num_beams"] > 1:
        sc = o.sequences_scores.tolist()
        res["scores"] = [sc[i:i + n] for i in range(0, len(sc), n)]
    return res


def plain_search(step, max_new, beams=3, ngram=3, bos=0, eos_forced=2, early=True, penalty=1.0, start=2, eos=2):
    """The search in plain Python for one input, without a cache.  step(list of sequences) returns
    the f32 logits after each.  Returns [(score, sequence)] best first, as `generate` does."""
    max_len = 1 + max_new
    NEG = F32(-1e9)
    run = [(F32(0) if i == 0 else NEG, [start]) for i in range(beams)]
    done = []                      # (normalised score, sequence), best first, at most `beams`
    open_ = True
    while open_:
        cur = len(run[0][1])
        logits = step([s for _, s in run]).astype(np.float32)
        m = logits.max(1, keepdims=True)
        lp = logits - m - np.log(np.exp(logits - m).sum(1, keepdims=True, dtype=np.float32))
        for i, (_, s) in enumerate(run):
            if ngram and cur >= ngram:
                tail = s[cur + 1 - ngram:]
                for j in range(cur - ngram + 1):
                    if s[j:j + ngram - 1] == tail:
                        lp[i, s[j + ngram - 1]] = -np.inf
        if bos is not None and cur == 1:
            lp[:] = -np.inf
            lp[:, bos] = 0
        if eos_forced is not None and cur == max_len - 1:
            lp[:] = -np.inf
            lp[:, eos_forced] = 0
        tot = lp + np.array([s for s, _ in run], np.float32)[:, None]
        V = tot.shape[1]
        flat = tot.reshape(-1)
        order = np.argsort(-flat, kind="stable")[:2 * beams]      # ties: lower beam, then lower id
        cand = [(flat[o], run[o // V][1] + [int(o % V)]) for o in order]
        ends = [s[-1] == eos or len(s) >= max_len for _, s in cand]
        closed = early is True and len(done) == beams
        for rank, ((sc, s), e) in enumerate(zip(cand, ends)):
            if e and rank < beams and not closed:
                done.append((F32(sc / F32(float(cur) ** penalty)), s))
        done = sorted(done, key=lambda x: -x[0])[:beams]
        live = sorted([(F32(sc + (NEG if e else F32(0))), s) for (sc, s), e in zip(cand, ends)], key=lambda x: -x[0])
        run = live[:beams]
        length = max_len - 1 if early == "never" and penalty > 0 else cur
        best = run[0][0] / F32(float(length) ** penalty)
        can_improve = len(done) < beams or best > done[-1][0]
        open_ = can_improve and not (early is True and len(done) == beams) and not all(ends)
    return done
