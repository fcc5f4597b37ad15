"""A checkpoint folder as it is published, answered by transformers' own Florence-2 class.

Microsoft's files have other tensor names than that class; they are renamed on the way in, and every name and shape has to fit.
Prompts, pixels and texts are made as the original app makes them (`vocabulary`, `pictures`, `answers`), because transformers 5
resizes pictures with another library.
"""
import json
import pathlib

import torch
import transformers
from PIL import Image, ImageOps
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from .answers import post_process
from .generation import build_native_model, clear_defaults, encode, run_generate
from .layouts import TIED
from .pictures import pixel_values
from .vocabulary import clean_up, expand_prompt, tokenizer_with_added

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
VERSION = transformers.__version__


class Reference:
    """A loaded checkpoint."""

    def __init__(self, folder, device, precision):
        folder = pathlib.Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        size = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))["size"]
        self.size = [size["height"], size["width"]]
        self.tokenizer = read_tokenizer(folder / "tokenizer.json")
        if "dim_embed" in config["vision_config"]:
            model = build_native_model(original_config(config), original_weights(folder), *exact_rows(config))
        else:
            model = clear_defaults(transformers.Florence2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32))
        self.device, self.dtype = torch.device(device), DTYPES[precision]
        self.model = model.to(self.device, self.dtype).eval()

    def answer(self, picture, task, prompt, max_new_tokens):
        """Output ids of the best of three beams, their text, and what it means."""
        image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")
        pixels = torch.from_numpy(pixel_values(image, self.size))[None].to(self.device, self.dtype)
        prompt_ids = self.tokenizer.encode(expand_prompt(prompt)).ids
        ids = torch.tensor([prompt_ids], device=self.device)
        _, _, mask, states = encode(self.model, pixels, ids, torch.ones_like(ids))
        settings = {"max_new_tokens": max_new_tokens, "early_stopping": False}
        best = run_generate(self.model, states, mask, settings)["sequences"][0][0]
        text = clean_up(self.tokenizer.decode(best, skip_special_tokens=False))
        answer = post_process(text, task, image.size, "original")[task]
        return {"prompt_ids": prompt_ids, "ids": best, "text": text, "answer": answer}


def read_tokenizer(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    if any(token["content"] == "<loc_0>" for token in content["added_tokens"]):
        return Tokenizer.from_file(str(path))
    return tokenizer_with_added(content)


def exact_rows(config):
    """Vocabulary and id of the picture's placeholder: no row beside the original's, and no placeholder is ever written."""
    vocabulary = config["text_config"]["vocab_size"]
    return vocabulary, vocabulary - 1


def original_config(config):
    """Microsoft's config.json in the terms of `layouts`."""
    text, vision = config["text_config"], config["vision_config"]
    return {
        "vocab": text["vocab_size"], "d_model": text["d_model"], "ffn": text["decoder_ffn_dim"],
        "heads": text["decoder_attention_heads"], "enc_layers": text["encoder_layers"], "dec_layers": text["decoder_layers"],
        "max_pos": text["max_position_embeddings"], "dim_embed": vision["dim_embed"], "depths": vision["depths"],
        "num_heads": vision["num_heads"], "num_groups": vision["num_groups"], "window": vision["window_size"],
        "pos2d": vision["image_pos_embed"]["max_pos_embeddings"],
        "temporal": vision["visual_temporal_embedding"]["max_temporal_embeddings"],
    }


def original_weights(folder):
    """Microsoft's tensors by name, from whichever file there is."""
    if (folder / "model.safetensors").exists():
        tensors = load_file(folder / "model.safetensors")
    else:
        state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
        tensors = {name: tensor.numpy() for name, tensor in state.items()}
    return {name: tensor for name, tensor in tensors.items() if name not in TIED}
