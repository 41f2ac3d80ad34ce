"""The CUDA kernels: compiled by nvcc and NVRTC if available, run as C++ on the CPU, and run on a GPU."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import types

import kernel_oracles as oracle
import numpy as np
import pytest
import torch
from cuda_emulator import StandInDriver

from caffe.kernels import cuda, nms, roi_pool_backward, roi_pool_forward, smooth_l1

SOURCES = sorted(path.stem for path in cuda.FOLDER.glob("*.cu"))
KERNELS = {"nms": ["nms_mask", "nms_sweep"],
           "roi_pooling": [*(f"roi_pool_forward_{dtype}" for dtype in ("float32", "float64", "bfloat16")),
                           "roi_pool_backward_float32", "roi_pool_backward_float64"],
           "smooth_l1": ["smooth_l1_float32", "smooth_l1_float64"]}


# ---- compiling
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.slow
def test_nvcc_compiles(source, arch, tmp_path):
    nvcc = shutil.which("nvcc")
    if not nvcc:
        pytest.skip("no nvcc here")
    out = tmp_path / "kernels.cubin"
    subprocess.run([nvcc, "-cubin", f"-arch={arch}", "-std=c++17", "--fmad=false", "-Werror", "all-warnings",
                    "-o", out, cuda.FOLDER / f"{source}.cu"], check=True)
    code = out.read_bytes()
    assert all(name.encode() in code for name in KERNELS[source])


@pytest.fixture
def nvrtc():
    """Compute capabilities supported by the installed NVRTC."""
    try:
        bindings = cuda._bindings("nvrtc")
        return cuda._check(bindings, bindings.nvrtcGetSupportedArchs())
    except RuntimeError as error:   # also raised by cuda-pathfinder if it finds no library
        pytest.skip(f"no NVRTC here: {error}")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "caffe-kernels"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.slow
def test_nvrtc_compiles_and_the_result_is_kept(source, nvrtc, cache, monkeypatch):
    for capability in {80, 90, 100} & set(nvrtc):
        assert cuda.compiled(source, capability).startswith(b"\x7fELF")
    text = cuda.compiled(source, 9999)   # a chip newer than this NVRTC: PTX
    assert all(f".entry {name}".encode() in text for name in KERNELS[source])
    assert len(list(cache.iterdir())) == len({80, 90, 100} & set(nvrtc)) + 1
    monkeypatch.setattr(cuda, "_compile", None)   # from now on only the cache can answer
    assert cuda.compiled(source, 9999) == text


def test_a_compiler_error_is_shown(nvrtc, cache, tmp_path, monkeypatch):
    for path in cuda._headers():
        shutil.copy(path, tmp_path)
    (tmp_path / "broken.cu").write_text('#include "nms.h"\n__global__ void f() { undefined_name; }\n')
    monkeypatch.setattr(cuda, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError, match=r"(?s)could not compile broken.cu for sm_.*broken.cu\(2\).*undefined_name"):
        cuda.compiled("broken", max(nvrtc))


class StandInCompiler:
    """Answers like cuda.bindings.nvrtc 13.0, after which signals no longer end waits."""

    __name__ = "nvrtc"
    nvrtcResult = types.SimpleNamespace(NVRTC_SUCCESS=0)

    def nvrtcCreateProgram(self, *arguments):
        return 0, "program"

    def nvrtcCompileProgram(self, *arguments):
        signal.siginterrupt(signal.SIGINT, False)
        return (0,)

    def nvrtcGetCUBINSize(self, program):
        return 0, 4

    def nvrtcGetCUBIN(self, program, buffer):
        buffer[:] = b"code"
        return (0,)

    def nvrtcDestroyProgram(self, program):
        return (0,)


def test_ctrl_c_ends_a_wait_after_compiling(monkeypatch):
    monkeypatch.setattr(cuda, "_bindings", lambda name: StandInCompiler())
    assert cuda._compile("nms", "sm_90") == b"code"
    waited_for = subprocess.Popen(["sleep", "20"])
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        os.waitpid(waited_for.pid, 0)
    assert waited_for.poll() is None
    waited_for.kill()
    waited_for.wait()


def test_architectures():
    assert cuda.architecture(90, [80, 90, 100]) == "sm_90"
    assert cuda.architecture(103, [80, 90, 100]) == "compute_100"
    with pytest.raises(RuntimeError, match="compute capability 5.2: this NVRTC starts at 8.0"):
        cuda.architecture(52, [80, 90])


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cuda._keep(tmp_path / "file" / "kernel", b"code")
    cuda._keep(tmp_path / "new" / "kernel", b"code")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["kernel"]


def test_headers_shared_with_cuda_include_nothing_else():
    for path in (*cuda._headers(), *cuda.FOLDER.glob("*.cu")):
        included = re.findall(r"#include (.*)", path.read_text())
        assert all(name.strip('"') in [header.name for header in cuda._headers()] for name in included), path.name


# ---- running: the kernels as C++, called through the real launch code and a stand-in for the driver
@pytest.fixture
def as_cuda(monkeypatch):
    """Inside `with as_cuda():` CPU tensors count as CUDA tensors."""
    driver = StandInDriver()
    stream = types.SimpleNamespace(cuda_stream=0)

    @contextlib.contextmanager
    def switch():
        with monkeypatch.context() as patch:
            patch.setattr(cuda, "holds", lambda tensor: True)
            patch.setattr(cuda, "_bindings", lambda name: driver)
            patch.setattr(cuda, "_context", lambda index: None)
            patch.setattr(cuda, "_function", lambda source, kernel, index: kernel)
            patch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
            patch.setattr(torch.cuda, "current_device", lambda: 0)
            patch.setattr(torch.cuda, "current_stream", lambda: stream)
            before = len(driver.launched)
            yield
            assert len(driver.launched) > before
    return switch


@contextlib.contextmanager
def real_cuda():
    yield


BACKENDS = ["as_cuda", pytest.param("gpu", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.fixture(params=BACKENDS)
def backend(request):
    """(context manager, device): the kernels as C++, and the real ones if there is a GPU."""
    if request.param == "gpu":
        return real_cuda, "cuda"
    return request.getfixturevalue("as_cuda"), "cpu"


def same(on_cuda, on_cpu):
    assert on_cuda.dtype == on_cpu.dtype
    torch.testing.assert_close(on_cuda.cpu(), on_cpu, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("count", [23, 300])        # a block handles the windows of 128 at a time
@pytest.mark.slow
def test_roi_pooling_is_that_of_the_cpu(backend, dtype, count):
    switch, device = backend
    rng = np.random.default_rng(5)
    x = torch.tensor(rng.standard_normal((2, 5, 9, 13)), dtype=dtype)
    rois = torch.tensor(oracle.random_rois(rng, count, 2, 13, 9, 0.25))
    y, argmax = roi_pool_forward(x, rois, 4, 3, 0.25)
    dy = torch.tensor(rng.standard_normal(y.shape), dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    dx = roi_pool_backward(dy, argmax, rois, x.shape, 0.25)
    with switch():
        cuda_y, cuda_argmax = roi_pool_forward(x.to(device), rois.to(device), 4, 3, 0.25)
        y_alone, nothing = roi_pool_forward(x.to(device), rois.to(device), 4, 3, 0.25, with_argmax=False)
        cuda_dx = roi_pool_backward(dy.to(device), cuda_argmax, rois.to(device), x.shape, 0.25)
    assert cuda_y.dtype == dtype and nothing is None
    same(cuda_y, y)
    same(y_alone, y)
    same(cuda_argmax, argmax)
    same(cuda_dx, dx)


def test_a_bin_past_its_roi_gives_no_gradient_there(backend):
    switch, device = backend
    x = torch.zeros(1, 1, 2, 60)
    x[0, 0, 0, 57] = 1
    rois = torch.tensor([[0.0, 0, 0, 56, 1]])
    with switch():
        y, argmax = roi_pool_forward(x.to(device), rois.to(device), 1, 7, 1.0)
        dx = roi_pool_backward(torch.ones_like(y), argmax, rois.to(device), x.shape, 1.0)
    assert y[0, 0, 0, 6] == 1 and dx[0, 0, 0, 57] == 0


def test_an_image_index_outside_the_batch_gives_nan(backend):
    switch, device = backend
    rois = torch.tensor([[0.0, 0, 0, 1, 1], [3, 0, 0, 1, 1], [-1, 0, 0, 1, 1]], device=device)
    with switch():
        y, argmax = roi_pool_forward(torch.ones(2, 3, 4, 5, device=device), rois, 2, 2, 1.0)
        dx = roi_pool_backward(torch.ones_like(y), argmax, rois, (2, 3, 4, 5), 1.0)
    assert y.isnan().flatten(1).all(dim=1).tolist() == [False, True, True]
    assert dx.sum() == 12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smooth_l1_is_that_of_the_cpu(backend, dtype):
    switch, device = backend
    tensors = torch.tensor(np.random.default_rng(6).uniform(-2, 2, (4, 6, 5, 7)), dtype=dtype)
    for arguments in (tensors[:2], tensors):
        want = smooth_l1(*arguments, sigma=3.0)
        with switch():
            got = smooth_l1(*arguments.to(device), sigma=3.0)
        same(got[0], want[0])
        same(got[1], want[1])


@pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_nms_is_that_of_the_cpu(backend, count, threshold):
    switch, device = backend
    dets = torch.tensor(oracle.random_dets(np.random.default_rng(count), count, spread=count))
    for max_keep in (0, 5):
        want = nms(dets, threshold, max_keep=max_keep)
        with switch():
            got = nms(dets.to(device), threshold, max_keep=max_keep)
        same(got, want)


def test_a_failed_call_is_an_error():
    bindings = types.SimpleNamespace(__name__="cuda.bindings.driver", cuGetErrorString=lambda status: (0, b"no memory"))
    assert cuda._check(bindings, (0, 7)) == 7
    with pytest.raises(RuntimeError, match="CUDA: 2: no memory"):
        cuda._check(bindings, (2, None))


def test_without_cuda_bindings_the_message_says_what_to_install():
    with pytest.raises(RuntimeError, match="pip install cuda-bindings"):
        cuda._bindings("no_such_module")
