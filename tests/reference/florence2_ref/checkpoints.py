"""Checkpoint folders in both layouts: configuration files, tokenizer and weights."""
import json
import os

import numpy as np

from .layouts import TIED, image_tokens, native_vocab_size
from .vocabulary import BANNED, tokenizer_with_added
from .weights import to_native


def save_safetensors(path, tensors, meta=None):
    from safetensors.numpy import save_file
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata=meta or {"format": "pt"})


def original_config_json(c, dtype="float32"):
    return {
        "_name_or_path": "florence2", "architectures": ["Florence2ForConditionalGeneration"],
        "auto_map": {"AutoConfig": "configuration_florence2.Florence2Config",
                     "AutoModelForCausalLM": "modeling_florence2.Florence2ForConditionalGeneration"},
        "bos_token_id": 0, "eos_token_id": 2, "ignore_index": -100, "model_type": "florence2",
        "pad_token_id": 1, "projection_dim": c["d_model"],
        "text_config": {
            "vocab_size": c["vocab"], "activation_dropout": 0.1, "activation_function": "gelu",
            "add_bias_logits": False, "add_final_layer_norm": False, "attention_dropout": 0.1,
            "bos_token_id": 0, "classif_dropout": 0.1, "classifier_dropout": 0.0, "d_model": c["d_model"],
            "decoder_attention_heads": c["heads"], "decoder_ffn_dim": c["ffn"], "decoder_layerdrop": 0.0,
            "decoder_layers": c["dec_layers"], "decoder_start_token_id": 2, "dropout": 0.1,
            "early_stopping": True, "encoder_attention_heads": c["heads"], "encoder_ffn_dim": c["ffn"],
            "encoder_layerdrop": 0.0, "encoder_layers": c["enc_layers"], "eos_token_id": 2,
            "forced_eos_token_id": 2, "forced_bos_token_id": 0, "gradient_checkpointing": False,
            "init_std": 0.02, "is_encoder_decoder": True,
            "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
            "max_position_embeddings": c["max_pos"], "no_repeat_ngram_size": 3, "normalize_before": False,
            "num_hidden_layers": c["enc_layers"], "pad_token_id": 1, "scale_embedding": False, "num_beams": 3},
        "vision_config": {
            "model_type": "davit", "drop_path_rate": 0.1, "patch_size": [7, 3, 3, 3],
            "patch_stride": [4, 2, 2, 2], "patch_padding": [3, 1, 1, 1],
            "patch_prenorm": [False, True, True, True], "enable_checkpoint": False,
            "dim_embed": c["dim_embed"], "num_heads": c["num_heads"], "num_groups": c["num_groups"],
            "depths": c["depths"], "window_size": c["window"], "projection_dim": c["d_model"],
            "visual_temporal_embedding": {"type": "COSINE", "max_temporal_embeddings": c["temporal"]},
            "image_pos_embed": {"type": "learned_abs_2d", "max_pos_embeddings": c["pos2d"]},
            "image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"]},
        "vocab_size": c["vocab"], "torch_dtype": dtype, "transformers_version": "4.41.0.dev0",
        "is_encoder_decoder": True}


def preprocessor_json(c, native):
    j = {"do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True,
         "do_center_crop": False, "image_processor_type": "CLIPImageProcessor",
         "image_seq_length": image_tokens(c), "image_mean": [0.485, 0.456, 0.406],
         "image_std": [0.229, 0.224, 0.225], "processor_class": "Florence2Processor", "resample": 3,
         "size": {"height": c["image"][0], "width": c["image"][1]},
         "crop_size": {"height": c["image"][0], "width": c["image"][1]}}
    if native:
        j["rescale_factor"] = 0.00392156862745098
    else:
        j["auto_map"] = {"AutoProcessor": "processing_florence2.Florence2Processor"}
        j["_valid_processor_keys"] = ["images", "do_resize", "size", "resample", "do_rescale", "rescale_factor",
                                      "do_normalize", "image_mean", "image_std", "return_tensors", "data_format",
                                      "input_data_format", "do_convert_rgb"]
    return j


def post_processor_config():
    return {"ocr": {"pattern": r"(.+?)<loc_(\d+)><loc_(\d+)><loc_(\d+)><loc_(\d+)><loc_(\d+)><loc_(\d+)><loc_(\d+)><loc_(\d+)>",
                    "area_threshold": 0.0},
            "phrase_grounding": {"banned_grounding_tokens": BANNED}, "pure_text": {}, "description_with_bboxes": {},
            "description_with_polygons": {}, "polygons": {}, "bboxes": {}, "description_with_bboxes_or_polygons": {}}


