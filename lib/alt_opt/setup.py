"""Creates a run of alternating optimisation from the command line options, and checks it."""
from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from alt_opt.driver import check_run, open_folder
from alt_opt.nets import TRAINED, RunNets, check_net_name, find_nets
from alt_opt.plan import Run, Validation
from alt_opt.settings import step_settings
from checks.data import data_warnings
from checks.solver import rate_warning
from commands.advice import TrainingOptions, look_command
from commands.curves import check_tensorboard
from commands.data_set import (
    DECODED,
    DECODED_TEST,
    DECODED_VAL,
    check_has_classes,
    check_images,
    check_reads_proposals,
    check_results,
    find_inputs,
    find_validation_set,
    prepare_to_train,
    results_folder,
    suggest_validation_set,
)
from commands.options import check_validation_options, device_of, net_sizes, writable_folder
from datasets.imdb import imdb as Imdb
from fast_rcnn.checkpoints import IMAGE_DIGESTS, data_digest
from fast_rcnn.config import (
    Changes,
    Config,
    cfg,
    file_changes,
    get_output_dir,
    make_settings,
    pair_changes,
    set_cfg,
)
from fast_rcnn.schedule import epochs_in_words, iterations_of
from net_definitions import NETS
from utils import parallel
from utils.errors import UserError
from utils.folder_lock import FolderLock
from utils.user_modules import import_modules

ROOT = Path(__file__).resolve().parents[2]


def make_run(args: Namespace) -> Run:
    """Create a run that is ready to start, with its output folder locked; nothing in it is changed before that.

    Raises a single error for everything that is missing or inconsistent.
    """
    if args.models is None:
        check_net_name(args.net_name)
    check_validation_options(args)
    if args.tensorboard:
        check_tensorboard()
    cfg_file = args.cfg or cfg_of_net(args.net_name)
    of_file, of_pairs = file_changes(cfg_file) if cfg_file else {}, pair_changes(args.set_cfgs)
    user = _user_settings(of_file, of_pairs, args.no_ohem)
    settings = step_settings({**of_file, **of_pairs}, user.TRAIN.USE_OHEM, args.seed)
    set_cfg(user)       # locations of data, nets and output
    import_modules(user.IMPORTS, user.IMPORTS_DIR)
    weights = initial_weights(args.net_name, args.weights)
    imdb, test_imdb = find_inputs(args.imdb, weights, args.test_imdb)   # fail before the training, not after
    val_imdb = find_validation_set(args.val_imdb, imdb.classes) if args.val_imdb else None
    output = writable_folder(args.output or get_output_dir(imdb, args.net_name), "--output").resolve()
    lock = open_folder(output, may_hold_a_run=args.resume or args.restart)
    try:
        return _checked_run(args, imdb, test_imdb, val_imdb, weights, output, lock, settings)
    except BaseException:
        lock.release()
        raise


def cfg_of_net(net_name: str | None) -> str | None:
    """The settings file for a net, if there is one; prints its path."""
    net = NETS.get(net_name or "")
    if not net or not net.settings_file:
        return None
    file = str(ROOT / "experiments" / "cfgs" / net.settings_file)
    print(f"Settings: {file}, made for the net {net_name} (--cfg FILE for others)", flush=True)
    return file


def _checked_run(args: Namespace, imdb: Imdb, test_imdb: Imdb | None, val_imdb: Imdb | None, weights: Path | None,
                 output: Path, lock: FolderLock, settings: dict[str, Config]) -> Run:
    """The part of `make_run` that writes to the output folder: records of decoded images, and generated nets."""
    left_out = prepare_to_train(imdb, args.imdb, output / DECODED)
    check_reads_proposals(imdb)
    if not args.val_imdb:
        suggest_validation_set(imdb, args.imdb, test_imdb)
    if test_imdb:
        print(test_imdb.summary(), flush=True)
        check_has_classes(test_imdb, "--test_imdb", args.test_imdb, imdb.classes)
        check_results(results_folder(output, test_imdb), test_imdb)
        check_images(test_imdb, "--test_imdb", args.test_imdb, output / DECODED_TEST)
    if val_imdb:
        print(val_imdb.summary(), flush=True)
        check_images(val_imdb, "--val_imdb", args.val_imdb, output / DECODED_VAL)
    nets = _find_nets(args, imdb, output / "models", settings)
    run = Run(nets=nets, weights=weights, imdb_name=args.imdb, data_digest=data_digest(imdb, output / IMAGE_DIGESTS),
              annotation_digest=data_digest(imdb), left_out=left_out, classes=imdb.classes, settings=settings,
              gpu_id=device_of(args), output=output, lock=lock, command=step_command(),
              processes=parallel.count(), profile=args.profile,
              num_images=imdb.num_images, tensorboard=args.tensorboard, skip_unfitting=args.skip_unfitting,
              validation=Validation(args.val_imdb, data_digest(val_imdb), args.val_every, args.patience)
              if val_imdb else None)
    check_run(run)
    models = str(nets.folder) if args.models else None
    look = look_command(TrainingOptions(args.imdb, None if models else args.net_name, models, args.cfg, args.set_cfgs))
    for warning in _warnings(run, imdb, look):
        print(warning, flush=True)
    return run


