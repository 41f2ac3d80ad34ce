"""Trains a net on a roidb: minibatches in, caffemodels out, with checkpoints to resume from.

Two kinds of files are written. A *snapshot* `<prefix>[_<infix>]_iter_<n>.caffemodel` is for inference: its box
regression predicts plain, that is, unnormalised targets. A *checkpoint* is for resuming: weights as trained, the
solver's history and the iteration. On the CPU a resumed run produces the same weights, bit for bit, as an
uninterrupted one, because minibatches and dropout are functions of the seed and the iteration.
"""
from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import caffe
from datasets.imdb import imdb as Imdb
from datasets.roidb import Entry
from fast_rcnn.checkpoints import Checkpoints, iteration_of, weights_of
from fast_rcnn.config import ConfigError, cfg
from fast_rcnn.hooks import (
    CheckpointHook,
    Hook,
    LogHook,
    ProfileHook,
    SnapshotHook,
    StopHook,
    Training,
    TrainingStopped,  # noqa: F401  # re-exported
    WarmupHook,
    register_hook,  # noqa: F401
    registered_hooks,
)
from fast_rcnn.normalised_layer import NormalisedLayer
from fast_rcnn.schedule import steps_taken
from fast_rcnn.snapshots import snapshot_name, snapshots_to_come
from fast_rcnn.train_log import LossError, RecentLosses, TrainLog, check_weights
from roi_data_layer import roidb as rdl_roidb
from roi_data_layer.features import FeatureSettings, reuse_features
from roi_data_layer.gallery import gallery_hooks
from roi_data_layer.sampling import RoISettings
from utils import parallel, prototxt
from utils.errors import CheckError
from utils.files import DamagedFileError
from utils.layer_params import class_count
from utils.names import BOX_LAYERS, RPN_BOX_LAYER
from utils.other_caffe import (
    FrozenPrefix,
    free_intermediates,
    keep_freed_memory,
    restore,
    save_trained,
    write_no_snapshots,
)
from utils.own_files import OwnFiles
from utils.python_layer import TrainingMembers, layer_setting, layers_with
from utils.weights import check_varied, load_initial_weights, weights_problem

DISPLAY = 20        # iterations between two log lines if the solver sets none


