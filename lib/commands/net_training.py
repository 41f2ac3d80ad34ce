"""Trains one net with one solver: RPN and Fast R-CNN end to end, or either of them alone."""
from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import caffe
from checks.data import data_warnings
from checks.nets import check_test_net, check_train_net
from checks.shared import check_shared
from checks.solver import check_solver, late_reason, rate_warning
from commands.advice import TrainingOptions, look_command
from commands.curves import TensorBoard, check_tensorboard
from commands.data_set import (
    DECODED,
    DECODED_VAL,
    check_images,
    find_inputs,
    find_validation_set,
    prepare_to_train,
    suggest_validation_set,
    use_proposals,
)
from commands.next_steps import next_steps
from commands.options import existing_file, writable_folder
from commands.records import RecordHook
from commands.training_files import TrainingFiles
from commands.validation import DetectionMeasure
from datasets.factory import unseen_part_of
from datasets.imdb import imdb as Imdb
from fast_rcnn.checkpoints import IMAGE_DIGESTS, Checkpoints, data_digest, run_fingerprint
from fast_rcnn.config import cfg, get_output_dir
from fast_rcnn.detector_record import detector_settings
from fast_rcnn.hooks import EndStateHook, Hook, Training, TrainingStopped
from fast_rcnn.schedule import change_solver, epochs_in_words, iterations_of, write_solver
from fast_rcnn.snapshots import snapshot_name, snapshots_to_come
from fast_rcnn.train import get_training_roidb, train_net
from fast_rcnn.train_log import TrainLog
from fast_rcnn.validation import ValidationHook, ValidationPlan, best_files, default_interval
from utils import parallel
from utils.errors import UserError, raise_all
from utils.folder_lock import OR_ANOTHER_RUN, FolderLock, RunError, folder_is_taken
from utils.other_caffe import clear_features
from utils.own_files import OwnFiles
from utils.profiling import profile_files
from utils.prototxt import net_of_solver, read_solver

ITERATIONS = 40000      # without --iters and --epochs


@dataclass(frozen=True)
class NetTrainingOptions:
    """The options of tools/train_net.py, which describes them, by their names in the parsed command line."""

    solver: str
    iters: int | None
    epochs: float | None
    lr: float | None
    weights: str | None
    skip_unfitting: bool
    imdb: str
    proposals: str | None
    rand: bool
    resume: bool
    restart: bool
    output: str | None
    features: str | None
    val_imdb: str | None
    val_every: int | None
    patience: int | None
    val_net: str | None
    tensorboard: bool
    profile: bool
    cfg: str | None
    set_cfgs: Sequence[str]


def train_one_net(options: NetTrainingOptions) -> int:
    """Train with the settings in cfg, in a locked output folder; returns 0, or 130 if the training was stopped.

    Raises UserError for inputs that are missing or do not fit together, and if the folder holds a run.
    """
    if options.rand:
        cfg.RNG_SEED = parallel.from_first(secrets.randbelow(2**31))
        print(f"RNG_SEED: {cfg.RNG_SEED}", flush=True)
    if options.tensorboard:
        check_tensorboard()
    imdb, _ = find_inputs(options.imdb, Path(options.weights) if options.weights else None)
    output = writable_folder(options.output or get_output_dir(imdb), "--output")
    if options.features:
        writable_folder(options.features, "--features")
    with FolderLock(output) if parallel.is_first() else contextlib.nullcontext():
        return NetTraining(options, imdb, output).run()


