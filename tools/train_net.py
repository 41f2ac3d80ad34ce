#!/usr/bin/env python3
"""Trains one net with one solver: RPN and Fast R-CNN end to end, or either of them alone."""
from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _init_paths  # noqa: F401
from commands.options import (
    add_cfg_options,
    add_device_options,
    add_profile_option,
    add_skip_option,
    add_split_options,
    add_tensorboard_option,
    add_validation_options,
    apply_cfg,
    check_validation_options,
    choose_device,
    existing_file,
    make_parser,
    positive,
    positive_number,
    share_of,
    tool,
    use_device,
    writable_folder,
)
from fast_rcnn.config import cfg, get_output_dir

if TYPE_CHECKING:
    from datasets.imdb import imdb as Imdb
    from fast_rcnn.checkpoints import Checkpoints
    from fast_rcnn.hooks import Hook
    from fast_rcnn.train_log import TrainLog

ITERATIONS = 40000
EXAMPLES = """\
  tools/train_net.py --solver models/VGG16/faster_rcnn_end2end/solver.pt --iters 70000 \\
      --weights data/imagenet_models/VGG16.v2.caffemodel --cfg experiments/cfgs/faster_rcnn_end2end.yml
  tools/train_net.py ... --resume
      resume from the newest checkpoint; --restart discards the run instead
  torchrun --nproc_per_node 4 tools/train_net.py ...
      on four GPUs: four times as many images per iteration
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("--solver", required=True, metavar="FILE", help="solver prototxt")
    length = result.add_mutually_exclusive_group()
    length.add_argument("--iters", type=positive, metavar="N", help="number of iterations (default: 40000)")
    length.add_argument("--max_iters", type=positive, dest="iters", metavar="N", help="same as --iters")
    length.add_argument("--epochs", type=positive_number, metavar="N",
                        help="number of passes over the images and their flipped copies, instead of --iters")
    add("--lr", type=positive_number, metavar="RATE", help="initial learning rate (default: the solver's base_lr)")
    add("--weights", metavar="FILE", help="caffemodel to start from, or none (default: none, random initialisation)")
    add_skip_option(result)
    add("--imdb", default="voc_2007_trainval", metavar="NAME",
        help="name of a data set, or its path: folder[:split]; join several with + (default: voc_2007_trainval)")
    add_split_options(result, "Trains on train")
    add("--proposals", metavar="FILE", help="proposals from tools/rpn_generate.py, for TRAIN.PROPOSAL_METHOD rpn")
    add("--rand", action="store_true", help="draw a random seed instead of using cfg.RNG_SEED")
    group = result.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true",
                       help="resume from the newest checkpoint, or continue a finished training with more iterations; "
                            "nets, weights, data and settings must be unchanged")
    group.add_argument("--restart", action="store_true", help="discard the run in the output folder and start over")
    add("--output", metavar="DIR", help="output folder (default: output/<EXP_DIR>/<data set>)")
    add("--features", metavar="DIR",
        help="cache the outputs of frozen layers in this folder, which trainings from the same weights share; outputs "
             "cached from other weights are deleted (default: no cache)")
    add_validation_options(result)
    add("--val_net", metavar="FILE",
        help="prototxt of the test net for --val_imdb (default: test.pt next to the train net)")
    add_tensorboard_option(result)
    add_profile_option(result)
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status, 130 if interrupted."""
    from utils.output import lasting_output
    args = parser().parse_args(argv)
    if share := share_of(args):
        from datasets.factory import with_share
        args.imdb = with_share(args.imdb, share)
    with lasting_output():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    existing_file(args.solver, "--solver")
    args.weights = None if args.weights == "none" else args.weights
    apply_cfg(args)
    use_device(choose_device(args))
    from commands.data_set import find_inputs
    from utils import parallel
    from utils.folder_lock import FolderLock
    parallel.join()
    if args.rand:
        cfg.RNG_SEED = parallel.from_first(secrets.randbelow(2**31))
        print(f"RNG_SEED: {cfg.RNG_SEED}", flush=True)
    check_validation_options(args)
    if args.tensorboard:
        from commands.curves import check_tensorboard
        check_tensorboard()
    imdb, _ = find_inputs(args.imdb, Path(args.weights) if args.weights else None)
    output = writable_folder(args.output or get_output_dir(imdb), "--output")
    if args.features:
        writable_folder(args.features, "--features")
    with FolderLock(output) if parallel.is_first() else contextlib.nullcontext():
        if parallel.is_first() and not (args.resume or args.restart):
            _check_is_free(args, output, _iterations(args, imdb))
        return _check_and_train(args, imdb, output)


