"""Configurations, tensor names and shapes of the original layout, and the way to the native one."""


def full_config(size):
    big = size.startswith("large")
    w = 2 if big else 1
    return dict(
        name=size, vocab=51289, d_model=1024 if big else 768, ffn=4096 if big else 3072,
        heads=16 if big else 12, enc_layers=12 if big else 6, dec_layers=12 if big else 6,
        max_pos=4096 if size == "large-4k" else 1024,
        dim_embed=[128 * w, 256 * w, 512 * w, 1024 * w], depths=[1, 1, 9, 1],
        num_heads=[4 * w, 8 * w, 16 * w, 32 * w], num_groups=[4 * w, 8 * w, 16 * w, 32 * w],
        window=12, image=[768, 768], pos2d=50, temporal=100)


def tensor_specs(c):
    """Original layout: (name, shape, kind).  kind drives the random initialisation."""
    dims = c["dim_embed"]
    pk, cin = [7, 3, 3, 3], 3
    for i, d in enumerate(dims):
        p = f"vision_tower.convs.{i}."
        yield p + "proj.weight", (d, cin, pk[i], pk[i]), "lin"
        yield p + "proj.bias", (d,), "bias"
        n = d if i == 0 else cin
        yield p + "norm.weight", (n,), "gain"
        yield p + "norm.bias", (n,), "bias"
        cin = d
    for i, d in enumerate(dims):
        for j in range(c["depths"][i]):
            for blk, att in (("spatial_block", "window_attn"), ("channel_block", "channel_attn")):
                p = f"vision_tower.blocks.{i}.{j}.{blk}."
                yield p + "conv1.fn.dw.weight", (d, 1, 3, 3), "dw"
                yield p + "conv1.fn.dw.bias", (d,), "bias"
                yield p + att + ".norm.weight", (d,), "gain"
                yield p + att + ".norm.bias", (d,), "bias"
                yield p + att + ".fn.qkv.weight", (3 * d, d), "lin"
                yield p + att + ".fn.qkv.bias", (3 * d,), "bias"
                yield p + att + ".fn.proj.weight", (d, d), "lin"
                yield p + att + ".fn.proj.bias", (d,), "bias"
                yield p + "conv2.fn.dw.weight", (d, 1, 3, 3), "dw"
                yield p + "conv2.fn.dw.bias", (d,), "bias"
                yield p + "ffn.norm.weight", (d,), "gain"
                yield p + "ffn.norm.bias", (d,), "bias"
                yield p + "ffn.fn.net.fc1.weight", (4 * d, d), "lin"
                yield p + "ffn.fn.net.fc1.bias", (4 * d,), "bias"
                yield p + "ffn.fn.net.fc2.weight", (d, 4 * d), "lin"
                yield p + "ffn.fn.net.fc2.bias", (d,), "bias"
    dv, dm = dims[-1], c["d_model"]
    yield "image_projection", (dv, dm), "lin_t"
    yield "image_proj_norm.weight", (dm,), "gain"
    yield "image_proj_norm.bias", (dm,), "bias"
    yield "image_pos_embed.row_embeddings.weight", (c["pos2d"], dv // 2), "emb"
    yield "image_pos_embed.column_embeddings.weight", (c["pos2d"], dv - dv // 2), "emb"
    yield "visual_temporal_embed.pos_idx_to_embed", (c["temporal"], dv), "temporal"
    yield "language_model.final_logits_bias", (1, c["vocab"]), "zero"
    yield "language_model.model.shared.weight", (c["vocab"], dm), "tok"
    for side, layers in (("encoder", c["enc_layers"]), ("decoder", c["dec_layers"])):
        p = f"language_model.model.{side}."
        yield p + "embed_positions.weight", (c["max_pos"] + 2, dm), "pos_" + side
        yield p + "layernorm_embedding.weight", (dm,), "gain"
        yield p + "layernorm_embedding.bias", (dm,), "bias"
        for i in range(layers):
            q = f"{p}layers.{i}."
            for att in ["self_attn"] + (["encoder_attn"] if side == "decoder" else []):
                for m in ("k_proj", "v_proj", "q_proj", "out_proj"):
                    yield f"{q}{att}.{m}.weight", (dm, dm), "lin"
                    yield f"{q}{att}.{m}.bias", (dm,), "bias"
                yield f"{q}{att}_layer_norm.weight", (dm,), "gain"
                yield f"{q}{att}_layer_norm.bias", (dm,), "bias"
            yield q + "fc1.weight", (c["ffn"], dm), "lin"
            yield q + "fc1.bias", (c["ffn"],), "bias"
            yield q + "fc2.weight", (dm, c["ffn"]), "lin"
            yield q + "fc2.bias", (dm,), "bias"
            yield q + "final_layer_norm.weight", (dm,), "gain"
            last = side == "decoder" and i == layers - 1
            yield q + "final_layer_norm.bias", (dm,), "out_bias" if last else "bias"


TIED = ["language_model.model.encoder.embed_tokens.weight",
        "language_model.model.decoder.embed_tokens.weight",
        "language_model.lm_head.weight"]


def native_name(name):
    """Original tensor name -> transformers-native name (None: has no counterpart)."""
    if name == "language_model.final_logits_bias":
        return None
    if name == "language_model.lm_head.weight":
        return "lm_head.weight"
    if name.startswith("language_model.model."):
        return "model.language_model." + name[len("language_model.model."):]
    if name.startswith("vision_tower."):
        name = name.replace(".fn.dw.", ".").replace("window_attn.norm.", "norm1.")
        name = name.replace("channel_attn.norm.", "norm1.").replace("ffn.norm.", "norm2.")
        name = name.replace(".fn.net.", ".").replace("_attn.fn.", "_attn.")
        if ".convs." in name:
            name = name.replace(".proj.", ".conv.")
        return "model." + name
    if name == "image_projection":
        return "model.multi_modal_projector.image_projection.weight"  # transposed
    name = name.replace("image_pos_embed.", "image_position_embed.")
    return "model.multi_modal_projector." + name


def native_vocab_size(vocab):
    return (vocab + 1 + 63) // 64 * 64


def image_tokens(c, hw=None):
    h, w = hw or c["image"]
    for k, s, p in ((7, 4, 3), (3, 2, 1), (3, 2, 1), (3, 2, 1)):
        h, w = (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1
    return h * w + 1
