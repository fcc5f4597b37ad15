"""Pictures and videos that are the same every time."""
import io
import struct
from typing import List

from PIL import Image, ImageDraw


def make_image(width: int, height: int, seed: int, mode: str = "RGB") -> Image.Image:
    """A deterministic picture: flat background and a few filled rectangles."""
    base = ((37 * seed) % 200 + 20, (91 * seed) % 200 + 20, (53 * seed) % 200 + 20)
    img = Image.new("RGB", (width, height), base)
    draw = ImageDraw.Draw(img)
    for i in range(4):
        x1, y1 = (i * width) // 8, (i * height) // 8
        x2, y2 = x1 + width // 3, y1 + height // 3
        colour = tuple((c + 60 * (i + 1)) % 256 for c in base)
        draw.rectangle([x1, y1, x2, y2], fill=colour)
    if mode == "L":
        return img.convert("L")
    if mode == "RGBA":
        img = img.convert("RGBA")
        img.putalpha(128)
    return img


def encode(img: Image.Image, fmt: str) -> bytes:
    buf = io.BytesIO()
    img.save(buf, format=fmt, **({"quality": 95} if fmt == "JPEG" else {}))
    return buf.getvalue()


def make_mjpeg_avi(frames: List[bytes], width: int, height: int, fps: int) -> bytes:
    """A minimal RIFF/AVI file with one MJPEG stream and an idx1 index."""

    def chunk(tag: bytes, data: bytes) -> bytes:
        return tag + struct.pack("<I", len(data)) + data + (b"\0" if len(data) % 2 else b"")

    def lst(tag: bytes, data: bytes) -> bytes:
        return chunk(b"LIST", tag + data)

    biggest = max(len(f) for f in frames)
    avih = struct.pack(
        "<14I", 1000000 // fps, biggest * fps, 0, 0x10, len(frames), 0, 1, biggest, width, height,
        0, 0, 0, 0,
    )
    strh = b"vidsMJPG" + struct.pack(
        "<IHHIIIIIIIIhhhh", 0, 0, 0, 0, 1, fps, 0, len(frames), biggest, 0xFFFFFFFF, 0, 0, 0,
        width, height,
    )
    strf = struct.pack(
        "<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", width * height * 3, 0, 0, 0, 0
    )
    hdrl = lst(b"hdrl", chunk(b"avih", avih) + lst(b"strl", chunk(b"strh", strh) + chunk(b"strf", strf)))
    movi, index, offset = b"", b"", 4
    for f in frames:
        c = chunk(b"00dc", f)
        index += b"00dc" + struct.pack("<III", 0x10, offset, len(f))
        movi += c
        offset += len(c)
    body = b"AVI " + hdrl + lst(b"movi", movi) + chunk(b"idx1", index)
    return b"RIFF" + struct.pack("<I", len(body)) + body