def _iterations(args: argparse.Namespace, imdb: Imdb) -> int:
    """The number of iterations that the options ask for, given the data set's current number of images."""
    from fast_rcnn.schedule import iterations_of
    from utils import parallel
    from utils.prototxt import read_solver
    if not args.epochs:
        return args.iters or ITERATIONS
    return iterations_of(args.epochs, imdb.num_images, cfg.TRAIN, read_solver(args.solver).iter_size, parallel.count())


def _solver_to_run(args: argparse.Namespace, output: Path, iterations: int) -> str:
    """Path of the solver to run: the given one, or a copy in the output folder with the options' changes, printed."""
    from checks.solver import late_reason, rate_warning
    from fast_rcnn.schedule import change_solver, write_solver
    from utils import parallel
    from utils.own_files import OwnFiles
    from utils.prototxt import net_of_solver, read_solver
    param, is_given = read_solver(args.solver), bool(args.iters or args.epochs)
    changes = change_solver(param, iterations if is_given else None, args.lr)
    if not changes:
        warning = rate_warning(args.solver, iterations)
        print(warning + "\n" if warning else "", end="", flush=True)
        return args.solver
    reason = late_reason(args.solver, iterations) if is_given else ""
    print(f"Note: {reason or args.solver}. This run trains with {', '.join(changes)}", flush=True)
    name = f"steps/{_name(args)}.pt"
    if parallel.is_first():
        OwnFiles(output).claim(name)
        write_solver(param, net_of_solver(args.solver), output / name)
    parallel.wait()
    return str(output / name)


def _check_is_free(args: argparse.Namespace, output: Path, iterations: int) -> None:
    """Raise RunError if the output folder holds a run of this solver."""
    from fast_rcnn.snapshots import snapshots_to_come
    from utils.folder_lock import folder_is_taken
    from utils.own_files import OwnFiles
    from utils.prototxt import read_solver
    checkpoints, own = _checkpoints(args, output), OwnFiles(output).names()
    files = own.intersection([f"logs/{_name(args)}.jsonl",
                              *snapshots_to_come(read_solver(args.solver), cfg.TRAIN, iterations, own)])
    found = [str(checkpoints.folder.relative_to(output))] if checkpoints.exist else []
    found += sorted(file for file in files if (output / file).exists())
    if found:
        raise folder_is_taken(output, ", ".join(found))


def _name(args: argparse.Namespace) -> str:
    """Name of the training, used for its log and its checkpoints."""
    return Path(args.solver).resolve().parent.name + "_" + Path(args.solver).stem


def _checkpoints(args: argparse.Namespace, output: Path, run_hash: str = "") -> Checkpoints:
    from fast_rcnn.checkpoints import Checkpoints
    return Checkpoints(output / "checkpoints" / _name(args), run_hash)


