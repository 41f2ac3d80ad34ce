"""pycaffe's names for training on several GPUs, which is done with `init_parallel` here."""
from __future__ import annotations


def set_multiprocess(multiprocess: bool) -> None:
    """Ignored: use `init_parallel` to train with several processes."""


def has_nccl() -> bool:
    """False: pycaffe's NCCL class is not available."""
    return False


class NCCL:
    """pycaffe's gradient exchange between GPUs, which is not available: creating one raises RuntimeError."""

    def __init__(self, solver, uid: str) -> None:
        raise RuntimeError("caffe.NCCL is not available: scripts can check caffe.has_nccl() and train on one device")
