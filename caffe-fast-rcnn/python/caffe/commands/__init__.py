"""The command line: one module for each command, with SUMMARY, EXAMPLES, add_flags and run."""
from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from types import ModuleType

from . import (
    compute_image_mean,
    convert_annoset,
    convert_imageset,
    device_query,
    draw,
    export,
    extract_features,
    inspect,
    test,
    time,
    train,
    upgrade_net,
    upgrade_solver,
)
from .flags import Flags, command_first, version
from .running import apply_log_flags, guarded

COMMANDS: dict[str, ModuleType] = {module.__name__.rpartition(".")[2]: module for module in (
    train, test, time, inspect, draw, export, convert_imageset, convert_annoset, compute_image_mean,
    extract_features, upgrade_net, upgrade_solver, device_query)}


def usage() -> str:
    """The text of `caffe --help`."""
    width = max(map(len, COMMANDS))
    return "\n".join(["usage: caffe COMMAND [flags]        (or python -m caffe COMMAND ...)", "", "commands:",
                      *(f"  {name.ljust(width)}  {module.SUMMARY}" for name, module in COMMANDS.items()), "",
                      "caffe COMMAND --help explains a command and shows examples."])


def run_command(name: str, words: Sequence[str]) -> int:
    """Run a command with its arguments; returns the exit status."""
    module = COMMANDS[name]

    def work() -> int:
        flags = Flags(f"caffe {name}", (module.__doc__ or "").partition(": ")[2], module.EXAMPLES)
        module.add_flags(flags)
        args = flags.read(words)
        apply_log_flags(args)
        return module.run(args)
    return guarded(f"caffe {name}", work)


def main(argv: Sequence[str] | None = None) -> int:
    """The program `caffe`: run the command named by the first word; returns 2 for a user error."""
    words = command_first(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("-version", "--version"):
        print(version())
        return 0
    if not words or words[0].startswith("-") or words[0] in ("h", "help"):
        print(usage())
        return 0 if words and words[0].lstrip("-") in ("h", "help") else 2
    if words[0] in COMMANDS:
        return run_command(words[0], words[1:])
    near = difflib.get_close_matches(words[0], COMMANDS, n=3) or list(COMMANDS)
    print(f"caffe: unknown command '{words[0]}'; did you mean: {', '.join(near)}?", file=sys.stderr)
    return 2
