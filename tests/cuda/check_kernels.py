#!/usr/bin/env python3
"""Checks the CUDA kernels against PyTorch in f64, and times them.

usage: check_kernels.py FOLDER [--quick] [--no-times] [NAME...]
       check_kernels.py --emulate [NAME...]

FOLDER holds the compiled sources of src/florence/kernels/cuda, `*.fatbin` or `*.cubin`. With --emulate the sources are compiled
for the CPU and run there thread by thread (tests/cuda/emulation), on the small shapes. Each check draws fresh inputs, fills what is to be written with
NaN, and compares by |out - ref| / |ref|. NAME picks checks whose name contains it; --quick leaves the large shapes out.
"""

import argparse
import ctypes
import itertools
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

SUFFIX = {torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32"}
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1.5e-2, torch.float32: 2e-6}
HALVES = (torch.float16, torch.bfloat16)
FLOATS = (torch.float16, torch.bfloat16, torch.float32)

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEVICE = "cpu" if "--emulate" in sys.argv else "cuda"
cuda = ctypes.CDLL("libcuda.so.1") if DEVICE == "cuda" else None
results, failures, times = [], [], []


def check_status(status, what):
    if status != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(status, ctypes.byref(text))
        raise RuntimeError(f"{what}: {status} {text.value}")


class Kernels:
    def __init__(self, folder):
        torch.zeros(1, device=DEVICE)  # opens the device
        files = [path for path in sorted(pathlib.Path(folder).iterdir()) if path.suffix in (".fatbin", ".cubin")]
        self.modules, self.functions = [ctypes.c_void_p() for _ in files], {}
        for module, path in zip(self.modules, files):
            check_status(cuda.cuModuleLoadData(ctypes.byref(module), path.read_bytes()), path)

    def __call__(self, name, grid, block, *arguments):
        if name not in self.functions:
            function = ctypes.c_void_p()
            found = (cuda.cuModuleGetFunction(ctypes.byref(function), module, name.encode()) for module in self.modules)
            assert any(status == 0 for status in found), f"no kernel {name}"
            self.functions[name] = function
        values = [as_argument(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.cast(ctypes.byref(v), ctypes.c_void_p) for v in values])
        grid = tuple(grid) + (1,) * (3 - len(grid))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        status = cuda.cuLaunchKernel(self.functions[name], *grid, block, 1, 1, 0, stream, pointers, None)
        check_status(status, name)


class EmulatedKernels:
    """The same on the CPU, see emulation/run.cpp."""

    class Arguments(ctypes.Structure):
        _fields_ = [("function", ctypes.c_void_p), ("words", ctypes.c_uint64 * 12), ("number", ctypes.c_float)] + [
            ("structure_at", ctypes.c_int),
            ("structure", ctypes.c_char * 72),
        ]

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        here, kernels = ROOT / "tests/cuda/emulation", ROOT / "src/florence/kernels/cuda"
        options = ["-std=c++17", "-O2", "-fPIC", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function", f"-I{here}", f"-I{kernels}"]
        compiling, objects = [], []
        for source in [*sorted(kernels.glob("*.cu")), here / "run.cpp"]:
            objects.append(f"{self.folder.name}/{source.stem}.o")
            compiling.append(subprocess.Popen(["g++", *options, "-x", "c++", "-c", source, "-o", objects[-1]]))
        assert all(process.wait() == 0 for process in compiling), "the kernels do not compile"
        library = f"{self.folder.name}/emulated.so"
        subprocess.run(["g++", "-shared", "-o", library, *objects], check=True)
        self.library = ctypes.CDLL(library)

    def __call__(self, name, grid, block, *arguments):
        words, number, structure, place = [], 0.0, b"", -1
        for index, argument in enumerate(as_argument(argument) for argument in arguments):
            if isinstance(argument, ctypes.c_float):
                number = argument.value
            elif isinstance(argument, ctypes.Structure):
                structure, place = bytes(argument), index
            else:
                words.append((argument.value or 0) % 2**64)
        call = self.Arguments(ctypes.cast(getattr(self.library, name), ctypes.c_void_p), (ctypes.c_uint64 * 12)(*words), number, place)
        ctypes.memmove(ctypes.addressof(call) + self.Arguments.structure.offset, structure, len(structure))
        grid = (ctypes.c_uint * 3)(*grid, *(1,) * (3 - len(grid)))
        self.library.emulate(grid, block, ctypes.byref(call), torch.randint(1 << 31, ()).item())


def as_argument(argument):
    if argument is None:
        return ctypes.c_void_p(0)
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, int):
        return ctypes.c_int(argument)
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return argument


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def error_of(out, ref):
    out, ref = out.double(), ref.double()
    error = ((out - ref).norm() / ref.norm().clamp_min(1e-30)).item()
    return error if math.isfinite(error) else float("inf")


def compare(name, out, ref, dtype, tolerance=None):
    wait()
    assert out.shape == ref.shape, (name, out.shape, ref.shape)
    error = error_of(out, ref)
    tolerance = tolerance or TOLERANCE[dtype]
    results.append((name, error))
    if not error < tolerance:
        failures.append(name)
        print(f"WRONG {name}: {error:.2e} > {tolerance:.0e}", flush=True)


def expect(name, holds, detail=""):
    results.append((name, 0.0))
    if not holds:
        failures.append(name)
        print(f"WRONG {name} {detail}", flush=True)


def milliseconds(work, calls=20):
    """Of one call, from replays of a graph of several."""
    work()
    wait()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            work()
    graph.replay()
    wait()
    measured = []
    for _ in range(5):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        wait()
        measured.append(start.elapsed_time(end) / calls)
    return sorted(measured)[2]


def note_time(name, work, bytes_moved=0, flop=0):
    if not options.no_times:
        ms = milliseconds(work)
        times.append((name, ms * 1e3, bytes_moved / ms / 1e6 if bytes_moved else 0, flop / ms / 1e9 if flop else 0))


def rand(*shape, dtype, scale=1.0):
    return (torch.randn(shape, device=DEVICE) * scale).to(dtype)


def unwritten(*shape, dtype):
    return torch.full(shape, float("nan"), device=DEVICE, dtype=dtype)


def blocks(count, size):
    return (count + size - 1) // size


# ---- maps ------------------------------------------------------------------------------------------------------------


