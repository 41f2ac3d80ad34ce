"""Stands in for the CUDA driver: launches run the kernels' C++ twins on the CPU."""
import atexit
import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from caffe.kernels import cuda


class StandInDriver:
    """Answers like cuda.bindings.driver; a launch runs the kernel's C++ twin."""

    __name__ = "driver"
    CUstream = int

    def __init__(self, library=None):
        self.library = library or emulator()
        self.launched = []

    def cuCtxSetCurrent(self, context):
        return (0,)

    def cuLaunchKernel(self, name, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream, arguments, extra):
        assert (grid_z, block_y, block_z, shared, extra) == (1, 1, 1, 0, 0)
        held = [kind(value) for value, kind in zip(*arguments, strict=True)]
        pointers = (ctypes.c_void_p * len(held))(*map(ctypes.addressof, held))
        block = min(block_x, 64)   # grid-stride loops work with any number of threads
        getattr(self.library, f"emulate_{name}")(min(grid_x, 3) if grid_y == 1 else grid_x, grid_y, block, pointers)
        self.launched.append(name)
        return (0,)


def compiler():
    """The C++ compiler; tests that need it are skipped if there is none."""
    found = shutil.which("g++") or shutil.which("clang++")
    if not found:
        pytest.skip("no C++ compiler here")
    return found


def build(folder):
    """Compile the kernels for the CPU; returns the library."""
    here, library = Path(__file__).parent, Path(folder) / "emulator.so"
    subprocess.run([compiler(), "-O1", "-std=c++20", "-ffp-contract=off", "-fPIC", "-shared", "-pthread",
                    f"-I{cuda.FOLDER}", f"-I{here}", here / "cuda_on_cpu.cpp", "-o", library], check=True)
    return library


@functools.cache
def emulator():
    """The library, compiled on first use."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    return ctypes.CDLL(str(build(folder)))
