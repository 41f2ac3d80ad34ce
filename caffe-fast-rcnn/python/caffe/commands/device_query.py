"""`caffe device_query`: the GPUs that PyTorch sees."""
from __future__ import annotations

import argparse

import torch

from .flags import Flags, names
from .running import CommandError

SUMMARY = "list the GPUs that can be used"
EXAMPLES = """\
  caffe device_query
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_gpu()


def run(args: argparse.Namespace) -> int:
    """List all GPUs, or those given by -gpu. Raises CommandError for one that is not there."""
    found = [str(index) for index in range(torch.cuda.device_count())]
    wanted = found if args.gpu in ("", "all") or not found else names(args.gpu)
    if missing := [name for name in wanted if name not in found]:
        raise CommandError(f"-gpu {args.gpu}: there is no GPU {', '.join(missing)}; expected 'all', or numbers below "
                           f"{len(found)}")
    for name in wanted:
        device = torch.cuda.get_device_properties(int(name))
        print(f"GPU {name}: {device.name}, compute capability {device.major}.{device.minor}, "
              f"{device.total_memory / 2**30:.1f} GB, {device.multi_processor_count} multiprocessors")
    if not found:
        print("PyTorch sees no CUDA GPU here")
    return 0