def run_norm(k, x, residual, w, b, dtype):
    rows, size = x.numel() // x.shape[-1], x.shape[-1]
    out = unwritten(*x.shape, dtype=dtype)
    fast = {128: 16, 256: 32, 512: 32, 768: 32, 1024: 32, 2048: 32}

    def work():
        if size in fast:
            k(f"layer_norm_{size}_{SUFFIX[dtype]}", (blocks(rows, 256 // fast[size]),), 256, x, residual, w, b, out, rows)
        else:
            k(f"layer_norm_any_{SUFFIX[dtype]}", (rows,), 128, x, residual, w, b, out, size)

    work()
    return out, work


def check_norm(k):
    for dtype, size, rows, more in itertools.product(FLOATS, (8, 33, 128, 256, 512, 768, 1024, 2048), (1, 37), (False, True)):
        x, w, b = rand(rows, size, dtype=dtype) + 3, rand(size, dtype=dtype), rand(size, dtype=dtype)
        r = rand(rows, size, dtype=dtype) if more else None
        out, _ = run_norm(k, x, r, w, b, dtype)
        total = x.double() + (r.double() if more else 0)
        compare(f"norm {dtype} {rows}x{size} {more}", out, F.layer_norm(total, (size,), w.double(), b.double(), 1e-5), dtype)
    if not options.quick:
        dtype = torch.float16
        x, w, b = rand(8 * 36864, 128, dtype=dtype), rand(128, dtype=dtype), rand(128, dtype=dtype)
        _, work = run_norm(k, x, None, w, b, dtype)
        note_time("norm 8x36864x128", work, x.numel() * 4)
        x, w, b = rand(48, 768, dtype=dtype), rand(768, dtype=dtype), rand(768, dtype=dtype)
        _, work = run_norm(k, x, x, w, b, dtype)
        note_time("norm 48x768", work)


def check_depthwise(k):
    shapes = [(1, 1, 1, 8), (2, 3, 5, 16), (1, 7, 9, 24), (2, 24, 24, 128), (1, 2, 3, 5), (3, 6, 1, 7)]
    for dtype, (n, h, w, c) in itertools.product(FLOATS, shapes):
        x, taps, bias = rand(n, h, w, c, dtype=dtype), rand(9, c, dtype=dtype), rand(c, dtype=dtype)
        out, work = run_depthwise(k, x, taps, bias, dtype)
        kernel = taps.double().t().reshape(c, 1, 3, 3)
        ref = x.double() + F.conv2d(x.double().permute(0, 3, 1, 2), kernel, bias.double(), padding=1, groups=c).permute(0, 2, 3, 1)
        compare(f"depthwise {dtype} {n}x{h}x{w}x{c}", out, ref, dtype)
    if not options.quick:
        for c, side in ((128, 192), (512, 48)):
            x, taps, bias = (rand(*s, dtype=torch.float16) for s in ((8, side, side, c), (9, c), (c,)))
            _, work = run_depthwise(k, x, taps, bias, torch.float16)
            note_time(f"depthwise 8x{side}x{side}x{c}", work, x.numel() * 4)


def run_depthwise(k, x, taps, bias, dtype):
    n, h, w, c = x.shape
    out = unwritten(n, h, w, c, dtype=dtype)

    def work():
        if c % 8 == 0:
            threads = n * h * blocks(w, 4) * (c // 8)
            k(f"depthwise_{SUFFIX[dtype]}", (blocks(threads, 256),), 256, x, taps, bias, out, h, w, c, threads)
        else:
            k(f"depthwise_any_{SUFFIX[dtype]}", (blocks(x.numel(), 256),), 256, x, taps, bias, out, h, w, c, x.numel())

    work()
    return out, work


def check_gelu(k):
    for dtype, (rows, size), with_bias in itertools.product(FLOATS, ((3, 8), (5, 3072), (3, 7)), (False, True)):
        x, bias = rand(rows, size, dtype=dtype) * 2, rand(size, dtype=dtype) if with_bias else None
        ref = F.gelu(x.double() + (bias.double() if with_bias else 0))
        run_gelu(k, x, bias, dtype)
        compare(f"gelu {dtype} {rows}x{size} {with_bias}", x, ref, dtype, 2e-6 if dtype == torch.float32 else None)
    if not options.quick:
        x = rand(8 * 2304, 2048, dtype=torch.float16)
        note_time("gelu 8x2304x2048", lambda: run_gelu(k, x, None, torch.float16), x.numel() * 4)


def run_gelu(k, x, bias, dtype):
    vectors = ctypes.c_longlong(x.numel() // 8)
    if x.shape[-1] % 8 == 0:
        k(f"gelu_{SUFFIX[dtype]}", (blocks(vectors.value, 256),), 256, x, bias, x.shape[-1], vectors)
    else:
        k(f"gelu_any_{SUFFIX[dtype]}", (blocks(x.numel(), 256),), 256, x, bias, x.shape[-1], ctypes.c_longlong(x.numel()))


class Patches(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int) for n in ("oh", "ow", "kernel", "stride", "padding", "h", "w", "c", "padded")] + [
        (n, ctypes.c_longlong) for n in ("sb", "sy", "sx", "sc")
    ]


def check_patches(k):
    shapes = [(2, 3, 17, 23, 7, 4, 3, True), (1, 3, 8, 8, 7, 4, 3, False), (2, 16, 9, 7, 3, 2, 1, False), (1, 5, 6, 6, 3, 2, 1, False)]
    for dtype, (n, c, h, w, kernel, stride, pad, chw) in itertools.product(FLOATS, shapes):
        x = rand(n, c, h, w, dtype=dtype)
        map_ = x.permute(0, 2, 3, 1) if chw else x.permute(0, 2, 3, 1).contiguous()
        oh, ow = (h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1
        size, padded = kernel * kernel * c, blocks(kernel * kernel * c, 8) * 8
        out = unwritten(n, oh, ow, padded, dtype=dtype)
        p = Patches(oh, ow, kernel, stride, pad, h, w, c, padded, *map_.stride())
        fast = c % 8 == 0 and not chw
        threads = out.numel() // 8
        k(f"patches_{'' if fast else 'any_'}{SUFFIX[dtype]}", (blocks(threads, 256),), 256, map_, out, p, threads)
        ref = F.unfold(x.double(), kernel, padding=pad, stride=stride).reshape(n, c, kernel * kernel, oh * ow)
        ref = F.pad(ref.permute(0, 3, 2, 1).reshape(n, oh, ow, size), (0, padded - size))
        expect(f"patches {dtype} {n}x{h}x{w}x{c} {kernel}", bool((out.double() == ref).all()))
    if not options.quick:
        x = rand(8, 3, 768, 768, dtype=torch.float16)
        out = unwritten(8, 192, 192, 152, dtype=torch.float16)
        p = Patches(192, 192, 7, 4, 3, 768, 768, 3, 152, *x.permute(0, 2, 3, 1).stride())
        threads = out.numel() // 8
        note_time("patches 8x768x768x3", lambda: k("patches_any_f16", (blocks(threads, 256),), 256, x, out, p, threads), (x.numel() + out.numel()) * 2)


def check_bytes(k):
    for dtype, shape in itertools.product(FLOATS, ((2, 3, 8, 3), (1, 3, 3, 3))):
        data, values = torch.randint(0, 256, shape, dtype=torch.uint8, device=DEVICE), rand(3, 256, dtype=torch.float32)
        out = unwritten(*shape, dtype=dtype)
        k(f"normalise_bytes_{SUFFIX[dtype]}", (blocks(data.numel(), 2048),), 256, data, values, out, 3, data.numel())
        ref = torch.stack([values[c][data[..., c].long()] for c in range(3)], -1).to(dtype)
        expect(f"bytes {dtype} {shape}", bool((out == ref).all()))


# ---- attention ---------------------------------------------------------------------------------------------------------


def attend(q, k, v, scale):
    return torch.softmax(q @ k.transpose(-1, -2) * scale, -1) @ v


def window_reference(qkv, bias, heads, side):
    n, h, w, c3 = qkv.shape
    c = c3 // 3
    fill = bias.double() if bias is not None else torch.zeros(c3, device=DEVICE, dtype=torch.float64)
    hh, ww = blocks(h, side) * side, blocks(w, side) * side
    full = fill.expand(n, hh, ww, c3).clone()
    full[:, :h, :w] = qkv.double()
    win = full.reshape(n, hh // side, side, ww // side, side, 3, heads, c // heads).permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = win.reshape(3, n, hh // side, ww // side, heads, side * side, c // heads)
    out = attend(q, k, v, (c // heads) ** -0.5)
    out = out.reshape(n, hh // side, ww // side, heads, side, side, c // heads).permute(0, 1, 4, 2, 5, 3, 6)
    return out.reshape(n, hh, ww, c)[:, :h, :w]


def run_window(k, qkv, bias, heads, side, dtype, fast):
    n, h, w, c3 = qkv.shape
    c = c3 // 3
    out = unwritten(n, h, w, c, dtype=dtype)
    windows = n * blocks(h, side) * blocks(w, side)

    def work():
        if fast:
            k(f"window_attention_{SUFFIX[dtype]}", (windows * heads,), 288, qkv, bias, out, heads, h, w)
        else:
            queries = windows * side * side * heads
            k(f"window_attention_any_{SUFFIX[dtype]}", (blocks(queries, 8),), 256, qkv, bias, out, heads, c // heads, side, h, w, queries)

    work()
    return out, work


def check_window(k):
    shapes = [(1, 12, 12, 1), (2, 24, 24, 2), (1, 13, 30, 3), (2, 5, 7, 2)]
    for dtype, (n, h, w, heads), with_bias in itertools.product(HALVES, shapes, (True, False)):
        qkv = rand(n, h, w, 3 * heads * 32, dtype=dtype, scale=1.5)
        bias = rand(3 * heads * 32, dtype=dtype) if with_bias else None
        out, _ = run_window(k, qkv, bias, heads, 12, dtype, True)
        compare(f"window {dtype} {n}x{h}x{w} {heads} {with_bias}", out, window_reference(qkv, bias, heads, 12), dtype)
    for dtype, (n, h, w, heads, width, side) in itertools.product(FLOATS, [(1, 5, 6, 2, 8, 4), (2, 12, 7, 1, 48, 3), (1, 13, 13, 2, 32, 12)]):
        qkv, bias = rand(n, h, w, 3 * heads * width, dtype=dtype), rand(3 * heads * width, dtype=dtype)
        out, _ = run_window(k, qkv, bias, heads, side, dtype, False)
        compare(f"window any {dtype} {n}x{h}x{w} {heads}x{width}", out, window_reference(qkv, bias, heads, side), dtype)
    if not options.quick:
        for side, heads in ((192, 4), (48, 16)):
            qkv = rand(8, side, side, 96 * heads, dtype=torch.float16)
            _, work = run_window(k, qkv, None, heads, 12, torch.float16, True)
            note_time(f"window 8x{side}x{side} {heads} heads", work, qkv.numel() * 2 * 4 / 3, 8 * side * side * 144 * 32 * heads * 4)


def run_positions(k, qkv, lengths, heads, dtype, fast):
    n, length, d3 = qkv.shape
    width = d3 // 3
    out = unwritten(n, length, width, dtype=dtype)
    lengths = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)

    def work():
        if fast:
            k(f"position_attention_{SUFFIX[dtype]}", (blocks(length, 64), heads, n), 128, qkv, lengths, out, heads, length)
        else:
            queries = n * length * heads
            k(f"position_attention_any_{SUFFIX[dtype]}", (blocks(queries, 8),), 256, qkv, lengths, out, heads, width // heads, length, queries)

    work()
    return out, work


def check_positions(k):
    cases = [(FLOATS, 2, 20, 16, [7, 20], False), (FLOATS, 3, 9, 64, [9], False)]
    cases += [(HALVES, 1, 1, 64, [1], True), (HALVES, 2, 64, 64, [64, 3], True), (HALVES, 3, 130, 64, [130, 65, 64], True)]
    cases += [] if options.quick else [(HALVES, 12, 597, 64, [597, 590], True)]
    for dtypes, heads, length, width, lengths, fast in cases:
        for dtype in dtypes:
            qkv = rand(len(lengths), length, 3 * heads * width, dtype=dtype, scale=1.5)
            out, _ = run_positions(k, qkv, lengths, heads, dtype, fast)
            q, kk, v = qkv.double().reshape(len(lengths), length, 3, heads, width).permute(2, 0, 3, 1, 4)
            for i, end in enumerate(lengths):
                ref = attend(q[i, :, :end], kk[i, :, :end], v[i, :, :end], width**-0.5).permute(1, 0, 2).reshape(end, -1)
                compare(f"positions {dtype} {heads}x{width} {length} {lengths} {i}", out[i, :end], ref, dtype)
            expect(f"positions {dtype} {length} padding", bool(out.isfinite().all()))
    if not options.quick:
        qkv = rand(16, 597, 3 * 768, dtype=torch.float16)
        _, work = run_positions(k, qkv, [597] * 16, 12, torch.float16, True)
        note_time("positions 16x597 12 heads", work, qkv.numel() * 2 * 4 / 3, 16 * 597 * 597 * 768 * 4)


def channel_chunk(groups, pixels):
    return blocks(blocks(pixels, blocks(144, groups)), 64) * 64


def run_channels(k, qkv, groups, dtype, fast):
    n, pixels, c3 = qkv.shape
    c, width = c3 // 3, c3 // 3 // groups
    out = unwritten(n, pixels, c, dtype=dtype)
    if fast:
        chunk = channel_chunk(groups, pixels)
        parts = blocks(pixels, chunk)
        sums, weights = unwritten(n, groups, parts, 1024, dtype=torch.float32), unwritten(n, groups, 1024, dtype=dtype)
    else:
        weights = unwritten(n, groups, width, width, dtype=torch.float32)

    def work():
        if fast:
            per_warp = 4
            k(f"channel_sums_{SUFFIX[dtype]}", (parts, groups, n), 128, qkv, sums, groups, pixels, chunk)
            k(f"channel_weights_{SUFFIX[dtype]}", (n * groups,), 1024, sums, weights, parts, pixels**-0.5)
            k(f"channel_mix_{SUFFIX[dtype]}", (blocks(pixels, 64 * per_warp), groups, n), 128, qkv, weights, out, groups, pixels, per_warp)
        else:
            k(f"channel_weights_any_{SUFFIX[dtype]}", (width, groups, n), 256, qkv, weights, groups, width, pixels, pixels**-0.5)
            k(f"channel_mix_any_{SUFFIX[dtype]}", (blocks(out.numel(), 256),), 256, qkv, weights, out, groups, width, pixels, ctypes.c_longlong(out.numel()))

    work()
    return out, work


def check_channels(k):
    cases = [(FLOATS, 1, 7, 2, 8, False), (FLOATS, 2, 300, 3, 12, False), (FLOATS, 2, 50, 2, 32, False)]
    cases += [(HALVES, 1, 1, 1, 32, True), (HALVES, 2, 77, 3, 32, True), (HALVES, 1, 200, 3, 32, True)]
    cases += [] if options.quick else [(HALVES, 2, 576, 32, 32, True), (HALVES, 1, 9216, 8, 32, True)]
    for dtypes, n, pixels, groups, width, fast in cases:
        for dtype in dtypes:
            qkv = rand(n, pixels, 3 * groups * width, dtype=dtype)
            qkv[..., : 2 * groups * width] += 0.05
            out, _ = run_channels(k, qkv, groups, dtype, fast)
            q, kk, v = qkv.double().reshape(n, pixels, 3, groups, width).permute(2, 0, 3, 1, 4)
            weights = torch.softmax((q * pixels**-0.5).transpose(-1, -2) @ kk, -1)
            ref = (weights @ v.transpose(-1, -2)).transpose(-1, -2).permute(0, 2, 1, 3).reshape(n, pixels, -1)
            compare(f"channels {dtype} {n}x{pixels} {groups}x{width} {fast}", out, ref, dtype)
    if not options.quick:
        for pixels, groups in ((36864, 4), (2304, 16)):
            qkv = rand(8, pixels, 96 * groups, dtype=torch.float16)
            _, work = run_channels(k, qkv, groups, torch.float16, True)
            note_time(f"channels 8x{pixels} {groups} groups", work, qkv.numel() * 2 * 4 / 3)


# ---- a step of the decoder -----------------------------------------------------------------------------------------------


class Row(ctypes.Structure):
    _fields_ = [("token", ctypes.c_uint32), ("position", ctypes.c_uint32), ("input", ctypes.c_int32), ("beam", ctypes.c_uint32), ("score", ctypes.c_float)] + [
        (n, ctypes.c_uint32) for n in ("take", "bans", "ban_count", "ancestry", "r0", "r1", "r2")
    ]


class Input(ctypes.Structure):
    _fields_ = [("own", ctypes.c_uint64), ("cross", ctypes.c_uint64)] + [
        (n, ctypes.c_uint32) for n in ("capacity", "beams", "length", "positions", "first_row", "r0", "r1", "r2")
    ]


class Description:
    """Rows of inputs (length, beams, positions) with random caches, as step/plan.rs lays them out."""

    def __init__(self, inputs, heads, width, dtype, layers=2, tokens=None, take=0):
        self.inputs, self.heads, self.width, self.layers = inputs, heads, width, layers
        used = sum(beams for _, beams, _ in inputs)
        self.rows, tokens = blocks(used, 16) * 16, tokens or [0] * used
        rows, places, tail = [], [], b""
        start = 48 * self.rows + 48 * self.rows + 16
        self.own, self.cross, self.ancestry = [], [], []
        for number, (length, beams, positions) in enumerate(inputs):
            capacity = length + 3
            self.own.append(rand(layers, capacity, beams, 2, heads, width, dtype=dtype))
            self.cross.append(rand(layers, positions, 2, heads, width, dtype=dtype))
            places.append(Input(self.own[-1].data_ptr(), self.cross[-1].data_ptr(), capacity, beams, length, positions, len(rows)))
            for beam in range(beams):
                ancestors = torch.randint(0, beams, (length,)).tolist()
                self.ancestry.append(ancestors)
                rows.append(Row(tokens[len(rows)], length, number, beam, 0.0, take, 0, 0, start + len(tail)))
                tail += bytes(ancestors) + b"\0" * (-length % 4)
        rows += [Row(0, 0, -1) for _ in range(self.rows - used)]
        places += [Input() for _ in range(self.rows - len(places))]
        head = b"".join(bytes(part) for part in rows + places)
        count = (ctypes.c_uint32 * 4)(len(inputs))
        data = head + bytes(count) + tail + b"\0" * 16
        self.buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(DEVICE)
        self.used = used

    def at(self, offset):
        return ctypes.c_void_p(self.buffer.data_ptr() + offset)

    @property
    def parts(self):
        """Pointers to the rows, inputs and their number."""
        return self.at(0), self.at(48 * self.rows), self.at(96 * self.rows)


def own_reference(d, qkv, layer):
    out, row = [], 0
    for number, (length, beams, _) in enumerate(d.inputs):
        for beam in range(beams):
            q, k, v = qkv[row].double().reshape(3, d.heads, d.width)
            cache = d.own[number][layer].double()
            slots = torch.tensor(d.ancestry[row], dtype=torch.long, device=DEVICE)
            past = cache[torch.arange(length, device=DEVICE), slots]
            keys, values = torch.cat([past[:, 0], k[None]]), torch.cat([past[:, 1], v[None]])
            out.append(attend(q[:, None], keys.transpose(0, 1), values.transpose(0, 1), d.width**-0.5).reshape(-1))
            row += 1
    return torch.stack(out)


def split_up(values, splits, dtype):
    """Parts [splits, rows, columns] and a bias that add up to about `values`, and what they add up to."""
    bias = rand(values.shape[-1], dtype=dtype)
    parts = torch.randn(splits, *values.shape, device=DEVICE)
    parts[0] = values.float() - bias.float() - parts[1:].sum(0)
    return parts, bias, parts.double().sum(0) + bias.double()


def check_own(k):
    mixed = [(0, 3, 5), (1, 1, 9), (63, 4, 7), (64, 5, 3), (65, 2, 3), (200, 3, 4)]
    cases = [(HALVES, mixed, 2, 64, True), (HALVES, [(40, 3, 10)] * (1 if options.quick else 5), 12, 64, True), (FLOATS, mixed[:4], 3, 12, False)]
    for dtypes, inputs, heads, width, fast in cases:
        for dtype in dtypes:
            d = Description(inputs, heads, width, dtype)
            qkv = rand(d.rows, 3 * heads * width, dtype=dtype)
            parts, bias, exact = split_up(qkv, 3, dtype)
            ref, before = own_reference(d, exact if fast else qkv, 1), [own.clone() for own in d.own]
            out = unwritten(d.rows, heads * width, dtype=dtype)
            run_own(k, d, (parts, bias) if fast else qkv, out, dtype, fast)
            compare(f"own {dtype} {len(inputs)} {heads}x{width}", out[: d.used], ref, dtype)
            row = 0
            for number, (length, beams, _) in enumerate(inputs):
                written = (exact if fast else qkv)[row : row + beams].reshape(beams, 3, heads, width)[:, 1:]
                compare(f"own {dtype} {number} written", d.own[number][1, length], written, dtype)
                before[number][1, length] = d.own[number][1, length]
                row += beams
            expect(f"own {dtype} cache", all(bool((a == b).all()) for a, b in zip(before, d.own)))
    if not options.quick:
        for length in (20, 200):
            d = Description([(length, 3, 8)] * 16, 12, 64, torch.float16)
            qkv, out = rand(48, 3 * 768, dtype=torch.float16), unwritten(48, 768, dtype=torch.float16)
            parts, bias, _ = split_up(qkv, 3, torch.float16)
            note_time(f"own 48 rows after {length}", lambda: run_own(k, d, (parts, bias), out, torch.float16, True), 48 * length * 768 * 4)


def run_own(k, d, qkv, out, dtype, fast):
    rows, inputs, _ = d.parts
    if fast:
        parts, bias = qkv
        k(f"step_own_{SUFFIX[dtype]}", (d.heads, d.rows), 128, d.buffer, rows, inputs, parts, bias, out, len(parts), 1, d.heads)
    else:
        k(f"step_own_any_{SUFFIX[dtype]}", (d.heads, d.rows), 32, d.buffer, rows, inputs, qkv, out, 1, d.heads, d.width)


def run_cross(k, d, q, out, dtype, fast, layer=1):
    rows, inputs, count = d.parts
    if fast:
        parts, bias = q
        k(f"step_cross_{SUFFIX[dtype]}", (d.heads, d.rows), 256, inputs, count, parts, bias, out, d.rows, len(parts), layer)
    else:
        k(f"step_cross_any_{SUFFIX[dtype]}", (d.heads, d.rows), 32, rows, inputs, q, out, layer, d.heads, d.width)


def cross_reference(d, queries, layer):
    out, row = [], 0
    for number, (_, beams, _) in enumerate(d.inputs):
        keys, values = d.cross[number][layer].double().permute(1, 2, 0, 3)
        of_input = queries[row : row + beams].double().reshape(beams, d.heads, d.width).transpose(0, 1)
        out.append(attend(of_input, keys, values, d.width**-0.5).transpose(0, 1).reshape(beams, -1))
        row += beams
    return torch.cat(out)


def check_cross(k):
    mixed = [(0, 3, 1), (0, 1, 127), (0, 5, 128), (0, 16, 129), (0, 2, 600), (0, 9, 1000)]
    cases = [(HALVES, mixed, 2, 64, True), (HALVES, [(0, 3, 597)] * (1 if options.quick else 16), 12, 64, True), (FLOATS, mixed[:3], 3, 12, False)]
    for dtypes, inputs, heads, width, fast in cases:
        for dtype in dtypes:
            d = Description(inputs, heads, width, dtype)
            q, out = rand(d.rows, heads * width, dtype=dtype), unwritten(d.rows, heads * width, dtype=dtype)
            part, bias, exact = split_up(q, 3, dtype)
            ref = cross_reference(d, exact if fast else q, 1)
            run_cross(k, d, (part, bias) if fast else q, out, dtype, fast)
            compare(f"cross {dtype} {len(inputs)} {heads}x{width}", out[: d.used], ref, dtype)
    if not options.quick:
        for count in (1, 16):
            d = Description([(0, 3, 597)] * count, 12, 64, torch.float16, layers=6)
            q, out = rand(d.rows, 768, dtype=torch.float16), unwritten(d.rows, 768, dtype=torch.float16)
            parts, bias, _ = split_up(q, 3, torch.float16)
            layers = itertools.cycle(range(6))
            work = lambda: run_cross(k, d, (parts, bias), out, torch.float16, True, next(layers))
            note_time(f"cross {count} inputs", work, count * 597 * 768 * 4)


def run_split(k, x, w, parts, tiles, dtype):
    (rows, inner), outer = x.shape, len(w)
    k(f"step_split_{tiles}_{SUFFIX[dtype]}", (blocks(outer, 64), inner // 256, rows // (16 * tiles)), 256, x, w, parts, outer, inner)


def run_gelu_product(k, x, w, bias, y, tiles, dtype):
    (rows, inner), outer = x.shape, len(w)
    k(f"step_gelu_{tiles}_{inner // 256}_{SUFFIX[dtype]}", (blocks(outer, 24), rows // (16 * tiles)), 256, x, w, bias, y, outer)


def run_step_norm(k, parts, bias, norm, hidden, dtype):
    k(f"step_norm_{SUFFIX[dtype]}", (len(hidden),), 256, parts, bias, *norm, hidden, len(parts), hidden.shape[1])


def check_multiply(k):
    for dtype, tiles in itertools.product(HALVES, (1, 2, 3, 4)):
        rows = 16 * tiles * (2 if tiles == 4 else 1)
        for outer, inner in ((40, 256), (136, 768)) if options.quick else ((40, 256), (136, 768), (768, 3072)):
            x, w = rand(rows, inner, dtype=dtype), rand(outer, inner, dtype=dtype, scale=inner**-0.5)
            parts = unwritten(inner // 256, rows, outer, dtype=torch.float32)
            run_split(k, x, w, parts, tiles, dtype)
            ref = torch.einsum("rsk,osk->sro", *(t.double().reshape(len(t), -1, 256) for t in (x, w)))
            compare(f"split {dtype} {tiles} {outer} {inner}", parts, ref, torch.float32)
        for outer, inner in ((100, 768), (40, 1024)) if options.quick else ((100, 768), (40, 1024), (3072, 768)):
            x, w, b = rand(rows, inner, dtype=dtype), rand(outer, inner, dtype=dtype, scale=inner**-0.5), rand(outer, dtype=dtype)
            y = unwritten(rows, outer, dtype=dtype)
            run_gelu_product(k, x, w, b, y, tiles, dtype)
            compare(f"gelu product {dtype} {tiles} {outer} {inner}", y, F.gelu(x.double() @ w.double().t() + b.double()), dtype)
    for dtype, width, splits in itertools.product(HALVES, (64, 768, 1024, 2048), (1, 3, 16)):
        hidden, norm = rand(5, width, dtype=dtype), (rand(width, dtype=dtype), rand(width, dtype=dtype))
        parts, bias, exact = split_up(rand(5, width, dtype=dtype) + 2, splits, dtype)
        ref = F.layer_norm(exact + hidden.double(), (width,), norm[0].double(), norm[1].double(), 1e-5)
        run_step_norm(k, parts, bias, norm, hidden, dtype)
        compare(f"step norm {dtype} {width} {splits}", hidden, ref, dtype)
    for dtype in FLOATS:
        x, w, b = rand(5, 37, dtype=dtype), rand(19, 37, dtype=dtype), rand(19, dtype=dtype)
        y = unwritten(5, 19, dtype=dtype)
        padded = F.pad(w, (0, 3))  # as weights are whose rows are no multiple of eight
        padded[:, 37:] = float("nan")
        k(f"step_multiply_any_{SUFFIX[dtype]}", (blocks(19, 8), 5), 256, x, padded, b, y, 19, 37, 40, 19, 0)
        compare(f"multiply any {dtype}", y, x.double() @ w.double().t() + b.double(), dtype)
    if not options.quick:
        dtype = torch.float16
        for rows, tiles in ((16, 1), (48, 3), (192, 4)):
            for outer, inner in ((2304, 768), (768, 768), (3072, 768), (768, 3072), (1024, 4096), (4096, 1024)):
                # As many weights as a model has, so that they come from memory as they do there.
                x, w, b = rand(rows, inner, dtype=dtype), rand(40, outer, inner, dtype=dtype), rand(outer, dtype=dtype)
                y, turn = unwritten(rows, outer, dtype=dtype), itertools.cycle(range(40))
                parts, norm, moved = unwritten(inner // 256, rows, outer, dtype=torch.float32), (b, b), outer * inner * 2
                if outer > 2304:
                    work = lambda: run_gelu_product(k, x, w[next(turn)], b, y, tiles, dtype)
                    note_time(f"gelu product {rows} {inner}->{outer}", work, moved)
                else:
                    work = lambda: run_split(k, x, w[next(turn)], parts, tiles, dtype)
                    note_time(f"split {rows} {inner}->{outer}", work, moved)
                if outer < inner + 1:
                    note_time(f"  norm of {len(parts)} parts", lambda: run_step_norm(k, parts, b, norm, y, dtype))
                note_time(f"  torch {rows} {inner}->{outer}", lambda: F.linear(x, w[next(turn)], b), moved)


def run_logits(k, x, table, bias, y, sums, tokens, tiles, dtype):
    grid = (x.shape[0] // (16 * tiles), blocks(tokens, 208))
    k(f"step_logits_{tiles}_{SUFFIX[dtype]}", grid, 416, x, table, bias, y, sums, tokens, x.shape[1], y.shape[1])


def check_logits(k):
    for dtype, tiles, (tokens, inner), with_bias in itertools.product(HALVES, (1, 2, 3, 4), ((1003, 256),) if options.quick else ((1003, 256), (51289, 768)), (False, True)):
        rows = 16 * tiles * (2 if tiles == 4 else 1)
        x, table = rand(rows, inner, dtype=dtype), rand(tokens, inner, dtype=dtype, scale=inner**-0.5)
        bias = rand(tokens, dtype=dtype) if with_bias else None
        y = unwritten(rows, blocks(tokens, 8) * 8, dtype=torch.float32)
        sums = unwritten(rows, blocks(tokens, 208), 2, dtype=torch.float32)
        run_logits(k, x, table, bias, y, sums, tokens, tiles, dtype)
        ref = x.double() @ table.double().t() + (bias.double() if with_bias else 0)
        compare(f"logits {dtype} {tiles} {tokens} {with_bias}", y[:, :tokens], ref, torch.float32)
        together = torch.logsumexp(sums[..., 0].double() + sums[..., 1].double().log(), -1)
        compare(f"logits {dtype} {tiles} {tokens} {with_bias} sums", together, torch.logsumexp(ref, -1), torch.float32)
    if not options.quick:
        for rows, tiles, inner in ((16, 1, 768), (48, 3, 768), (192, 4, 768), (48, 3, 1024)):
            x, table = rand(rows, inner, dtype=torch.float16), rand(51289, inner, dtype=torch.float16)
            y, sums = unwritten(rows, 51296, dtype=torch.float32), unwritten(rows, 247, 2, dtype=torch.float32)
            note_time(f"logits {rows} {inner}", lambda: run_logits(k, x, table, None, y, sums, 51289, tiles, torch.float16), 51289 * inner * 2)
            note_time(f"  torch {rows} {inner}", lambda: x @ table.t(), 51289 * inner * 2)


def chunk_sums(logits, tokens, size):
    """The greatest logit and the sum of exponentials of each chunk, as the kernel of the logits leaves them."""
    filled = F.pad(logits[:, :tokens].double(), (0, -tokens % size), value=float("-inf")).reshape(len(logits), -1, size)
    most = filled.amax(-1)
    return torch.stack([most, (filled - most[..., None]).exp().sum(-1)], -1).float()


def select_case(tokens, rows, take):
    """Logits, bans of each row, scores, and the description of the rows; nothing is wanted of the last row."""
    logits = torch.randn(rows, blocks(tokens, 8) * 8, device=DEVICE) * 3
    logits[0, 1:3] = logits[0].max() + 1  # equals
    bans = [sorted({(row * 7 + i * 13) % tokens for i in range(row % 4)} | ({int(logits[row, :tokens].argmax())} if row % 2 else set())) for row in range(rows)]
    scores = [-0.1 * row for row in range(rows)]
    if rows > 3:
        # Of most chunks the best token is banned; and scores so low that rounding makes all continuations equal.
        bans[1] = sorted({int(logits[1, i : min(i + 208, tokens)].argmax()) + i for i in range(0, tokens, 208)} | set(bans[1]))
        scores[2] = -1e9
    tail, records = b"", []
    for row in range(rows):
        records.append(Row(0, 0, 0, 0, scores[row], 0 if row == rows - 1 else take, 48 * rows + len(tail), len(bans[row]), 0, 0, 0, 0))
        tail += b"".join(token.to_bytes(4, "little") for token in bans[row])
    data = b"".join(map(bytes, records)) + tail + b"\0" * 8
    return logits, bans, scores, torch.frombuffer(bytearray(data), dtype=torch.uint8).to(DEVICE)


def best_tokens(line, banned, score, take):
    """The best tokens by log-probabilities, best first, of equals the lower one."""
    line = line.clone()
    line[banned] = float("-inf")
    allowed = (line > float("-inf")).nonzero().flatten().tolist()
    if score < -1e6:
        return allowed[:take]
    return sorted(allowed if len(allowed) < 5000 else torch.topk(line, 64).indices.tolist(), key=lambda t: (-line[t].item(), t))[:take]


def check_select(k):
    for (tokens, rows, take), size in itertools.product(((51289, 4 if options.quick else 48, 6), (1408, 5, 6), (1000, 5, 32), (3, 2, 6), (4097, 5, 10)), (208, 4096)):
        logits, bans, scores, description = select_case(tokens, rows, take)
        count, stride = blocks(tokens, size), logits.shape[1]
        sums, taken = torch.zeros(rows, count, 2, device=DEVICE), torch.full((rows, 65), 77, dtype=torch.int32, device=DEVICE)

        def find():
            if size == 4096:
                k("select_sums", (count, rows), 256, description, logits, sums, tokens, stride)
            else:
                sums.copy_(chunk_sums(logits, tokens, size))
            k("select_best", (rows,), 256, description, description, logits, sums, taken, tokens, stride, size, count)
            wait()

        find()
        got = taken.cpu()
        lp = torch.log_softmax(logits[:, :tokens].double(), -1).cpu()
        for row in range(rows - 1):
            want = best_tokens(lp[row], bans[row], scores[row], take)
            tokens_got = got[row, 1 : 1 + 2 * take : 2].tolist()
            values = got[row, 2 : 2 + 2 * take : 2].clone().view(torch.float32)
            expect(f"select {tokens} {size} row {row}", got[row, 0] == 1 and tokens_got[: len(want)] == want and all(t == -1 for t in tokens_got[len(want) :]), f"{tokens_got} is not {want}")
            near = (values[: len(want)].double() - lp[row][want]).abs().max().item() if want else 0
            expect(f"select {tokens} {size} row {row} values", near < 2e-5, f"off by {near}")
        expect(f"select {tokens} {size} skipped", bool((got[rows - 1] == 77).all()))
        if tokens > 50000 and not options.quick:
            work = lambda: k("select_best", (rows,), 256, description, description, logits, sums, taken, tokens, stride, size, count)
            note_time(f"select {rows} rows by {size}", work, sums.numel() * 4)
        logits[0, 0] = float("nan")
        find()
        expect(f"select {tokens} {size} not finite", int(taken[0, 0]) == 0)


def check_embed(k):
    for dtype, width in itertools.product(FLOATS, (768, 20)):
        tokens, positions = rand(100, width, dtype=dtype), rand(60, width, dtype=dtype)
        w, b = rand(width, dtype=dtype), rand(width, dtype=dtype)
        records = [Row(7, 3, 0), Row(99, 57, 1), Row(0, 0, -1)]
        description = torch.frombuffer(bytearray(b"".join(map(bytes, records))), dtype=torch.uint8).to(DEVICE)
        out = unwritten(3, width, dtype=dtype)
        k(f"step_embed_{SUFFIX[dtype]}", (3,), 256, description, tokens, positions, w, b, out, width, 2)
        total = torch.stack([tokens[7].double() + positions[5].double(), tokens[99].double() + positions[59].double()])
        compare(f"embed {dtype} {width}", out[:2], F.layer_norm(total, (width,), w.double(), b.double(), 1e-5), dtype)
        expect(f"embed {dtype} nobody", bool((out[2] == 0).all()))


class SmallModel:
    """A decoder whose sizes no quick kernel knows, and no multiple of eight, so that its weights are filled up with zeros."""

    WIDTH, HEADS, HIDDEN, TOKENS, LAYERS, OFFSET = 20, 2, 28, 1408, 3, 2

    def __init__(self):
        width, hidden = self.WIDTH, self.HIDDEN
        self.tokens, self.logits_bias = self.weight(self.TOKENS, width, 1.0), rand(self.TOKENS, dtype=torch.float32)
        self.positions, self.norm = self.weight(282, width, 1.0), self.norm_weights()
        self.layers = [
            {
                **{name: (self.weight(width, width), rand(width, dtype=torch.float32)) for name in ("own_out", "query", "cross_out")},
                **{name: self.norm_weights() for name in ("own_norm", "cross_norm", "last_norm")},
                "qkv": (self.weight(3 * width, width), rand(3 * width, dtype=torch.float32)),
                "fc1": (self.weight(hidden, width), rand(hidden, dtype=torch.float32)),
                "fc2": (self.weight(width, hidden), rand(width, dtype=torch.float32)),
            }
            for _ in range(self.LAYERS)
        ]

    def weight(self, outer, inner, scale=None):
        return rand(outer, inner, dtype=torch.float32, scale=scale or inner**-0.5)

    def norm_weights(self):
        return 1 + rand(self.WIDTH, dtype=torch.float32, scale=0.1), rand(self.WIDTH, dtype=torch.float32, scale=0.1)

    def expect(self, d, tokens):
        """The logits of each row, in f64."""
        product = lambda x, by: x @ by[0].double().t() + by[1].double()
        norm = lambda x, by: F.layer_norm(x, (self.WIDTH,), by[0].double(), by[1].double(), 1e-5)
        places = [length + self.OFFSET for length, beams, _ in d.inputs for _ in range(beams)]
        x = norm(self.tokens[tokens].double() + self.positions[places].double(), self.norm)
        for index, layer in enumerate(self.layers):
            x = norm(x + product(own_reference(d, product(x, layer["qkv"]), index), layer["own_out"]), layer["own_norm"])
            x = norm(x + product(cross_reference(d, product(x, layer["query"]), index), layer["cross_out"]), layer["cross_norm"])
            x = norm(x + product(F.gelu(product(x, layer["fc1"])), layer["fc2"]), layer["last_norm"])
        return x @ self.tokens.double().t() + self.logits_bias.double()

    def step(self, k, d):
        """What step/kernels.rs launches: the logits, and the best tokens."""
        width, rows, (at_rows, at_inputs, _) = self.WIDTH, d.rows, d.parts
        new = lambda columns: unwritten(rows, columns, dtype=torch.float32)
        sizes = d.heads, d.width

        def product(x, by, is_gelu=0):
            (outer, inner), filled, y = by[0].shape, F.pad(by[0], (0, -by[0].shape[1] % 8)), new(len(by[0]))
            k("step_multiply_any_f32", (blocks(outer, 8), rows), 256, x, filled, by[1], y, outer, inner, filled.shape[1], outer, is_gelu)
            return y

        def norm(x, residual, by):
            k("layer_norm_any_f32", (rows,), 128, x, residual, *by, residual, width)

        x = new(width)
        k("step_embed_f32", (rows,), 256, d.buffer, self.tokens, self.positions, *self.norm, x, width, self.OFFSET)
        for index, layer in enumerate(self.layers):
            attended = torch.zeros(rows, width, device=DEVICE)
            k("step_own_any_f32", (d.heads, rows), 32, d.buffer, at_rows, at_inputs, product(x, layer["qkv"]), attended, index, *sizes)
            norm(product(attended, layer["own_out"]), x, layer["own_norm"])
            query = product(x, layer["query"])
            k("step_cross_any_f32", (d.heads, rows), 32, at_rows, at_inputs, query, attended, index, *sizes)
            norm(product(attended, layer["cross_out"]), x, layer["cross_norm"])
            norm(product(product(x, layer["fc1"], 1), layer["fc2"]), x, layer["last_norm"])
        logits, sums = new(self.TOKENS), unwritten(rows, 1, 2, dtype=torch.float32)
        taken = torch.zeros(rows, 65, dtype=torch.int32, device=DEVICE)
        k("step_logits_any_f32", (blocks(self.TOKENS, 8), rows), 256, x, self.tokens, self.logits_bias, logits, self.TOKENS, width, width, self.TOKENS, 0)
        k("select_sums", (1, rows), 256, at_rows, logits, sums, self.TOKENS, self.TOKENS)
        k("select_best", (rows,), 256, d.buffer, at_rows, logits, sums, taken, self.TOKENS, self.TOKENS, 4096, 1)
        wait()
        return logits, taken


def check_step(k):
    model, inputs = SmallModel(), [(3, 3, 7), (0, 1, 5), (65, 3, 30)]
    tokens = torch.randint(0, model.TOKENS, (7,)).tolist()
    d = Description(inputs, model.HEADS, model.WIDTH // model.HEADS, torch.float32, model.LAYERS, tokens, take=6)
    logits, taken = model.step(k, d)
    ref = model.expect(d, tokens)
    compare("step logits", logits[: d.used], ref, torch.float32, 1e-5)
    expect("step best", bool((taken[: d.used, 1:13:2].cpu() == ref.topk(6).indices.cpu()).all()))


CHECKS = {
    "norm": check_norm,
    "depthwise": check_depthwise,
    "gelu": check_gelu,
    "patches": check_patches,
    "bytes": check_bytes,
    "window": check_window,
    "positions": check_positions,
    "channels": check_channels,
    "embed": check_embed,
    "multiply": check_multiply,
    "logits": check_logits,
    "own": check_own,
    "cross": check_cross,
    "select": check_select,
    "step": check_step,
}


def main():
    kernels = EmulatedKernels() if options.emulate else Kernels(options.folder)
    torch.manual_seed(torch.seed() % 2**31)
    for name, check in CHECKS.items():
        if options.names and not any(wanted in name for wanted in options.names):
            continue
        before = len(results), len(failures)
        try:
            check(kernels)
            wait()
        except Exception as error:  # a kernel that fails must not hide the others' results
            failures.append(name)
            print(f"WRONG {name}: {error}", flush=True)
            if "CUDA" in str(error) or "illegal" in str(error).lower():
                break
        worst = max((error for _, error in results[before[0] :]), default=0)
        print(f"{name:10} {len(results) - before[0]:4} checks, {len(failures) - before[1]} wrong, worst error {worst:.1e}", flush=True)
    for name, micros, rate, tflops in times:
        print(f"{name:36} {micros:9.1f} us {rate:8.0f} GB/s {tflops:7.0f} TFLOP/s")
    print(f"{len(results)} checks, {len(failures)} wrong on {torch.cuda.get_device_name() if DEVICE == 'cuda' else 'emulated threads'}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--emulate", action="store_true")
    parser.add_argument("folder") if DEVICE == "cuda" else None
    parser.add_argument("names", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-times", action="store_true")
    options = parser.parse_args()
    options.quick |= options.emulate
    options.no_times |= options.emulate
    main()
