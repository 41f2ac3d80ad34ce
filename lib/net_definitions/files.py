"""Composes the prototxts of a net: those of each training stage, the test nets and the solvers."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from textwrap import dedent
from typing import NamedTuple

from caffe import layers as L
from caffe.net_spec import Top
from fast_rcnn.schedule import default_stepsize
from utils.layer_params import ANCHOR_RATIOS
from utils.names import HARD

from .draft import Draft
from .heads import (
    LEARNED,
    NONE,
    hard_mining,
    head_features,
    proposal_targets,
    proposals,
    roi_data,
    roi_head,
    roi_losses,
    rpn,
    rpn_data,
    rpn_losses,
    rpn_scores_reshape,
    shared,
    test_data,
    trunk,
    untrained_fc,
    untrained_rpn,
)
from .nets import NETS, Net, Schedule
from .task import Task, as_words

SHIPPED_CLASSES = 21        # of the nets in models/: PASCAL VOC's 20 and the background
ALL_GROUPS = 5              # every trunk has five groups of convolutions
_ALT_OPT, _NO_OHEM = "faster_rcnn_alt_opt", "faster_rcnn_alt_opt_no_ohem"
_END2END, _END2END_OHEM = "faster_rcnn_end2end", "faster_rcnn_end2end_ohem"


def alt_opt_method(ohem: bool) -> str:
    """Name of the folder of alternating optimisation with or without hard example mining."""
    return _ALT_OPT if ohem else _NO_OHEM


def end2end_method(ohem: bool) -> str:
    """Name of the folder of end-to-end training with or without hard example mining."""
    return _END2END_OHEM if ohem else _END2END


def is_shipped(file: str) -> bool:
    """Whether a file of `model_files` is in models/; alternating nets without mining are generated on demand."""
    return file.split("/")[1] != _NO_OHEM


class Sizes(NamedTuple):
    """Sizes, and the layer that pools RoIs, that override those of a net's definition; None keeps them."""

    anchor_scales: Sequence[float] | None = None        # times 16 pixels
    anchor_ratios: Sequence[float] | None = None        # height / width
    fc6: int | None = None                              # outputs
    fc7: int | None = None
    roi_layer: str | None = None                        # one of ROI_LAYERS


USUAL = Sizes()


def model_files(net_name: str, num_classes: int = SHIPPED_CLASSES, sizes: Sizes = USUAL, folder: str = "models",
                iterations: Sequence[int] | None = None) -> dict[str, str]:
    """Text of every prototxt of a net, by its path under `folder`: {'ZF/faster_rcnn_end2end/test.pt': ...}.

    `num_classes` includes the background. `folder` is the path of the nets in the solvers. `iterations` are those of
    the four stages of alternating optimisation: if given, the learning rate drops after three quarters of each, else
    after the net's `stepsize`.
    Raises ValueError for an unknown net, an impossible task or a size below 1.
    """
    if net_name not in NETS:
        raise ValueError(f"there is no net '{net_name}'; choose one of {', '.join(NETS)}")
    net = NETS[net_name].with_fc_sizes(sizes.fc6, sizes.fc7)
    if sizes.roi_layer is not None:
        net = replace(net, roi_layer=sizes.roi_layer)
    task = Task(num_classes, tuple(net.scales if sizes.anchor_scales is None else sizes.anchor_scales),
                tuple(ANCHOR_RATIOS if sizes.anchor_ratios is None else sizes.anchor_ratios))
    files: dict[str, str] = {}
    for ohem in (True, False):
        files |= _alt_opt_files(net, task, ohem, folder, iterations)
    for ohem in (False, True):
        files |= _end2end_files(net, task, ohem, folder)
    return files


def _alt_opt_files(net: Net, task: Task, ohem: bool, folder: str,
                   iterations: Sequence[int] | None = None) -> dict[str, str]:
    method = f"{net.name}/{alt_opt_method(ohem)}"
    names = net.alt_opt_rpn_names or net.rpn_names
    kind = "with online hard example mining" if ohem else "on a random sample of RoIs"
    files = {}
    steps_of = iter(iterations) if iterations else None
    for stage, frozen in ((1, net.frozen_groups), (2, ALL_GROUPS)):
        # The iterations in the solvers' names are VGG16's; all nets use the same names.
        for part, steps, build, title, schedule in (
                ("rpn", "60k80k", partial(_rpn_train, names=names), "RPN", net.rpn),
                ("fast_rcnn", "30k40k", partial(_fast_rcnn_train, names=names, ohem=ohem),
                 f"Fast R-CNN {kind}", net.fast_rcnn)):
            if steps_of:
                schedule = replace(schedule, stepsize=default_stepsize(next(steps_of)))
            stem = f"{method}/stage{stage}_{part}"
            title += f", stage {stage} of alternating optimisation"
            files[f"{stem}_train.pt"] = _net_file(net, task, title, partial(build, frozen=frozen))
            files[f"{stem}_solver{steps}.pt"] = _solver_file(
                net, title, f"{folder}/{stem}_train.pt", schedule, part)
    files[f"{method}/rpn_test.pt"] = _net_file(net, task, "RPN alone, for making proposals",
                                               partial(_rpn_test, names=names))
    files[f"{method}/faster_rcnn_test.pt"] = _net_file(net, task, "the detector for test images",
                                                       partial(_faster_rcnn_test, names=names))
    return files


