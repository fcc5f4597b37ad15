"""Tiny checkpoints under the published names, whole and in every state of disrepair."""
import json
import os
import shutil
import struct

from settings import GOLDEN

ORIGINAL, NATIVE = GOLDEN / "tiny_a" / "original", GOLDEN / "tiny_b" / "native"
LARGE, BASE, BASE_FT = "Florence-2-large", "Florence-2-base", "Florence-2-base-ft"
FILES = ("config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors")


def repository(name):
    return f"microsoft/{name}"


def files(source=ORIGINAL):
    """What a hub has of a checkpoint: more than is loaded."""
    return {path.name: path for path in source.iterdir()}


def place(folder, name, source=ORIGINAL):
    """Puts a checkpoint where the platform keeps what apps downloaded."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copy(source / file, place / file)
    return place


def truncate(place):
    """The weights break off in the middle."""
    weights = place / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    return place


def padded_weights(extra_bytes, source=ORIGINAL):
    """The same weights with a tensor that nobody reads, to have something to transfer."""
    content = (source / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    header["unused"] = {"dtype": "U8", "shape": [extra_bytes], "data_offsets": [len(data), len(data) + extra_bytes]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    filler = b"".join(struct.pack("<Q", number) for number in range(extra_bytes // 8))
    return struct.pack("<Q", len(text)) + text + data + filler.ljust(extra_bytes, b"\0")


def padded(extra_bytes):
    """A repository whose weights are that much larger."""
    return {**files(), "model.safetensors": padded_weights(extra_bytes)}
