"""Packages and extension modules; everything else is in pyproject.toml.

`caffe` is the engine. `frcnn` is the detector: lib/frcnn, with the other packages of lib as its subpackages.
"""
from pathlib import Path

from setuptools import Extension, find_packages, setup

ENGINE = "caffe-fast-rcnn/python"
KERNELS = f"{ENGINE}/caffe/kernels"
HEADERS = sorted(path.as_posix() for path in Path(KERNELS).glob("*.h"))
# Never contract a*b+c into an FMA: results must be bit for bit the same on every machine and on CUDA
FLAGS = ["-O3", "-std=c++17", "-ffp-contract=off", "-fno-trapping-math"]
# The four stages and the pages about them are made by tools/, and have no use without them
LIB = find_packages("lib", exclude=["frcnn", "alt_opt", "reports"])


def extension(module: str, source: str) -> Extension:
    return Extension(module, [source], language="c++", depends=HEADERS, include_dirs=[KERNELS],
                     extra_compile_args=FLAGS, extra_link_args=["-pthread"])


setup(license="MIT",
      packages=[*find_packages(ENGINE), "frcnn", *(f"frcnn.{name}" for name in LIB)],
      package_dir={"": ENGINE, "frcnn": "lib/frcnn",
                   **{f"frcnn.{name}": f"lib/{name.replace('.', '/')}" for name in LIB}},
      ext_modules=[extension("caffe.kernels._cpu", f"{KERNELS}/_cpu.pyx"),
                   extension("frcnn.utils.cython_bbox", "lib/utils/bbox.pyx")])