class SolverWrapper:
    """A solver with its training data; its snapshots predict plain box regression targets.

    solver_prototxt   the solver, which names the net to train
    roidb             prepared entries (see roi_data_layer/roidb.py); regression targets are added here
    output_dir        folder for snapshots
    pretrained_model  initial caffemodel; layers that it lacks keep random weights, which is reported; at least one must
                      match. Its box regression, if any, predicts plain targets and is converted to normalised ones
    skip_unfitting    skip all layers whose shapes differ in that file, not only those for the classes
    """

    _rpn_statistics: tuple[np.ndarray, np.ndarray] | None = None    # means and stds of normalised RPN targets

    def __init__(self, solver_prototxt: str | os.PathLike, roidb: Sequence[Entry],
                 output_dir: str | os.PathLike, pretrained_model: str | os.PathLike | None = None,
                 skip_unfitting: bool = False) -> None:
        self.output_dir = Path(output_dir)
        self.solver = caffe.get_solver(os.fspath(solver_prototxt))
        free_intermediates(self.solver.net)
        self.solver_param = prototxt.read_solver(solver_prototxt)
        # The solver's own snapshots would be models whose box regression predicts normalised targets
        if self.solver_param.snapshot and write_no_snapshots(self.solver):
            print(f"Note: {solver_prototxt}: snapshot is {self.solver_param.snapshot}, which has no effect: "
                  "TRAIN.SNAPSHOT_ITERS is the interval of snapshots", flush=True)
        self.iter_size = max(1, self.solver_param.iter_size)
        for layer in layers_with(self.solver.net, "iter_size"):
            layer.iter_size = self.iter_size
        self.losses = RecentLosses(self.solver.net, self.solver_param.average_loss, self.solver_param.iter_size)
        self.net_file = prototxt.net_of_solver(solver_prototxt)
        self._data_layer = self._find_data_layer()
        if cfg.TRAIN.BBOX_REG:
            self.bbox_means, self.bbox_stds = rdl_roidb.add_bbox_regression_targets(
                roidb, layer_setting(self._data_layer, class_count), cfg.TRAIN)
        self._rpn_statistics = self._normalise_rpn_targets(roidb)
        if pretrained_model is not None:
            self._load(os.fspath(pretrained_model), skip_unfitting)
        check_varied(self.solver.net, self.net_file)
        self._data_layer.set_roidb(roidb)
        self.num_images = len(roidb)

    def _find_data_layer(self) -> TrainingMembers:
        layers = layers_with(self.solver.net, "set_roidb")
        if not layers:
            raise CheckError(f"{self.net_file}: no layer has a method set_roidb, as RoIDataLayer has, to take the "
                             "images")
        return layers[0]

    def _load(self, pretrained_model: str, skip_unfitting: bool) -> None:
        loaded = load_initial_weights(self.solver.net, pretrained_model, self.net_file, skip_unfitting)
        print(loaded.summary, flush=True)
        for layer in self._normalised_layers():
            if layer.name not in loaded.unfilled:
                layer.predict_normalised()

    def _normalise_rpn_targets(self, roidb: Sequence[Entry]) -> tuple[np.ndarray, np.ndarray] | None:
        """Make the anchor target layer normalise its targets if cfg says so; returns means and stds."""
        if not (cfg.TRAIN.RPN_NORMALIZE_TARGETS and cfg.TRAIN.HAS_RPN):
            return None
        layers = layers_with(self.solver.net, "normalize_targets")
        if not layers:
            raise CheckError(f"{self.net_file}: TRAIN.RPN_NORMALIZE_TARGETS is True, but no layer has a method "
                             "normalize_targets, as AnchorTargetLayer; set it to False")
        means, stds = layers[0].normalize_targets(roidb)
        print(f"RPN box targets (dx, dy, dw, dh) are normalised: means {np.round(means, 4).tolist()}, deviations "
              f"{np.round(stds, 4).tolist()}", flush=True)
        return means, stds

    def _normalised_layers(self) -> list[NormalisedLayer]:
        """The box regression layers that learn normalised targets."""
        params, layers = self.solver.net.params, []
        if cfg.TRAIN.BBOX_REG and cfg.TRAIN.BBOX_NORMALIZE_TARGETS:
            names = [name for name in BOX_LAYERS if name in params]
            layers += [NormalisedLayer(name, params[name], self.bbox_means, self.bbox_stds) for name in names[:1]]
        if self._rpn_statistics and RPN_BOX_LAYER in params:
            anchors = len(params[RPN_BOX_LAYER][1].data) // 4
            layers.append(NormalisedLayer(RPN_BOX_LAYER, params[RPN_BOX_LAYER],
                                          *(np.tile(values, anchors) for values in self._rpn_statistics)))
        return layers

    @property
    def snapshot_name(self) -> str:
        """<prefix>[_<infix>]_iter_<n>.caffemodel."""
        return snapshot_name(self.solver_param, cfg.TRAIN, self.solver.iter)

    def snapshot_path(self) -> Path:
        """Where `snapshot` would write now."""
        return self.output_dir / self.snapshot_name

    def snapshot(self) -> str:
        """Save the net for inference; returns the path. The weights being trained are not changed.

        In a parallel run the first process writes it.
        Raises UserError if the file exists and was not written by a training, LossError for weights that are not
        finite.
        """
        path = self.snapshot_path()
        if not parallel.is_first():
            return str(path)
        check_weights(self.solver.net, f"after iteration {self.solver.iter}")
        self.output_dir.mkdir(parents=True, exist_ok=True)
        OwnFiles(self.output_dir).claim(path.name)
        layers = self._normalised_layers()
        trained = [layer.values for layer in layers]
        try:
            for layer in layers:
                layer.predict_plain()
            save_trained(self.solver.net, path)     # without the readonly head, a copy of the trained one
        finally:
            for layer, values in zip(layers, trained, strict=True):
                layer.assign(values)
        return str(path)

    def restore(self, state: str | os.PathLike) -> None:
        """Resume from a checkpoint's solver state and the weights beside it, with the next minibatch.

        Raises DamagedFileError if the iteration differs from that in the file's name.
        """
        state = Path(state)
        restore(self.solver, state, weights_of(state))
        if self.solver.iter != iteration_of(state):
            raise DamagedFileError(f"{state}: damaged, it is of iteration {self.solver.iter}")
        if self.solver_param.lr_policy == "multistep":      # the state counts the steps of the shorter training
            self.solver.current_step = steps_taken(self.solver_param, self.solver.iter)
        passes = self.solver.iter * self.iter_size
        for layer in layers_with(self.solver.net, "seek"):
            layer.seek(passes)

    def reuse_features(self, folder: str | os.PathLike, max_iters: int) -> FrozenPrefix | None:
        """Compute the frozen layers once per image, if images recur before `max_iters`.

        Returns the feature cache in `folder`; None if features are not cached, for example because augmentation
        changes the images in every pass.
        """
        if cfg.TRAIN.SCALE_JITTER or cfg.TRAIN.COLOUR_JITTER or cfg.TRAIN.CROP:
            return None
        images = self.num_images * len(cfg.TRAIN.SCALES)
        passes = max_iters * self.iter_size * parallel.count()
        if passes * cfg.TRAIN.IMS_PER_BATCH <= images or not hasattr(self._data_layer, "use_features"):
            return None
        prefix = reuse_features(self.solver.net, folder, images, FeatureSettings.from_cfg(cfg))
        if prefix is not None:
            self._data_layer.use_features(prefix)
        return prefix

    def close(self) -> None:
        """Stop the layers' background threads and processes."""
        for layer in layers_with(self.solver.net, "close"):
            layer.close()

    def train_model(self, max_iters: int, log: TrainLog | None = None,
                    checkpoints: Checkpoints | None = None, profile: Path | None = None,
                    hooks: Sequence[Hook] = ()) -> list[str]:
        """Train until iteration `max_iters`; returns the paths of the snapshots, the final one last.

        Snapshots and checkpoints are written every TRAIN.SNAPSHOT_ITERS iterations. SIGTERM, SIGHUP or Ctrl-C, sent to
        any process, stops all of them after the current iteration; a checkpoint is written if `checkpoints` is given.
        `profile`: see `profiled`.
        Hooks are called in this order: learning rate warm-up, the log, the gallery of hard RoIs, those of
        `register_hook`, `hooks`, snapshots, checkpoints, stopping and the profile. Changes that a hook makes to the
        weights after an iteration are in that iteration's snapshot and checkpoint; its work before an iteration is not
        in the profile.
        Raises TrainingStopped when stopped, LossError if the loss is not finite, and UserError, before training, if a
        snapshot would overwrite a file that was not written by a training.
        """
        if parallel.is_first() and self.output_dir.is_dir():
            OwnFiles(self.output_dir).claim(*snapshots_to_come(
                self.solver_param, cfg.TRAIN, max_iters, os.listdir(self.output_dir), self.solver.iter))
        log = log or TrainLog("train", max_iters)
        display = self.solver_param.display or DISPLAY
        interval, snapshots = cfg.TRAIN.SNAPSHOT_ITERS, SnapshotHook(cfg.TRAIN.SNAPSHOT_ITERS)
        try:
            self._run(max_iters, [
                *self._warmup(), LogHook(log, display), *gallery_hooks(log.path, display, cfg),
                *registered_hooks(), *hooks, snapshots,
                *([CheckpointHook(checkpoints, interval)] if checkpoints else []), StopHook(checkpoints),
                *([ProfileHook(profile)] if profile else [])])
        except FloatingPointError as error:         # raised by layers that reject NaN
            found = ", ".join(filter(None, [self.losses.trouble(), weights_problem(self.solver.net)]))
            raise LossError("; ".join(filter(None, [f"{log.stage}: iteration {self.solver.iter + 1}: {error}", found]))
                            ) from error
        return snapshots.paths

    def _warmup(self) -> list[Hook]:
        iterations = cfg.TRAIN.WARMUP_ITERS
        return [WarmupHook(self.solver_param.base_lr, iterations)] if iterations else []

    def _run(self, max_iters: int, hooks: Sequence[Hook]) -> None:
        """The training loop."""
        training = Training(self.solver, max_iters, self.losses, self.snapshot, self.snapshot_path)
        with training.contexts:
            for hook in hooks:
                hook.at_start(training)
            while training.iteration < training.max_iters:
                with training.step_contexts:
                    for hook in hooks:
                        hook.before_iteration(training)
                    self.solver.step(1)
                self.losses.iteration_done()
                for hook in hooks:
                    hook.after_iteration(training)
        for hook in hooks:
            hook.at_end(training)


