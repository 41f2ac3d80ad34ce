"""Shared by the command line tools: options, choice of the device, and reporting of user errors."""
from __future__ import annotations

import argparse
import contextlib
import functools
import numbers
import operator
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from fast_rcnn.cfg_checks import check_cfg
from fast_rcnn.config import MOST_ITERATIONS, Changes, Config, cfg, cfg_from_file, cfg_from_list, change_cfg
from utils import parallel
from utils.errors import UserError, is_user_error, message_of
from utils.names import ROI_LAYERS
from utils.text import is_utf8, printable_output
from utils.user_modules import import_modules

if TYPE_CHECKING:
    from datasets.source import Share
    from net_definitions import Sizes


class Main(Protocol):
    """A tool's main function: takes command line arguments (None: sys.argv), returns the exit status."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def tool(main: Main) -> Main:
    """Decorates `main(argv=None) -> int`: user errors become one message and exit status 2.

    These are UserError, and errors in settings, prototxts, nets, weights and files; anything else is a bug and keeps
    its traceback. Ctrl-C returns status 130. In a parallel run only the first process prints, apart from errors.
    Caffe's own log is quiet. Control characters in names of files, classes and layers are printed as escapes.
    """
    @functools.wraps(main)
    @printable_output()
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            with parallel.quiet_unless_first(), quiet_caffe():
                return main(argv)
        except SystemExit as stop:      # argparse: --help or a wrong option
            return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:         # the reader of our output, such as `head`, has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if not is_user_error(error):
                raise
            print(f"error{parallel.label()}: {message_of(error)}", file=sys.stderr)
            return 2
    return guarded


@contextlib.contextmanager
def quiet_caffe() -> Iterator[None]:
    """Limit Caffe's log, here and in child processes, to warnings and errors: the tools have their own log.

    A GLOG_minloglevel set by the user is kept.
    """
    chosen = os.environ.get("GLOG_minloglevel")
    os.environ.setdefault("GLOG_minloglevel", "1")
    try:
        yield
    finally:
        if chosen is None:
            os.environ.pop("GLOG_minloglevel", None)


class _Parser(argparse.ArgumentParser):
    """Says of a missing argument that an option of several values, such as --set, may have taken it."""

    def parse_known_args(self, args=None, namespace=None):
        """See argparse."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """See argparse."""
        takers = [word for word in self._words
                  if (option := self._option_string_actions.get(word)) and option.nargs == "+"]
        if takers and "arguments are required" in message:
            message += f"; {takers[-1]} takes all words up to the next option: write them before it, or after --"
        super().error(message)


def make_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose --help keeps the layout of the description and ends with examples."""
    return _Parser(description=description, epilog="examples:\n" + examples,
                   formatter_class=argparse.RawDescriptionHelpFormatter)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add --gpu and --cpu."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--gpu", type=int, metavar="ID",
                       help="GPU to use (default: 0 if there is one; with torchrun, one per process)")
    group.add_argument("--cpu", action="store_true", help="use the CPU even if there is a GPU")


