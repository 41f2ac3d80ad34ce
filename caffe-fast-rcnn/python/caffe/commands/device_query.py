"""`caffe device_query`: the GPUs that PyTorch sees."""
from __future__ import annotations

import argparse

import torch

from .flags import Flags, names

SUMMARY = "list the GPUs that can be used"
EXAMPLES = """\
  caffe device_query
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_gpu()


def run(args: argparse.Namespace) -> int:
    """List all GPUs, or those given by -gpu."""
    found = range(torch.cuda.device_count())
    for index in found:
        if args.gpu in ("", "all") or str(index) in names(args.gpu):
            device = torch.cuda.get_device_properties(index)
            print(f"GPU {index}: {device.name}, compute capability {device.major}.{device.minor}, "
                  f"{device.total_memory / 2**30:.1f} GB, {device.multi_processor_count} multiprocessors")
    if not found:
        print("PyTorch sees no CUDA GPU here")
    return 0