def _check_and_train(args: argparse.Namespace, imdb: Imdb, output: Path) -> int:
    import caffe
    from checks.data import data_warnings
    from checks.nets import check_train_net
    from checks.solver import check_solver
    from commands.advice import TrainingOptions, look_command
    from commands.data_set import DECODED, prepare_to_train, tell_validation_set
    from commands.next_steps import next_steps
    from datasets.factory import unseen_part_of
    from fast_rcnn.schedule import epochs_in_words
    from fast_rcnn.train import TrainingStopped
    from utils import parallel
    from utils.errors import raise_all
    from utils.prototxt import net_of_solver, read_solver
    with parallel.after_the_first():        # the other processes reuse its record
        prepare_to_train(imdb, args.imdb, output / DECODED)
    if not args.val_imdb and cfg.TRAIN.HAS_RPN and cfg.TEST.HAS_RPN:
        tell_validation_set(imdb, args.imdb)
    iterations = _iterations(args, imdb)
    if args.epochs:
        print(f"{epochs_in_words(args.epochs, imdb.num_images, cfg.TRAIN)} are {iterations} iterations", flush=True)
    solver = _solver_to_run(args, output, iterations)
    raise_all(check_solver(args.solver, read_solver(solver)))
    raise_all(check_train_net(net_of_solver(args.solver), cfg.TRAIN, imdb.num_classes),
                     f"To make nets for this data set: tools/make_models.py --classes {imdb.num_classes} --out DIR")
    net = net_of_solver(args.solver)
    look = look_command(TrainingOptions(args.imdb, models=str(net.parent), cfg_file=args.cfg, pairs=args.set_cfgs))
    for warning in data_warnings(net, imdb, cfg.TRAIN, ("TRAIN.RPN_MIN_SIZE", cfg.TRAIN.RPN_MIN_SIZE), look):
        print(warning, flush=True)
    caffe.set_random_seed(cfg.RNG_SEED)
    try:
        final = _train(args, imdb, output, solver, iterations)
    except TrainingStopped as stopped:
        how = "--resume continues" if stopped.has_checkpoint else "--restart starts over: only our Caffe can resume"
        print(f"{stopped}; the same command with {how}", flush=True)
        return 130
    test_net = Path(args.solver).with_name("test.pt")
    if test_net.is_file():
        print(next_steps(["--def", str(test_net), "--net", final], test_set=unseen_part_of(args.imdb)))
    print(f"Final model: {final}", flush=True)      # the last line: scripts parse it
    return 0


def _train(args: argparse.Namespace, imdb: Imdb, output: Path, solver: str, iterations: int) -> str:
    """Train; returns the path of the final model."""
    from commands.curves import TensorBoard
    from commands.data_set import DECODED, use_proposals
    from commands.records import RecordHook
    from fast_rcnn.checkpoints import END_STATES, IMAGE_DIGESTS, Checkpoints, run_fingerprint
    from fast_rcnn.detector_record import detector_settings
    from fast_rcnn.hooks import EndStateHook
    from fast_rcnn.train import get_training_roidb, train_net
    from fast_rcnn.train_log import TrainLog
    from roi_data_layer.gallery import HARD_ROIS
    from utils import parallel
    from utils.own_files import OwnFiles
    from utils.prototxt import net_of_solver
    name = _name(args)
    use_proposals(imdb, cfg.TRAIN.PROPOSAL_METHOD, args.proposals)
    if parallel.is_first():
        own, log_file = OwnFiles(output), f"logs/{name}.jsonl"
        if args.resume and not own.exists and (output / "checkpoints" / name).is_dir():
            # a run of version 1.0.0
            own.adopt([log_file, *(path.name for path in output.glob("*_iter_*.caffemodel"))])
        own.claim(log_file, f"logs/{HARD_ROIS}/{name}.jsonl",
                  *([f"profile/{name}.txt", f"profile/{name}_trace.json"] if args.profile else []))
        own.sweep(IMAGE_DIGESTS, DECODED)
    with parallel.after_the_first():        # the other processes reuse its record
        run_hash = run_fingerprint(args.solver, args.weights, args.proposals, imdb, parallel.count(),
                                   output / IMAGE_DIGESTS, args.lr)
    checkpoints, end_state = _checkpoints(args, output, run_hash), Checkpoints(output / END_STATES / name, run_hash)
    if args.resume and parallel.is_first():
        # checkpoints of version 1.0.0, whose fingerprint did not cover the images' content
        checkpoints.take_over(run_fingerprint(args.solver, args.weights, args.proposals, imdb, parallel.count(),
                                              lr=args.lr))
        _check_can_resume(checkpoints, end_state, iterations)
    listeners = [TensorBoard(output / "tensorboard" / name)] if args.tensorboard and parallel.is_first() else []
    log = TrainLog(name, iterations, output / "logs" / f"{name}.jsonl" if parallel.is_first() else None,
                   listeners=listeners)
    return train_net(solver, get_training_roidb(imdb), output, args.weights, iterations,
                     log=log,
                     skip_unfitting=args.skip_unfitting,
                     checkpoints=checkpoints, resume=args.resume, features=args.features,
                     hooks=[RecordHook(net_of_solver(args.solver), imdb.classes,
                                       detector_settings(cfg, cfg.TRAIN.HAS_RPN)),
                            *_validation(args, imdb, output, iterations, log), EndStateHook(end_state, log)],
                     profile=output / "profile" / name if args.profile else None)[-1]