def get_training_roidb(imdb: Imdb) -> list[Entry]:
    """The data set's roidb prepared for training, with the copies of TRAIN.USE_FLIPPED and TRAIN.USE_UPSIDE_DOWN."""
    if cfg.TRAIN.USE_FLIPPED:
        print("Adding a mirrored copy of every image", flush=True)
        imdb.append_flipped_images()
    roidb = rdl_roidb.prepare_roidb(imdb)
    if cfg.TRAIN.USE_UPSIDE_DOWN:
        print("Adding an upside-down copy of every image", flush=True)
        roidb += rdl_roidb.upside_down_roidb(roidb)
    return roidb


def filter_roidb(roidb: Sequence[Entry]) -> list[Entry]:
    """The entries that can be trained on: those with foreground or background RoIs by the thresholds in cfg.TRAIN.

    Raises ConfigError if none is left.
    """
    kept = rdl_roidb.usable_entries(roidb, RoISettings.from_cfg(cfg.TRAIN))
    if len(kept) < len(roidb):
        print(f"{len(roidb) - len(kept)} of {len(roidb)} images have no usable RoI: left out", flush=True)
    if not kept:
        raise ConfigError("no image has a RoI that can be trained on: check TRAIN.FG_THRESH, "
                         "TRAIN.BG_THRESH_HI, TRAIN.BG_THRESH_LO and the proposals")
    return kept


