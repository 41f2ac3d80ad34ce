"""Builds and installs the package `caffe` (the engine) with its C++ kernels; everything else runs from the checkout."""
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

PACKAGES = "caffe-fast-rcnn/python"
KERNELS = f"{PACKAGES}/caffe/kernels"


def compile_flags() -> list[str]:
    """Optimise, but never fuse a*b+c: the same source must give the same bits on every machine and on CUDA."""
    if sys.platform == "win32":
        return ["/O2", "/std:c++17", "/fp:precise"]
    return ["-O3", "-std=c++17", "-ffp-contract=off", "-fno-trapping-math"]


def cpu_kernels() -> Extension:
    headers = sorted(path.as_posix() for path in Path(KERNELS).glob("*.h"))
    link = [] if sys.platform == "win32" else ["-pthread"]
    return Extension("caffe.kernels._cpu", [f"{KERNELS}/_cpu.pyx"], language="c++", depends=headers,
                     include_dirs=[KERNELS], extra_compile_args=compile_flags(), extra_link_args=link)


setup(
    name="caffe",
    version="1.0.0",
    description="Caffe nets, solvers and files on PyTorch, with the layers of Fast and Faster R-CNN",
    python_requires=">=3.10",
    package_dir={"": PACKAGES},
    packages=find_packages(PACKAGES),
    package_data={"caffe": ["**/*.h", "**/*.cu", "**/*.proto", "**/*.npy", "tools/*"]},
    entry_points={"console_scripts": ["caffe = caffe.__main__:main",
                                      "upgrade_net_proto_text = caffe.commands.upgrade_net:main",
                                      "upgrade_solver_proto_text = caffe.commands.upgrade_solver:main"]},
    ext_modules=cythonize([cpu_kernels()], language_level=3),
    install_requires=["numpy", "pyyaml", "opencv-python-headless", "easydict", "cython", "scipy", "protobuf>=4.21",
                      "torch>=2.10", "matplotlib", "h5py", "lmdb"],
    extras_require={"test": ["pytest", "hypothesis", "pytest-xdist"],
                    "onnx": ["onnx>=1.16", "onnxruntime"],      # export, and the tests of what was exported
                    # Compiles the CUDA kernels without a GPU, for the tests; PyTorch's CUDA wheels bring both
                    "nvrtc": ["cuda-bindings; sys_platform == 'linux'", "nvidia-cuda-nvrtc; sys_platform == 'linux'"],
                    "check": ["ruff", "mypy", "types-PyYAML"]},
)