def _validation(args: argparse.Namespace, imdb: Imdb, output: Path, iterations: int, log: TrainLog) -> list[Hook]:
    """The hook that validates, if the options ask for it. Raises UserError if there is no detector to validate."""
    from commands.data_set import DECODED_VAL, check_images, find_validation_set
    from commands.validation import DetectionMeasure
    from datasets.detection_files import DETECTIONS, EVALUATION
    from fast_rcnn.checkpoints import data_digest
    from fast_rcnn.snapshots import snapshot_name
    from fast_rcnn.validation import ValidationHook, ValidationPlan, best_files, default_interval
    from utils import parallel
    from utils.errors import UserError
    from utils.own_files import OwnFiles
    from utils.prototxt import net_of_solver, read_solver
    if not args.val_imdb:
        return []
    if not cfg.TRAIN.HAS_RPN or not cfg.TEST.HAS_RPN:
        raise UserError("--val_imdb: this tool validates only detectors with their own RPN (TRAIN.HAS_RPN and "
                        "TEST.HAS_RPN True); tools/train_faster_rcnn_alt_opt.py validates the stages of alternating "
                        "optimisation")
    net = existing_file(args.val_net or str(net_of_solver(args.solver).with_name("test.pt")), "--val_net")
    val_imdb = find_validation_set(args.val_imdb, imdb.classes)
    print(val_imdb.summary(), flush=True)
    record, folder = f"validation/{_name(args)}.jsonl", f"validation/{_name(args)}"
    with parallel.after_the_first():
        check_images(val_imdb, "--val_imdb", args.val_imdb, output / DECODED_VAL)
    if parallel.is_first():
        OwnFiles(output).claim(
            record, f"{folder}/{DETECTIONS}", f"{folder}/{EVALUATION}",
            *best_files(snapshot_name(read_solver(args.solver), cfg.TRAIN, iterations)))
    plan = ValidationPlan(args.val_every or default_interval(iterations), args.patience)
    return [ValidationHook(lambda: DetectionMeasure(net, val_imdb, imdb.classes, output / folder), plan, log,
                           output / record, cfg.TRAIN.SNAPSHOT_ITERS, data_digest(val_imdb))]


def _check_can_resume(checkpoints: Checkpoints, end_state: Checkpoints, iterations: int) -> None:
    """Raise RunError if the checkpoints belong to another run; print a note if there are none.

    A training that finished with fewer iterations continues from its end state.
    """
    from utils.folder_lock import OR_ANOTHER_RUN, RunError
    if checkpoints.are_of_another_run():
        raise RunError(f"{checkpoints.folder}: the checkpoint is from a training with other settings, nets, weights, "
                       "data, seed or number of processes. Choose: --resume with those continues it, "
                       f"{OR_ANOTHER_RUN}")
    if not checkpoints.exist and end_state.newest() and end_state.iteration < iterations:
        checkpoints.copy_newest(end_state)
    if not checkpoints.exist:
        print(f"there is no checkpoint in {checkpoints.folder}: training starts from the beginning", flush=True)


if __name__ == "__main__":
    sys.exit(main())