class NetTraining:
    """A training with its data set, and the files that it writes into its output folder.

    name        names its log, checkpoints and other files
    net         prototxt that is trained
    iterations  number of iterations to train; with --epochs it follows from the number of images
    files       where it writes, apart from its models
    """

    def __init__(self, options: NetTrainingOptions, imdb: Imdb, output: Path) -> None:
        self.options, self.imdb, self.output = options, imdb, output
        self.name = f"{Path(options.solver).resolve().parent.name}_{Path(options.solver).stem}"
        self.net = net_of_solver(options.solver)
        self.iterations = self._iterations()
        self.files = TrainingFiles(output, self.name)
        self._own = OwnFiles(output)

    def run(self) -> int:
        """Check everything, then train; returns the exit status."""
        if parallel.is_first() and not self.options.restart:
            self._check_is_free()
        self._prepare_data()
        solver = self._solver_to_run()
        self._check(solver)
        caffe.set_random_seed(cfg.RNG_SEED)
        try:
            final = self._train(solver)
        except TrainingStopped as stopped:
            how = "--resume continues" if stopped.has_checkpoint else "--restart starts over: only our Caffe can resume"
            print(f"{stopped}; the same command with {how}", flush=True)
            return 130
        test_net = Path(self.options.solver).with_name("test.pt")
        if test_net.is_file():
            print(next_steps(["--def", str(test_net), "--net", final], test_set=unseen_part_of(self.options.imdb)))
        print(f"Final model: {final}", flush=True)      # the last line: scripts parse it
        return 0

    def _iterations(self) -> int:
        options = self.options
        if not options.epochs:
            return options.iters or ITERATIONS
        return iterations_of(options.epochs, self.imdb.num_images, cfg.TRAIN, read_solver(options.solver).iter_size,
                             parallel.count())

    def _check_is_free(self) -> None:
        """Raise RunError if the output folder holds a run of this solver or, to resume, models of another one only."""
        files, own = self.files, self._own.names()
        log = own.intersection(files.names(files.log))
        begun = [path for path in (files.checkpoints, files.end_state) if Checkpoints(path).exist]
        if self.options.resume and (begun or self._existing(log)):
            return
        found = files.names(*begun) + self._existing(log.union(own.intersection(self._models(own))))
        if found and self.options.resume:
            raise RunError(f"{self.output} holds models of another training ({', '.join(found)}), and nothing of "
                           f"{self.options.solver} to resume. Choose: the solver that wrote them, {OR_ANOTHER_RUN}")
        if found:
            raise folder_is_taken(self.output, ", ".join(found))

    def _existing(self, names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if (self.output / name).exists())

    def _models(self, names: Iterable[str]) -> list[str]:
        """Names of models and records that this training may write; of its snapshots those among `names`."""
        param = read_solver(self.options.solver)
        best = best_files(snapshot_name(param, cfg.TRAIN, self.iterations)) if self.options.val_imdb else []
        return [*snapshots_to_come(param, cfg.TRAIN, self.iterations, names), *best]

    def _prepare_data(self) -> None:
        """Leave out the images that cannot be trained on, and print what the data set is and how long it trains."""
        with parallel.after_the_first():        # the other processes reuse its record
            prepare_to_train(self.imdb, self.options.imdb, self.output / DECODED)
        if not self.options.val_imdb and cfg.TRAIN.HAS_RPN and cfg.TEST.HAS_RPN:
            suggest_validation_set(self.imdb, self.options.imdb)
        self.iterations = self._iterations()
        if self.options.epochs:
            print(f"{epochs_in_words(self.options.epochs, self.imdb.num_images, cfg.TRAIN)} are {self.iterations} "
                  "iterations", flush=True)

    def _solver_to_run(self) -> str:
        """The given solver, or a copy in the output folder with the changes by the options, which are printed."""
        given, has_length = self.options.solver, bool(self.options.iters or self.options.epochs)
        param = read_solver(given)
        changes = change_solver(param, self.iterations if has_length else None, self.options.lr)
        if not changes:
            warning = rate_warning(given, self.iterations)
            print(warning + "\n" if warning else "", end="", flush=True)
            return given
        reason = late_reason(given, self.iterations) if has_length else ""
        print(f"Note: {reason or given}. This run trains with {', '.join(changes)}", flush=True)
        name = f"steps/{self.name}.pt"
        if parallel.is_first():
            self._own.claim(name)
            write_solver(param, self.net, self.output / name)
        parallel.wait()
        return str(self.output / name)

    def _check(self, solver: str) -> None:
        """Raise CheckError for a solver or net that cannot train on the data; print warnings about the data."""
        options, num_classes = self.options, self.imdb.num_classes
        raise_all(check_solver(options.solver, read_solver(solver)))
        raise_all(check_train_net(self.net, cfg.TRAIN, num_classes),
                  f"To make nets for this data set: tools/make_models.py --classes {num_classes} --out DIR")
        look = look_command(TrainingOptions(options.imdb, models=str(self.net.parent), cfg_file=options.cfg,
                                            pairs=options.set_cfgs))
        for warning in data_warnings(self.net, self.imdb, cfg.TRAIN, ("TRAIN.RPN_MIN_SIZE", cfg.TRAIN.RPN_MIN_SIZE),
                                     look):
            print(warning, flush=True)

    def _train(self, solver: str) -> str:
        """Train; returns the path of the final model."""
        options, files = self.options, self.files
        use_proposals(self.imdb, cfg.TRAIN.PROPOSAL_METHOD, options.proposals)
        if parallel.is_first():
            self._claim_files()
        with parallel.after_the_first():        # the other processes reuse its record
            run_hash = self._fingerprint(self.output / IMAGE_DIGESTS)
        checkpoints, end_state = Checkpoints(files.checkpoints, run_hash), Checkpoints(files.end_state, run_hash)
        if options.resume and parallel.is_first():
            # checkpoints of version 1.0.0, whose fingerprint did not cover the images' content
            checkpoints.take_over(self._fingerprint())
            _find_checkpoint(checkpoints, end_state, self.iterations)
        log = self._make_log()
        models = train_net(solver, get_training_roidb(self.imdb), self.output, options.weights, self.iterations,
                           log=log, skip_unfitting=options.skip_unfitting,
                           checkpoints=checkpoints, resume=options.resume, features=options.features or files.features,
                           hooks=[RecordHook(self.net, self.imdb.classes, detector_settings(cfg, cfg.TRAIN.HAS_RPN)),
                                  *self._validation(log), EndStateHook(end_state, log),
                                  *([DiscardHook(checkpoints, end_state)] if options.restart else [])],
                           profile=files.profile if options.profile else None)
        if not options.features and parallel.is_first():
            clear_features(files.features)
        return models[-1]

    def _claim_files(self) -> None:
        """Record the files that are written during training, and delete what killed writers have left of them."""
        files = self.files
        if self.options.resume and not self._own.exists and files.checkpoints.is_dir():
            # a run of version 1.0.0
            self._own.adopt(files.names(files.log, *self.output.glob("*_iter_*.caffemodel")))
        profile = profile_files(files.profile) if self.options.profile else ()
        self._own.claim(*files.names(files.log, files.hard_rois, *profile))
        self._own.sweep(IMAGE_DIGESTS, DECODED)

    def _fingerprint(self, image_digests: Path | None = None) -> str:
        options = self.options
        return run_fingerprint(options.solver, options.weights, options.proposals, self.imdb, parallel.count(),
                               image_digests, options.lr)

    def _make_log(self) -> TrainLog:
        first = parallel.is_first()
        listeners = [TensorBoard(self.files.tensorboard)] if self.options.tensorboard and first else []
        return TrainLog(self.name, self.iterations, self.files.log if first else None, listeners=listeners)

    def _validation(self, log: TrainLog) -> list[Hook]:
        """The hook that validates, if --val_imdb is given. Raises UserError if no complete detector is trained."""
        options, files = self.options, self.files
        if not options.val_imdb:
            return []
        if not cfg.TRAIN.HAS_RPN or not cfg.TEST.HAS_RPN:
            raise UserError("--val_imdb: this tool validates only detectors with their own RPN (TRAIN.HAS_RPN and "
                            "TEST.HAS_RPN True); tools/train_faster_rcnn_alt_opt.py validates the stages of "
                            "alternating optimisation")
        test_net = existing_file(options.val_net or str(self.net.with_name("test.pt")), "--val_net")
        classes = self.imdb.classes
        raise_all([*check_test_net(test_net, len(classes)), *check_shared([self.net], [test_net])])
        imdb = find_validation_set(options.val_imdb, classes)
        print(imdb.summary(), flush=True)
        with parallel.after_the_first():
            check_images(imdb, "--val_imdb", options.val_imdb, self.output / DECODED_VAL)
        if parallel.is_first():
            self._own.claim(*files.names(files.validations, *files.validation_results),
                            *best_files(snapshot_name(read_solver(options.solver), cfg.TRAIN, self.iterations)))
        plan = ValidationPlan(options.val_every or default_interval(self.iterations), options.patience)
        return [ValidationHook(lambda: DetectionMeasure(test_net, imdb, classes, files.validation), plan, log,
                               files.validations, cfg.TRAIN.SNAPSHOT_ITERS, data_digest(imdb))]


