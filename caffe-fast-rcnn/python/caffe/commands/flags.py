"""Command lines in Caffe's style: -flag value, -flag=value, --flag; switches also as -noflag."""
from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from ..engine.device import PRECISIONS

# Flags that all of Caffe's commands take, since they are global variables there; the log flags come from glog.
# Commands accept those they do not use.
GLOBAL_FLAGS = ("gpu", "solver", "model", "phase", "level", "stage", "snapshot", "weights", "iterations",
                "sigint_effect", "sighup_effect", "log_dir", "minloglevel", "stderrthreshold", "v", "vmodule")
GLOBAL_SWITCHES = ("logtostderr", "alsologtostderr", "colorlogtostderr", "log_prefix")

_TRUE, _FALSE = ("1", "t", "true", "y", "yes"), ("0", "f", "false", "n", "no")
_NOTE = "Flags may be written with one dash or two, as -flag value or as -flag=value; switches also as -noflag."


_FLAG = re.compile(r"--?([A-Za-z][\w-]*)(=.*)?", re.DOTALL)


def version() -> str:
    """The text of --version."""
    from .. import __version__  # set when the package is complete
    return f"caffe version {__version__}"


def command_first(words: Sequence[str]) -> list[str]:
    """The command line with the command's name moved to the front; global flags may precede it, as in Caffe."""
    takes_value = False
    for index, word in enumerate(words):
        flag = _FLAG.fullmatch(word)
        if not takes_value and not flag:
            return [word, *words[:index], *words[index + 1:]]
        takes_value = flag is not None and not takes_value and flag[2] is None and flag[1] in GLOBAL_FLAGS
    return list(words)


class Flags(argparse.ArgumentParser):
    """The flags and arguments of one command.

    A mistake is reported in one line and ends the process with status 2. Parsed by argparse after every flag is
    converted to the form --flag.
    """

    def __init__(self, command: str, description: str, examples: str) -> None:
        super().__init__(prog=command, description=description, epilog=f"{_NOTE}\n\nexamples:\n{examples}",
                         formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        self._switches: set[str] = set()

    def switch(self, name: str, help: str) -> None:
        """Add a flag without a value, off unless given."""
        self._switches.add(name)
        self.add_argument(f"--{name}", action="store_true", help=help)
        self.add_argument(f"--no{name}", dest=name, action="store_false", help=argparse.SUPPRESS)
        self.set_defaults(**{name: False})

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a command line. Raises SystemExit for --help and for mistakes."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        self._accept_global_flags()
        args, unknown = self.parse_known_intermixed_args(self._canonical(words))
        if unknown:
            near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            self.error(f"unexpected {unknown[0]}{hint}")
        return args

    def _accept_global_flags(self) -> None:
        for name in GLOBAL_SWITCHES:
            self.switch(name, argparse.SUPPRESS)
        for name in GLOBAL_FLAGS:
            if f"--{name}" not in self._option_string_actions:
                self.add_argument(f"--{name}", dest=f"global_{name}", help=argparse.SUPPRESS)
        self.add_argument("--version", action="version", version=version(), help=argparse.SUPPRESS)

    def _canonical(self, words: Sequence[str]) -> list[str]:
        result: list[str] = []
        for word in words:
            flag = _FLAG.fullmatch(word)
            result.append(self._flag(flag[1].replace("-", "_"), flag[2]) if flag else word)
        return result

    def _flag(self, name: str, value: str | None) -> str:
        if name == "h":
            return "--help"
        if name not in self._switches or value is None:
            return f"--{name}{value or ''}"
        if value[1:].lower() not in _TRUE + _FALSE:
            self.error(f"-{name} is a switch: expected true or false, found '{value[1:]}'")
        return f"--{name}" if value[1:].lower() in _TRUE else f"--no{name}"

    def error(self, message: str) -> NoReturn:
        """Report a mistake and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help explains\n")

    # ---- flags of several commands
    def add_gpu(self) -> None:
        """-gpu."""
        self.add_argument("--gpu", default="", metavar="ID",
                          help="GPU to use; 'all', or the first of several separated by commas (default: the CPU)")

    def add_precision(self) -> None:
        """-precision."""
        self.add_argument("--precision", default=PRECISIONS[0], choices=PRECISIONS,
                          help=f"of convolutions and matrix products (default: {PRECISIONS[0]}): bfloat16 is faster "
                               "on processors that have it, tf32 on GPUs")

    def add_state(self, phase: str | None = None) -> None:
        """Add -level, -stage, and -phase with this default."""
        if phase:
            self.add_argument("--phase", default=phase, choices=("TRAIN", "TEST"), help=f"(default: {phase})")
        self.add_argument("--level", type=int, metavar="N", help="level of the net")
        self.add_argument("--stage", default="", metavar="NAMES", help="stages of the net, separated by commas")


def stages(args: argparse.Namespace) -> list[str]:
    """The stages given by -stage."""
    return names(args.stage)


def names(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def positive(text: str) -> int:
    """A flag type: an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text}")
    return number
