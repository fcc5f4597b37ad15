#!/usr/bin/env python3
"""Times PyTorch's pipeline (transformers, sdpa) stage by stage on a CPU, under the names that `serve-florence-2 bench` uses.

usage: peer.py CHECKPOINT --threads N [--dtype fp32|bf16] [--tokens 40] [--repeat 1]

CHECKPOINT is in transformers' own layout. Prints one JSON object: median wall and mean processor milliseconds of a stage, and
the peak memory in MiB.
"""
import argparse
import json
import resource
import statistics
import time

import torch
from transformers import Florence2ForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.utils import logging

BEAMS, PROMPT_TOKENS, START = 3, 20, 2


class Clock:
    """What each stage took."""

    def __init__(self):
        self.wall, self.cpu = {}, {}

    def time(self, stage, work):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.cpu.setdefault(stage, []).append(1e3 * (time.process_time() - cpu))
        self.wall.setdefault(stage, []).append(1e3 * (time.perf_counter() - wall))
        return result


def decode(model, encoded, mask, clock, tokens):
    """A greedy answer of so many tokens in every row; the first step makes the keys and values of the encoder's output."""
    text = model.model.language_model
    cache = EncoderDecoderCache(DynamicCache(config=text.config), DynamicCache(config=text.config))
    last = torch.full((BEAMS, 1), START)
    encoded, mask = encoded.repeat_interleave(BEAMS, 0), mask.repeat_interleave(BEAMS, 0)

    def step():
        hidden = text.decoder(input_ids=last, encoder_hidden_states=encoded, encoder_attention_mask=mask,
                              past_key_values=cache, use_cache=True).last_hidden_state
        return model.lm_head(hidden)[:, -1].argmax(-1, keepdim=True)

    for index in range(tokens):
        last = clock.time("cross_kv" if index == 0 else "step", step)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("checkpoint")
    ap.add_argument("--threads", type=int, required=True)
    ap.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    ap.add_argument("--tokens", type=int, default=40)
    ap.add_argument("--repeat", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
    model = Florence2ForConditionalGeneration.from_pretrained(a.checkpoint, dtype=dtype, attn_implementation="sdpa").eval()
    core, image = model.model, model.config.image_token_id
    pixels = torch.randn(1, 3, 768, 768, dtype=dtype)
    prompt = torch.randint(4, min(50000, image), (1, PROMPT_TOKENS))
    warm, clock = Clock(), Clock()
    with torch.inference_mode():
        for index in range(a.repeat + 1):
            c = clock if index else warm
            map_ = c.time("vision", lambda: core.vision_tower(pixels).last_hidden_state)
            features = c.time("projector", lambda: core.multi_modal_projector(map_))
            embedded = torch.cat([features, model.get_input_embeddings()(prompt)], 1)
            mask = torch.ones(embedded.shape[:2], dtype=torch.long)
            encoded = c.time("encoder", lambda: core.language_model.encoder(
                inputs_embeds=embedded, attention_mask=mask).last_hidden_state)
            decode(model, encoded, mask, c, a.tokens)
            ids = torch.cat([torch.full((1, features.shape[1]), image), prompt], 1)
            c.time("generate", lambda: model.generate(
                input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=BEAMS,
                no_repeat_ngram_size=3, early_stopping=False, min_new_tokens=a.tokens, max_new_tokens=a.tokens,
                forced_bos_token_id=0))
    print(json.dumps({
        "ms": {stage: statistics.median(times) for stage, times in clock.wall.items()},
        "cpu_ms": {stage: statistics.mean(times) for stage, times in clock.cpu.items()},
        "rss_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