def add_profile_option(parser: argparse.ArgumentParser) -> None:
    """Add --profile."""
    parser.add_argument("--profile", action="store_true",
                        help="profile some iterations: write the times of each layer, data loading and the update to "
                             "profile/ in the output folder, as a table and a Chrome trace")


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add --cfg and --set."""
    parser.add_argument("--cfg", metavar="FILE", help="YAML file of settings (see lib/fast_rcnn/config.py)")
    parser.add_argument("--set", nargs="+", default=[], metavar=("KEY", "VALUE"), dest="set_cfgs",
                        help="settings, such as TRAIN.SCALES '(400,)' TRAIN.MAX_SIZE 600; they override --cfg")


def add_split_options(parser: argparse.ArgumentParser, makes: str) -> None:
    """Add --split and --split_seed; `makes` says what the tool does with the splits."""
    parser.add_argument("--split", type=_share, metavar="SHARE",
                        help="for a data set without splits: fraction of its images in the split train, such as "
                             f"0.8; the others are the split test. {makes}")
    parser.add_argument("--split_seed", type=_natural, metavar="N",
                        help="seed to split other images by --split; give all tools the same one (default: none)")


def share_of(args: argparse.Namespace) -> Share | None:
    """How to split a data set by --split and --split_seed; None without them. Raises UserError for the second alone."""
    from datasets.source import Share
    if args.split:
        return Share(args.split, args.split_seed)
    if args.split_seed is not None:
        raise UserError("--split_seed: there is nothing to divide; give --split SHARE, such as 0.8")
    return None


def _natural(text: str) -> int:
    return _at_least(0, text)


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def add_validation_options(parser: argparse.ArgumentParser) -> None:
    """Add --val_imdb, --val_every and --patience."""
    add = parser.add_argument
    add("--val_imdb", metavar="NAME",
        help="data set to validate on while training: detections by average precision, proposals by recall; the best "
             "model is kept in addition to the last one")
    add("--val_every", type=positive, metavar="N", help="iterations between two validations (default: a tenth of all)")
    add("--patience", type=positive, metavar="N", help="stop a training early after N validations without a new best "
                                                       "result (default: never)")


def add_skip_option(parser: argparse.ArgumentParser) -> None:
    """Add --skip_unfitting."""
    parser.add_argument("--skip_unfitting", action="store_true",
                        help="skip all layers of --weights whose shapes differ from the net's; by default only "
                             "cls_score and bbox_pred (R-FCN: rfcn_cls and rfcn_bbox), which depend on the classes, "
                             "are skipped, and others are an error")


def add_tensorboard_option(parser: argparse.ArgumentParser) -> None:
    """Add --tensorboard."""
    parser.add_argument("--tensorboard", action="store_true",
                        help="write losses, learning rates, validations and images with detections for TensorBoard to "
                             "tensorboard/ in the output folder (needs the package tensorboard)")


def check_validation_options(args: argparse.Namespace) -> None:
    """Raise UserError for validation options without --val_imdb."""
    given = [option for option, value in (("--val_every", args.val_every), ("--patience", args.patience)) if value]
    if given and not args.val_imdb:
        raise UserError(f"{' and '.join(given)}: there is no data set to validate on; give --val_imdb NAME")


def add_net_options(parser: argparse.ArgumentParser, short: bool = False) -> None:
    """Add the options of generated nets: --anchor_scales, --anchor_ratios, --fc6, --fc7, --roi_layer.

    `short` adds --scales and --ratios.
    """
    add = parser.add_argument
    add("--anchor_scales", *["--scales"] * short, type=float, nargs="+", metavar="S",
        help="anchor scales, in units of 16 pixels (default: the net's own)")
    add("--anchor_ratios", *["--ratios"] * short, type=float, nargs="+", metavar="R",
        help="anchor height / width (default: the net's own)")
    for layer in ("fc6", "fc7"):
        add(f"--{layer}", type=positive, metavar="N",
            help=f"outputs of {layer} (default: the net's own); fewer are enough for few classes, and faster")
    add("--roi_layer", choices=ROI_LAYERS,
        help="ROIPooling rounds RoIs to whole cells of the feature map; ROIAlign does not, and finds more exact boxes, "
             "above all of small objects (default: the net's own, ROIAlign in SqueezeNet)")


def net_sizes(args: argparse.Namespace) -> Sizes:
    """The values of the options of `add_net_options`."""
    from net_definitions import Sizes  # imports caffe, which --help does not need
    return Sizes(args.anchor_scales, args.anchor_ratios, args.fc6, args.fc7, args.roi_layer)


def apply_cfg(args: argparse.Namespace, beneath: Changes | None = None) -> None:
    """Apply the changes `beneath`, then --cfg, then --set, to cfg; check it, and import its user modules."""
    change_cfg(beneath or {})
    if args.cfg:
        cfg_from_file(existing_file(args.cfg, "--cfg"))
    cfg_from_list(args.set_cfgs)
    check_cfg()
    import_modules(cfg.IMPORTS, cfg.IMPORTS_DIR)


class OneForAll(argparse.Action):
    """One value for all four stages of alternating optimisation, or four."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        if len(values) not in (1, 4):
            parser.error(f"argument {option_string}: expected one value, or four, found {len(values)}")
        setattr(namespace, self.dest, values * 4 if len(values) == 1 else values)


def positive(text: str) -> int:
    """Parse a positive integer that may be a number of iterations, for add_argument(type=positive)."""
    value = _at_least(1, text)
    if value > MOST_ITERATIONS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MOST_ITERATIONS}")
    return value


def not_negative(text: str) -> int:
    """Parse an integer of at least 0, for add_argument(type=not_negative)."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"{text} is less than {least}")
    return value


def positive_number(text: str) -> float:
    """Parse a finite number above 0, for add_argument(type=positive_number)."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return value