class DiscardHook(Hook):
    """Deletes the checkpoints of an earlier run once nothing keeps its successor from starting."""

    def __init__(self, *checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def at_start(self, training: Training) -> None:
        for each in self._checkpoints:
            each.remove()


def _find_checkpoint(checkpoints: Checkpoints, end_state: Checkpoints, iterations: int) -> None:
    """Without a checkpoint, resume from the end state of a finished training; print a note if there is none either.

    Raises RunError if they belong to another run, or have more than `iterations`.
    """
    for state, kind in ((checkpoints, "checkpoint"), (end_state, "finished training")):
        if state.are_of_another_run():
            raise RunError(f"{state.folder}: the {kind} is of other settings, nets, weights, data, seed or number of "
                           f"processes. Choose: --resume with those continues it, {OR_ANOTHER_RUN}")
    newest = checkpoints if checkpoints.exist else end_state
    if not newest.newest():
        print(f"there is no checkpoint in {checkpoints.folder}: training starts from the beginning", flush=True)
    elif newest.iteration > iterations:
        raise RunError(f"{newest.folder}: {newest.iteration} iterations are trained already, more than {iterations}. "
                       f"Choose: more --iters, {OR_ANOTHER_RUN}")
    elif newest is end_state:
        checkpoints.copy_newest(end_state)
