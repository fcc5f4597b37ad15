#!/usr/bin/env python3
"""How long transformers takes for what `serve-florence-2 bench` times: f16, sdpa, random weights of a published size.

usage: bench_transformers.py base|large [--batch N...] [--repeat N] [--device cpu]

Prints a line for each batch: vision tower with projector, the text encoder, and everything from pixels to 40 tokens with three
beams. With --device cpu it runs in f32, to see that the script works.
"""

import argparse
import pathlib
import sys
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reference"))
warnings.filterwarnings("ignore")

import torch
from florence2_ref.checkpoints import native_config
from florence2_ref.layouts import full_config
from transformers import Florence2ForConditionalGeneration
from transformers.utils import logging

TOKENS, PROMPT, IMAGE_TOKENS = 40, 20, 577


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_ms(work, repeat):
    work()
    wait()
    measured = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        wait()
        measured.append((time.perf_counter() - start) * 1e3)
    return sorted(measured)[len(measured) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=["base", "large"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(1)
    config, _ = native_config(full_config(options.size), 51328, 51289)
    config._attn_implementation = "sdpa"
    device, dtype = options.device, torch.float32 if options.device == "cpu" else torch.float16
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = Florence2ForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    for batch in options.batch:
        pixels = torch.randn(batch, 3, 768, 768, device=device, dtype=dtype)
        prompt = torch.randint(4, 50000, (batch, PROMPT), device=device)
        ids = torch.cat([torch.full((batch, IMAGE_TOKENS), config.image_token_id, device=device), prompt], 1)
        mask = torch.ones_like(ids)

        def generate():
            return model.generate(
                input_ids=ids, pixel_values=pixels, attention_mask=mask, do_sample=False, num_beams=3, no_repeat_ngram_size=3,
                min_new_tokens=TOKENS, max_new_tokens=TOKENS, forced_bos_token_id=0, early_stopping=False,
            )

        with torch.inference_mode():
            vision = median_ms(lambda: model.model.get_image_features(pixel_values=pixels), options.repeat)
            embeddings = torch.randn(*ids.shape, model.config.text_config.d_model, device=device, dtype=dtype)
            encoder = model.model.language_model.encoder
            encoded = median_ms(lambda: encoder(inputs_embeds=embeddings, attention_mask=mask), options.repeat)
            made = generate().shape[1]
            whole = median_ms(generate, max(2, options.repeat // 2))
        name = f"transformers {options.size} {str(dtype).removeprefix('torch.')} sdpa, batch {batch}"
        parts = f"vision {vision:.2f} ms, encoder {encoded:.2f} ms, {made} tokens {whole:.1f} ms"
        print(f"{name}: {parts}, {batch / whole * 1e3:.2f} pictures/s", flush=True)


if __name__ == "__main__":
    main()
