"""Builds the detector's two Cython modules next to their sources: `python lib/setup.py build_ext --inplace`."""
import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

LIB = Path(__file__).resolve().parent
KERNELS = LIB.parent / "caffe-fast-rcnn" / "python" / "caffe" / "kernels"   # nms.h: the arithmetic shared with CUDA


def extension(module: str, source: str, depends: list[str]) -> Extension:
    flags = ["-O3", "-std=c++17", "-ffp-contract=off", "-fno-trapping-math"]   # as in ../setup.py
    if sys.platform == "win32":
        flags = ["/O2", "/std:c++17"]
    return Extension(module, [source], language="c++", include_dirs=[str(KERNELS)], depends=depends,
                     extra_compile_args=flags)


if __name__ == "__main__":
    os.chdir(LIB)   # --inplace puts the modules below the working directory
    modules = [extension("nms.cpu_nms", "nms/cpu_nms.pyx", [str(KERNELS / "nms.h"), str(KERNELS / "portable.h")]),
               extension("utils.cython_bbox", "utils/bbox.pyx", [])]
    setup(name="detector-extensions", packages=[], ext_modules=cythonize(modules, language_level=3))
