"""The compiled modules: the engine's kernels, and in place also the detector's. All else is in pyproject.toml."""
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = "caffe-fast-rcnn/python/caffe/kernels"
HEADERS = sorted(path.as_posix() for path in Path(KERNELS).glob("*.h"))
# Never fuse a*b+c: the same source must give the same bits on every machine and on CUDA
FLAGS = ["-O3", "-std=c++17", "-ffp-contract=off", "-fno-trapping-math"]


def extension(module: str, source: str) -> Extension:
    return Extension(module, [source], language="c++", depends=HEADERS, include_dirs=[KERNELS],
                     extra_compile_args=FLAGS, extra_link_args=["-pthread"])


DETECTOR = [extension("utils.cython_bbox", "lib/utils/bbox.pyx")]


class BuildExtensions(build_ext):
    """In place, builds the detector's modules too: it runs from the checkout and is in no wheel."""

    def run(self) -> None:
        super().run()
        if self.inplace:
            detector = build_ext(Distribution({"package_dir": {"": "lib"}, "ext_modules": DETECTOR}))
            detector.inplace = True
            detector.build_lib = f"{self.build_temp}/detector"      # what lies in build_lib gets into wheels
            detector.ensure_finalized()
            detector.run()


setup(license="MIT", ext_modules=[extension("caffe.kernels._cpu", f"{KERNELS}/_cpu.pyx")],
      cmdclass={"build_ext": BuildExtensions})