def check_thresh(thresh: float, settings: Config, option: str = "--thresh") -> None:
    """Raise UserError for a score threshold outside 0..1, unless scores are those of SVMs."""
    if not isinstance(thresh, numbers.Real):
        raise UserError(f"{option} {thresh!r}: expected a number")
    if not settings.TEST.SVM and not 0 <= thresh <= 1:
        raise UserError(f"{option} {thresh:g}: scores are between 0 and 1")


def check_count(count: object, least: int, name: str) -> int:
    """The number as an int, also if it is NumPy's. Raises UserError unless it is whole and at least `least`, 0 or 1."""
    with contextlib.suppress(TypeError):
        number = operator.index(count)  # type: ignore[arg-type]  # anything else raises TypeError
        if number >= least:
            return number
    raise UserError(f"{name}={count!r}: expected a whole number {'above' if least else 'of at least'} 0")


def existing_file(path: str, option: str, hint: str = "") -> str:
    """The path. Raises UserError if there is no such file."""
    if not Path(path).is_file():
        raise UserError(f"{option}: there is no file {path}{'; ' + hint if hint else ''}")
    return path


def writable_folder(path: str | os.PathLike, option: str) -> Path:
    """Create the folder if it is missing. Raises UserError if it is not writable, or its path is not UTF-8.

    For results that take long to compute: fails before the work, not after it.
    """
    folder = Path(path)
    if not is_utf8(os.path.abspath(folder)):        # prototxts and records, which name files in it, are UTF-8
        raise UserError(f"{option}: the name of the folder {folder} is not UTF-8: rename it, or choose another one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{option}: the folder {folder} cannot be made: {(error.strerror or '').lower()}") from None
    try:
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(f"{option}: cannot write into {folder}: {(error.strerror or '').lower()}") from None


def choose_device(gpu: int | None, cpu: bool) -> int | None:
    """Index of the GPU chosen by --gpu and --cpu, None for the CPU.

    With torchrun each process uses the GPU of its local rank. On a Caffe that cannot report whether there is a GPU, one
    is used only if requested.
    Raises UserError if the requested GPU does not exist, or --gpu is given with several processes.
    """
    if gpu is not None and parallel.is_wanted():
        raise UserError(f"--gpu {gpu}: with torchrun each process uses the GPU of its local rank; set "
                        "CUDA_VISIBLE_DEVICES to choose among them")
    if cpu:
        return None
    if gpu is not None and gpu < 0:
        raise UserError(f"--gpu {gpu}: GPUs are numbered from 0; --cpu uses none")
    from utils.other_caffe import has_gpu
    found = has_gpu()
    if found is None:
        return gpu
    if not found:
        if gpu is not None:
            raise UserError(f"--gpu {gpu}: PyTorch sees no CUDA GPU here; without --gpu the CPU is used")
        return None
    return _existing_gpu(parallel.local_rank() if parallel.is_wanted() else gpu or 0)


def device_of(args: argparse.Namespace) -> int | None:
    """`choose_device` for a tool's options. Prints a note if cfg.PRECISION has no effect on the chosen CPU."""
    from utils.other_caffe import has_bfloat16
    gpu_id = choose_device(args.gpu, args.cpu)
    if gpu_id is None and cfg.PRECISION == "bfloat16" and has_bfloat16() is False and parallel.is_first():
        print("Note: this processor has no bfloat16 instructions (such as AVX512-BF16 or AMX), and emulating them "
              "takes several times as long as float32: PRECISION bfloat16 computes in float32 here", flush=True)
    return gpu_id


def _existing_gpu(gpu_id: int) -> int:
    """Select the GPU; returns it. Raises UserError if it does not exist."""
    import caffe
    try:
        caffe.set_device(gpu_id)
    except ValueError as error:
        raise UserError(f"--gpu {gpu_id}: {str(error).removeprefix('set_device: ')}") from None
    return gpu_id


def use_device(gpu_id: int | None, seed: int | None = None) -> None:
    """Make caffe and NMS use a GPU (None: the CPU) and cfg.PRECISION, and seed caffe's random numbers.

    Raises UserError for a missing GPU, and for a precision that this Caffe lacks.
    """
    import caffe
    from utils.other_caffe import can_set_precision
    if can_set_precision():
        caffe.set_precision(cfg.PRECISION)
    elif cfg.PRECISION != "float32":
        raise UserError(f"PRECISION is {cfg.PRECISION}: this Caffe computes in float32 only")
    if gpu_id is None:
        caffe.set_mode_cpu()
    else:
        cfg.GPU_ID = gpu_id
        _existing_gpu(gpu_id)
        caffe.set_mode_gpu()
    if seed is not None:
        caffe.set_random_seed(seed)