def _end2end_files(net: Net, task: Task, ohem: bool, folder: str) -> dict[str, str]:
    method = f"{net.name}/{end2end_method(ohem)}"
    title = f"RPN and Fast R-CNN trained together{', with online hard example mining' if ohem else ''}"
    return {
        f"{method}/train.pt": _net_file(net, task, title, partial(_end2end_train, ohem=ohem)),
        f"{method}/test.pt": _net_file(net, task, "the detector for test images",
                                       partial(_faster_rcnn_test, names=net.rpn_names)),
        f"{method}/solver.pt": _solver_file(net, title, f"{folder}/{method}/train.pt", net.end2end,
                                            "faster_rcnn"),
    }


def _rpn_train(draft: Draft, names: tuple[str, str, str], frozen: int) -> None:
    rpn_data(draft)
    features = trunk(draft, frozen)
    draft.section("RPN")
    rpn(draft, features, names, LEARNED)
    rpn_scores_reshape(draft)
    rpn_losses(draft)
    untrained_fc(draft)


def _fast_rcnn_train(draft: Draft, names: tuple[str, str, str], frozen: int, ohem: bool) -> None:
    roi_data(draft)
    features = trunk(draft, frozen)
    _trained_head(draft, features, ohem)
    untrained_rpn(draft, features, names)


def _trained_head(draft: Draft, features: Top, ohem: bool) -> None:
    """The RoI head and its losses, on `rois` or on the hard ones among them."""
    features = head_features(draft, features)
    if ohem:
        draft.section("readonly RoI head: judges all RoIs with the weights of the head below")
        hard_mining(draft, features)
        draft.section("RoI head: trained on the hard RoIs")
        roi_head(draft, features, draft.n["rois" + HARD], shared, propagate_down=[True, False])
        roi_losses(draft, HARD)
    else:
        draft.section("RoI head")
        roi_head(draft, features, draft.n.rois, lambda layer: LEARNED)
        roi_losses(draft)


def _end2end_train(draft: Draft, ohem: bool) -> None:
    rpn_data(draft)
    features = trunk(draft, draft.net.frozen_groups)
    draft.section("RPN")
    rpn(draft, features, draft.net.rpn_names, LEARNED)
    rpn_scores_reshape(draft)
    rpn_losses(draft)
    draft.section("proposals")
    proposals(draft, ["rpn_rois"])
    proposal_targets(draft)
    _trained_head(draft, features, ohem)


def _rpn_test(draft: Draft, names: tuple[str, str, str], tops: tuple[str, ...] = ("rois", "scores")) -> Top:
    test_data(draft)
    features = trunk(draft, None)
    draft.section("RPN")
    rpn(draft, features, names, NONE)
    rpn_scores_reshape(draft)
    draft.section("proposals")
    proposals(draft, list(tops))
    return features


def _faster_rcnn_test(draft: Draft, names: tuple[str, str, str]) -> None:
    features = _rpn_test(draft, names, tops=("rois",))
    draft.section("RoI head")
    roi_head(draft, head_features(draft, features), draft.n.rois, lambda layer: NONE)
    draft.n.cls_prob = L.Softmax(draft.n.cls_score)


def _net_file(net: Net, task: Task, title: str, build: Callable[[Draft], object]) -> str:
    draft = Draft(net, task)
    build(draft)
    sizes = "".join(f"--fc{number} {size} " for number, size, usual in
                    zip("67", net.fc_sizes, NETS[net.name].fc_sizes, strict=True) if size != usual)
    return draft.text([
        f"{net.name}: {title}.",
        f"For {task.classes_text} and {task.anchors_text}.",
        "Written by tools/make_models.py. For other classes or anchors change the marked layers, or run",
        f"  tools/make_models.py --net {net.name} --classes {task.num_classes} "
        f"--scales {as_words(task.scales)} --ratios {as_words(task.ratios)} {sizes}--out DIR"])


def _solver_file(net: Net, title: str, train_net: str, schedule: Schedule, part: str) -> str:
    iter_size = f"\niter_size: {schedule.iter_size}" if schedule.iter_size > 1 else ""
    return dedent("""\
        # {net.name}: solver of {title}.
        # Written by tools/make_models.py.
        train_net: "{train_net}"

        base_lr: {schedule.base_lr}
        lr_policy: "step"
        gamma: 0.1
        stepsize: {schedule.stepsize}
        momentum: 0.9
        weight_decay: 0.0005{iter_size}

        display: 20
        average_loss: {schedule.average_loss}

        # The solver's own snapshots are off: lib/fast_rcnn/train.py saves the net under this prefix, its box
        # regression turned back from normalised targets.
        snapshot: 0
        snapshot_prefix: "{prefix}"
        """).format(net=net, title=title, train_net=train_net, schedule=schedule, iter_size=iter_size,
                    prefix=f"{net.name.lower()}_{part}")
