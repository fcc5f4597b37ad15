#!/usr/bin/env python3
"""Makes the libraries that a CUDA build links with, where there is no CUDA.

usage: stubs.py CUDARC_FOLDER OUT_FOLDER

The functions are those that the cudarc crate declares. What the stand-ins do is
said in lazy.c.
"""

import os
import pathlib
import re
import subprocess
import sys

# Link name: (cudarc's module, file names, status without the library, status
# without the function). Each status is a member of cudarc's enum of that name:
# CUDA_ERROR_NO_DEVICE, CUDA_ERROR_NOT_FOUND, then NOT_INITIALIZED and
# NOT_SUPPORTED or INTERNAL_ERROR of the other libraries.
LIBRARIES = {
    "cuda": ("driver", ["libcuda.so.1"], 100, 500),
    "cublas": ("cublas", ["libcublas.so.13", "libcublas.so.12"], 1, 15),
    "cublasLt": ("cublaslt", ["libcublasLt.so.13", "libcublasLt.so.12"], 1, 15),
    "curand": ("curand", ["libcurand.so.10"], 101, 999),
    "nvrtc": ("nvrtc", ["libnvrtc.so.13", "libnvrtc.so.12"], 11, 11),
}


def kind(name, returns):
    """How lazy.c answers for the function when the true one is missing."""
    if name in ("cuGetErrorName", "cuGetErrorString"):
        return "text_out"
    if returns.endswith("c_char"):
        return "text"
    if returns in ("usize", ""):
        return "zero"
    if re.fullmatch(r"CUresult|cublasStatus_t|curandStatus_t|nvrtcResult", returns):
        return "status"
    raise SystemExit(f"{name} returns {returns}: stubs.py does not know what to answer")


def functions(source):
    declared = re.findall(r"^\s+fn (\w+)\([^;{]*?\)(?: -> ([^;{]+))?;", source, re.MULTILINE)
    return sorted({(name, kind(name, returns)) for name, returns in declared})


def compile_archive(archive, source, *options):
    cc = os.environ.get("CC", "cc")
    part = archive.with_suffix(".o")
    subprocess.run([cc, "-O2", "-fPIC", "-Wall", *options, "-c", source, "-o", part], check=True)
    archive.unlink(missing_ok=True)
    subprocess.run(["ar", "rcs", archive, part], check=True)


def main():
    cudarc, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    lazy = pathlib.Path(__file__).resolve().with_name("lazy.c")
    for library, (module, files, no_library, no_function) in LIBRARIES.items():
        found = functions((cudarc / "src" / module / "sys" / "mod.rs").read_text())
        if not found:
            raise SystemExit(f"no functions found in cudarc's module {module}")
        listing = out / f"{library}.h"
        listing.write_text(
            "".join(f"FN({i}, {name}, {kind})\n" for i, (name, kind) in enumerate(found))
        )
        compile_archive(
            out / f"lib{library}.a",
            lazy,
            f'-DFUNCTIONS="{listing.resolve()}"',
            "-DLIBRARIES=" + ", ".join(f'"{file}"' for file in files),
            f"-DNO_LIBRARY={no_library}",
            f"-DNO_FUNCTION={no_function}",
            "-Wno-unused-function",
        )
    # candle-kernels asks for the CUDA runtime, but only what nvcc-wrapper leaves
    # out would call it.
    empty = out / "empty.c"
    empty.write_text("")
    compile_archive(out / "libcudart.a", empty)


if __name__ == "__main__":
    main()