def dump(obj, path, indent=1):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(obj, f, indent=indent, ensure_ascii=False)
        f.write("\n")


def write_tokenizer(folder, tj):
    with open(f"{folder}/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(tj, f, ensure_ascii=False, separators=(",", ":"))


def write_original_repo(folder, c, w, tj, dtype, with_bin=True, with_safetensors=True, with_vocab=False):
    os.makedirs(folder, exist_ok=True)
    dump(original_config_json(c, dtype), f"{folder}/config.json", 2)
    dump({"num_beams": 3, "early_stopping": False}, f"{folder}/generation_config.json", 4)
    dump(preprocessor_json(c, False), f"{folder}/preprocessor_config.json", 2)
    dump({"model_max_length": 1024}, f"{folder}/tokenizer_config.json", 4)
    if tj is not None:
        write_tokenizer(folder, tj)
        if len(tj["model"]["vocab"]) < 10000 or with_vocab:
            dump(tj["model"]["vocab"], f"{folder}/vocab.json", None)
    if with_safetensors:  # tied copies are left out, as save_pretrained does
        save_safetensors(f"{folder}/model.safetensors", w)
    if with_bin:  # every name present, tied copies share one storage
        import torch
        sd = {k: torch.from_numpy(v) for k, v in w.items()}
        for name in TIED:
            sd[name] = sd["language_model.model.shared.weight"]
        torch.save(sd, f"{folder}/pytorch_model.bin")


def native_config(c, native_vocab, image_id):
    from transformers import BartConfig, Florence2Config, Florence2VisionConfig
    o = original_config_json(c)
    tc = {k: v for k, v in o["text_config"].items() if k not in ("num_hidden_layers", "label2id")}
    gen = {k: tc.pop(k) for k in ("early_stopping", "no_repeat_ngram_size", "num_beams", "forced_bos_token_id",
                                  "forced_eos_token_id")}
    tc["vocab_size"] = native_vocab
    vc = Florence2VisionConfig(embed_dim=c["dim_embed"], depths=c["depths"], num_heads=c["num_heads"],
                               num_groups=c["num_groups"], window_size=c["window"], projection_dim=c["d_model"],
                               max_temporal_embeddings=c["temporal"], max_position_embeddings=c["pos2d"])
    cfg = Florence2Config(text_config=BartConfig(**tc).to_dict(), vision_config=vc.to_dict(), image_token_id=image_id,
                          bos_token_id=0, eos_token_id=2, pad_token_id=1)
    return cfg, gen


def write_native_repo(folder, c, w, tj, dtype, added_tokens=True):
    os.makedirs(folder, exist_ok=True)
    nv = native_vocab_size(c["vocab"])
    cfg, gen = native_config(c, nv, c["vocab"])
    d = cfg.to_dict()
    d["architectures"] = ["Florence2ForConditionalGeneration"]
    d["torch_dtype"] = dtype
    d["text_config"].update(gen)
    d = json.loads(json.dumps(d, default=str))
    dump(d, f"{folder}/config.json", 2)
    dump({"_from_model_config": True, "bos_token_id": 0, "decoder_start_token_id": 2, "early_stopping": True,
          "eos_token_id": 2, "forced_bos_token_id": 0, "forced_eos_token_id": 2, "no_repeat_ngram_size": 3,
          "num_beams": 3, "pad_token_id": 1}, f"{folder}/generation_config.json", 2)
    dump(preprocessor_json(c, True), f"{folder}/preprocessor_config.json", 2)
    dump({"image_token": "<image>", "num_additional_image_tokens": 0, "processor_class": "Florence2Processor",
          "post_processor_config": post_processor_config()}, f"{folder}/processor_config.json", 2)
    if tj is not None:
        if added_tokens:
            tokenizer_with_added(tj, True).save(f"{folder}/tokenizer.json", pretty=False)
        else:
            write_tokenizer(folder, tj)
        dump({"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>", "pad_token": "<pad>",
              "sep_token": "</s>", "unk_token": "<unk>", "image_token": "<image>",
              "extra_special_tokens": {"image_token": "<image>"}, "model_max_length": 1024, "add_prefix_space": False,
              "trim_offsets": True, "errors": "replace", "tokenizer_class": "BartTokenizer",
              "clean_up_tokenization_spaces": True, "processor_class": "Florence2Processor"},
             f"{folder}/tokenizer_config.json", 2)
    save_safetensors(f"{folder}/model.safetensors", to_native(w, nv))