def train_net(solver_prototxt: str | os.PathLike, roidb: Sequence[Entry], output_dir: str | os.PathLike,
              pretrained_model: str | os.PathLike | None = None, max_iters: int = 40000, *,
              log: TrainLog | None = None, checkpoints: Checkpoints | None = None,
              resume: bool = False, features: str | os.PathLike | None = None,
              profile: Path | None = None, hooks: Sequence[Hook] = (), keep_checkpoints: bool = False,
              skip_unfitting: bool = False) -> list[str]:
    """Train a net; returns the paths of its snapshots, the final one last.

    Call `caffe.set_random_seed` with the seed (cfg.RNG_SEED) first.

    log          reports progress
    checkpoints  where checkpoints are kept; None for none
    resume       resume from the newest checkpoint, if there is one
    features     folder for the cached outputs of frozen layers; None: not cached
    profile      the profile is written to <profile>.txt and <profile>_trace.json; None: not profiled
    hooks        called around each iteration, in addition to those of `register_hook`
    skip_unfitting  see `SolverWrapper`
    keep_checkpoints  do not remove the checkpoints at the end: the caller does, after recording the result
    Raises the exceptions of `SolverWrapper.train_model`, and DamagedFileError if all checkpoints are damaged.
    """
    keep_freed_memory()
    wrapper = SolverWrapper(solver_prototxt, filter_roidb(roidb), output_dir, pretrained_model, skip_unfitting)
    log = log or TrainLog(Path(solver_prototxt).stem, max_iters)
    state = _state_to_resume(checkpoints) if checkpoints and resume else None
    with contextlib.closing(wrapper):
        prefix = wrapper.reuse_features(features, max_iters) if features else None
        if prefix:
            log.say(f"{prefix.num_layers} layers up to {prefix.blob} are frozen: computed once for each image")
        if checkpoints and state:
            for damage in checkpoints.damage:
                log.say(f"{damage}: resumes from the previous checkpoint")
            try:
                wrapper.restore(state)
            except (OSError, ValueError) as error:
                raise DamagedFileError(f"{error}; {checkpoints.how_to_restart}") from error
            log.say(f"resumes after iteration {wrapper.solver.iter}, from {state}")
        paths = wrapper.train_model(max_iters, log, checkpoints, profile, hooks)
    if checkpoints and not keep_checkpoints:
        checkpoints.remove()
    return paths


def _state_to_resume(checkpoints: Checkpoints) -> str:
    """The newest solver state, as found by the first process; '' if there is none."""
    found = checkpoints.newest() if parallel.is_first() else None
    return parallel.from_first(str(found or ""))