def _find_nets(args: Namespace, imdb: Imdb, made: Path, settings: dict[str, Config]) -> RunNets:
    """The nets of the run, with the iterations that the options give."""
    def iterations(iter_sizes: Sequence[int]) -> list[int] | None:
        if not args.epochs:
            return args.max_iters
        return [iterations_of(epochs, imdb.num_images, settings[step].TRAIN, iter_size, parallel.count())
                for step, epochs, iter_size in zip(TRAINED, args.epochs, iter_sizes, strict=True)]

    nets = find_nets(args.net_name, imdb.num_classes, cfg.TRAIN.USE_OHEM, args.models, Path(cfg.MODELS_DIR), made,
                     iterations([1, 1, 1, 1]), net_sizes(args), args.lr)
    if args.epochs:
        iter_sizes = [nets.solver_param(step).iter_size for step in TRAINED]
        nets = RunNets(nets.net_name, nets.folder, iterations(iter_sizes), args.lr)
        for step, epochs in zip(TRAINED, args.epochs, strict=True):
            print(f"{step}: {epochs_in_words(epochs, imdb.num_images, settings[step].TRAIN)} are "
                  f"{nets.max_iters[step]} iterations", flush=True)
    return nets


def _warnings(run: Run, imdb: Imdb, look: str) -> list[str]:
    """Warnings about what would impair training; the command `look` shows more about the data."""
    train, smallest = run.settings["stage1_rpn"].TRAIN, run.settings["stage1_proposals"].TEST.RPN_MIN_SIZE
    rates = [] if run.nets.has_own_iterations else [
        rate_warning(run.nets.solver(step), iterations) for step, iterations in run.nets.max_iters.items()]
    return [*run.nets.notes, *filter(None, rates), *data_warnings(run.nets.train_net("stage1_rpn"), imdb, train,
                                                 ("TEST.RPN_MIN_SIZE", smallest), look)]


def step_command() -> list[str]:
    """The command that starts a step in its own process; the path of the job file is appended."""
    return [sys.executable, str(ROOT / "tools" / "train_faster_rcnn_alt_opt.py"), "--run-step"]


def initial_weights(net_name: str, given: str | None) -> Path | None:
    """Path of the initial weights; None for random ones, which are the default of nets trained from scratch."""
    net = NETS.get(net_name)
    if given == "none" or (given is None and net and net.from_scratch):
        return None
    return Path(given) if given else Path(cfg.DATA_DIR, "imagenet_models", f"{net_name}.v2.caffemodel")


def _user_settings(of_file: Changes, of_pairs: Changes, no_ohem: bool) -> Config:
    """The user's settings, with defaults for the output folder and for hard example mining (TRAIN.USE_OHEM).

    Mining is on unless --no_ohem or the user's settings disable it. EXP_DIR is faster_rcnn_alt_opt unless the user
    sets it; without mining _no_ohem is appended, so that runs with and without mining have separate folders.
    """
    layers = [{"EXP_DIR": "faster_rcnn_alt_opt", "TRAIN.USE_OHEM": True}, of_file,
              {"TRAIN.USE_OHEM": False} if no_ohem else {}, of_pairs]
    user = make_settings(*layers)
    if user.TRAIN.USE_OHEM and no_ohem:
        raise UserError("--no_ohem and --set TRAIN.USE_OHEM True contradict each other: leave one of them out")
    if user.TRAIN.USE_OHEM or user.EXP_DIR.endswith("_no_ohem"):
        return user
    return make_settings(*layers, {"EXP_DIR": f"{user.EXP_DIR}_no_ohem"})
