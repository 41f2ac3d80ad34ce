"""Gives caffe a simulated device in place of a GPU, so that its GPU code paths run without one.

    DEVICE_APART=FOLDER PYTHONPATH=tests/device_apart/site:... python ...

does so for any program and its child processes (see site/sitecustomize.py). FOLDER is where `build` has compiled
backend.cpp. The host cannot access the device's memory, tensors of host and device do not mix, PyTorch computes as on
the CPU, and CUDA kernels run as C++. Everything runs synchronously, but operations that would wait for a GPU are
detected. The host's clock and random numbers replace the GPU's.
"""
import contextlib
import ctypes
import os
import subprocess
import types
from pathlib import Path

import cuda_emulator
import torch

import caffe
from caffe.engine import device
from caffe.engine.graph import frozen_prefix
from caffe.kernels import cuda
from utils import other_caffe

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDERS = [HERE / "site", HERE, ROOT / "tests" / "engine", ROOT / "lib", ROOT / "caffe-fast-rcnn" / "python"]
CPU = torch.device("cpu")


def build(folder):
    """Compile the device for the installed PyTorch, and the kernels for the CPU."""
    home = Path(torch.__file__).parent
    subprocess.run([cuda_emulator.compiler(), "-O1", "-std=c++20", "-fPIC", "-shared", HERE / "backend.cpp",
                    "-o", folder / "backend.so", "-isystem", home / "include", f"-L{home / 'lib'}",
                    f"-Wl,-rpath,{home / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"], check=True)
    cuda_emulator.build(folder)


def environment(folder):
    """Environment variables for a process that uses the device."""
    return {**os.environ, "DEVICE_APART": str(folder), "PYTHONPATH": os.pathsep.join(map(str, FOLDERS)),
            "OMP_NUM_THREADS": "1"}


def install():
    """Load the device and present it to caffe and the tests as CUDA."""
    folder = os.environ["DEVICE_APART"]
    apart = _load(f"{folder}/backend.so")
    backend = ctypes.CDLL(f"{folder}/backend.so")
    for name, answer in {"is_available": True, "is_initialized": False, "device_count": 1, "current_device": 0,
                         "current_stream": types.SimpleNamespace(cuda_stream=0), "device": contextlib.nullcontext(),
                         "max_memory_allocated": 0, "get_device_capability": (9, 0),
                         "get_device_properties": types.SimpleNamespace(total_memory=1 << 40)}.items():
        setattr(torch.cuda, name, lambda *arguments, answer=answer: answer)
    torch.cuda.set_sync_debug_mode = lambda mode: backend.make_waits_errors(mode == "error")
    _run_kernels(Driver(backend, ctypes.CDLL(f"{folder}/emulator.so")), apart)
    device.current_device = lambda: apart if device._Settings.use_gpu else CPU
    device.send = _send
    device.generator = _generator
    frozen_prefix._WORTH_READING[apart.type] = frozen_prefix._WORTH_READING["cuda"]
    other_caffe.is_on_gpu = lambda blob: hasattr(blob, "tensor") and cuda.holds(blob.tensor)


def _load(library):
    torch.ops.load_library(library)
    torch.utils.rename_privateuse1_backend("apart")
    torch._register_device_module("apart", types.SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, _is_in_bad_fork=lambda: False, _lazy_init=lambda: None,
        device_count=lambda: 1, current_device=lambda: 0))
    return torch.device("apart", 0)


def _send(tensor, where, dtype=None):
    pinned = tensor.device == CPU and tensor.numel() * tensor.element_size() < device._MOST_PINNED
    return tensor.to(dtype or tensor.dtype).to(where, non_blocking=pinned)


def _generator():
    seed = device._Settings.seed & device._MASK
    return device._Settings.generators.setdefault(CPU, torch.Generator().manual_seed(seed))


class Driver(cuda_emulator.StandInDriver):
    """Runs kernels on the CPU, which can access the device's memory during the launch."""

    def __init__(self, backend, emulator):
        super().__init__(emulator)
        self._open = backend.open_memory

    def cuLaunchKernel(self, *arguments):
        *_, (values, kinds), _extra = arguments
        held = [ctypes.c_void_p(value) for value, kind in zip(values, kinds, strict=True)
                if kind is ctypes.c_void_p and value]
        for address in held:
            self._open(address, 1)
        status = super().cuLaunchKernel(*arguments)
        for address in held:
            self._open(address, 0)
        return status


def _run_kernels(driver, apart):
    sort_and_sweep = caffe.nms
    cuda.holds = lambda tensor: tensor.device.type == apart.type
    cuda._bindings = lambda name: driver
    cuda._context = lambda index: None
    cuda._function = lambda source, kernel, index: kernel
    caffe.nms = lambda dets, threshold, max_keep=0, device=None: sort_and_sweep(
        dets, threshold, max_keep, device and device.replace("cuda", apart.type))
