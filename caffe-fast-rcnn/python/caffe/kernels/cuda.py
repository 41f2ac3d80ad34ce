"""Compiles the `.cu` files beside this module on first use and launches their kernels.

NVRTC compiles for the current GPU (or, for a GPU newer than this NVRTC, to PTX, which the driver compiles); the result
is cached in `$XDG_CACHE_HOME/caffe-kernels`, by default `~/.cache/caffe-kernels`. Kernels are launched through the
driver API on PyTorch's current stream. Both APIs come with `cuda-bindings`, a dependency of PyTorch's CUDA wheels; no
compiler is needed.
"""
from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import os
import signal
import tempfile
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent
OPTIONS = ("--std=c++17", "--fmad=false")   # a*b+c is not fused: the same bits as on the CPU
MAX_BLOCKS = 65535                          # the kernels loop where there is more work than threads


def holds(tensor: torch.Tensor) -> bool:
    """Whether a tensor is on a CUDA device, so that these kernels can process it."""
    return tensor.is_cuda


def launch(source: str, kernel: str, arguments: tuple, device: torch.device, *,
           grid: tuple[int, int], block: int) -> None:
    """Launch `kernel` of `source`.cu on the current stream of `device`.

    arguments  in the kernel's order: tensor (its pointer) | None (a null pointer) | int (C int) | float (C float)
    grid       blocks in x and y;  block: threads in a block
    """
    driver = _bindings("driver")
    values, types = zip(*map(_as_c, arguments), strict=True)
    with torch.cuda.device(device):
        index = torch.cuda.current_device()
        _check(driver, driver.cuCtxSetCurrent(_context(index)))   # a new thread has no current context
        stream = driver.CUstream(torch.cuda.current_stream().cuda_stream)
        _check(driver, driver.cuLaunchKernel(_function(source, kernel, index), *grid, 1, block, 1, 1, 0, stream,
                                             (values, types), 0))


def launch_each(source: str, kernel: str, arguments: tuple, count: int, device: torch.device) -> None:
    """Launch `kernel` with about one thread for each of `count` elements; see `launch`."""
    block = 256
    launch(source, kernel, arguments, device, grid=(min((count + block - 1) // block, MAX_BLOCKS), 1), block=block)


def compiled(source: str, capability: int) -> bytes:
    """Machine code (or PTX) of `source`.cu for compute capability 10 * major + minor; cached if available."""
    nvrtc = _bindings("nvrtc")
    target = architecture(capability, _check(nvrtc, nvrtc.nvrtcGetSupportedArchs()))
    version = _check(nvrtc, nvrtc.nvrtcVersion())
    digest = hashlib.sha256(repr((version, target, OPTIONS)).encode())
    for path in (FOLDER / f"{source}.cu", *_headers()):
        digest.update(path.read_bytes())
    cached = cache_folder() / f"{source}-{target}-{digest.hexdigest()[:32]}"
    try:
        return cached.read_bytes()
    except OSError:
        image = _compile(source, target)
        _keep(cached, image)
        return image


def architecture(capability: int, supported: list[int]) -> str:
    """'sm_90' if NVRTC supports the GPU, else 'compute_90' (PTX) for the newest supported older one."""
    if capability in supported:
        return f"sm_{capability}"
    older = [known for known in supported if known < capability]
    if not older:
        raise RuntimeError(f"the CUDA kernels cannot be compiled for compute capability {capability / 10}: this NVRTC "
                           f"starts at {min(supported) / 10}; install a CUDA build of PyTorch made for this GPU")
    return f"compute_{max(older)}"


def cache_folder() -> Path:
    """The folder for compiled kernels."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe-kernels"


def _as_c(argument) -> tuple:
    """Convert a kernel argument to the form that the bindings take: (value, C type)."""
    if argument is None:
        return 0, ctypes.c_void_p
    if isinstance(argument, torch.Tensor):
        return argument.data_ptr(), ctypes.c_void_p
    return argument, ctypes.c_float if isinstance(argument, float) else ctypes.c_int


def _headers() -> list[Path]:
    return [FOLDER / name for name in ("portable.h", "roi_pooling.h", "smooth_l1.h", "nms.h")]


def _compile(source: str, target: str) -> bytes:
    nvrtc = _bindings("nvrtc")
    headers = _headers()
    program = _check(nvrtc, nvrtc.nvrtcCreateProgram(
        (FOLDER / f"{source}.cu").read_bytes(), f"{source}.cu".encode(), len(headers),
        [path.read_bytes() for path in headers], [path.name.encode() for path in headers]))
    options = [option.encode() for option in (*OPTIONS, f"--gpu-architecture={target}")]
    try:
        result = nvrtc.nvrtcCompileProgram(program, len(options), options)
        for number in (signal.SIGINT, signal.SIGTERM):      # NVRTC 13.0 leaves them unable to interrupt a wait
            signal.siginterrupt(number, True)
        if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = _text(nvrtc, program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog)
            raise RuntimeError(f"NVRTC could not compile {source}.cu for {target}:\n{log.decode(errors='replace')}")
        if target.startswith("sm_"):
            return _text(nvrtc, program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
        return _text(nvrtc, program, nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _text(nvrtc, program, get_size, get) -> bytes:
    buffer = bytearray(_check(nvrtc, get_size(program)))
    _check(nvrtc, get(program, buffer))
    return bytes(buffer)


def _keep(path: Path, image: bytes) -> None:
    """Write the file atomically, so that no other process reads a partial one; the cache is optional."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(image)
        os.replace(file.name, path)
    except OSError:
        pass


@functools.cache
def _context(index: int):
    """The context that PyTorch uses on this device."""
    driver = _bindings("driver")
    return _check(driver, driver.cuDevicePrimaryCtxRetain(_check(driver, driver.cuDeviceGet(index))))


@functools.cache
def _module(source: str, index: int):
    driver = _bindings("driver")
    major, minor = torch.cuda.get_device_capability(index)
    return _check(driver, driver.cuModuleLoadData(compiled(source, 10 * major + minor)))


@functools.cache
def _function(source: str, kernel: str, index: int):
    driver = _bindings("driver")
    return _check(driver, driver.cuModuleGetFunction(_module(source, index), kernel.encode()))


@functools.cache
def _bindings(name: str):
    try:
        return importlib.import_module(f"cuda.bindings.{name}")
    except ImportError as error:
        raise RuntimeError("the CUDA kernels need the package cuda-bindings, which PyTorch's CUDA wheels bring "
                           "(pip install cuda-bindings)") from error


def _check(bindings, result: tuple):
    """The value of a call of the bindings, which return (status, value...). Raises RuntimeError on failure."""
    status, *values = result
    if int(status) != 0:
        if bindings.__name__.endswith("nvrtc"):
            message = bindings.nvrtcGetErrorString(status)[1]
        else:
            message = bindings.cuGetErrorString(status)[1]
        raise RuntimeError(f"CUDA: {getattr(status, 'name', status)}: {(message or b'').decode(errors='replace')}")
    return values[0] if len(values) == 1 else tuple(values)
