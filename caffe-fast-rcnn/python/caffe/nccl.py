"""pycaffe's names for training on several GPUs, which `init_parallel` replaces here."""
from __future__ import annotations


def set_multiprocess(multiprocess: bool) -> None:
    """Changes nothing: `init_parallel` lets processes train together."""


def has_nccl() -> bool:
    """False: pycaffe's NCCL class is not here."""
    return False


class NCCL:
    """pycaffe's exchange of gradients between GPUs, which is not here: creating one raises RuntimeError."""

    def __init__(self, solver, uid: str) -> None:
        raise RuntimeError("caffe.NCCL is not here: scripts can ask caffe.has_nccl() and train on one device")
