"""A program: trains, generates proposals and detects with lib on a Caffe with only BVLC's public names.

Arguments: the data set, a folder for results, a folder of Tiny's nets for its classes.
"""
import sys
from pathlib import Path
from types import SimpleNamespace

import caffe

BVLC = {"Net", "SGDSolver", "NesterovSolver", "AdaGradSolver", "RMSPropSolver", "AdaDeltaSolver", "AdamSolver", "NCCL",
        "Timer", "init_log", "log", "set_mode_cpu", "set_mode_gpu", "set_device", "Layer", "get_solver",
        "layer_type_list", "set_random_seed", "solver_count", "set_solver_count", "solver_rank", "set_solver_rank",
        "set_multiprocess", "has_nccl", "TRAIN", "TEST", "proto", "io", "net_spec", "pycaffe", "Classifier", "Detector",
        "layers", "params", "NetSpec", "to_proto", "classifier", "detector", "coord_map", "draw"}


class Solver:
    """What lib uses of BVLC's solvers."""

    def __init__(self, ours):
        self._ours, self.net, self.step = ours, ours.net, ours.step
        self.restore, self.snapshot = ours.restore, ours.snapshot
        self.param = SimpleNamespace(max_iter=0, display=0)

    @property
    def iter(self):
        return self._ours.iter


def forget_ours():
    """Remove what lib uses only if available: our names, and our methods of nets, blobs and solvers."""
    blob = caffe.Blob
    for name in [name for name in vars(caffe) if not name.startswith("_") and name not in BVLC]:
        delattr(caffe, name)
    sys.modules["caffe.proto.prototxt"] = None
    del caffe.proto.prototxt
    for cls in caffe.Net.__mro__:
        for name in {"free_intermediates", "reuse_frozen_prefix", "save_trained"} & set(vars(cls)):
            delattr(cls, name)
    del blob.set_data
    get_solver = caffe.get_solver
    caffe.get_solver = lambda file: Solver(get_solver(file))


def main(imdb_name, output, models):
    """Two iterations of RPN training, proposals and detections of every image."""
    from checks.nets import check_train_net
    from commands.detector import DetectorFiles, load_rpn
    from commands.options import use_device
    from datasets.factory import get_imdb
    from fast_rcnn.checkpoints import Checkpoints, run_fingerprint
    from fast_rcnn.config import cfg, cfg_from_file
    from fast_rcnn.test import test_net
    from fast_rcnn.train import get_training_roidb, train_net
    from rpn.generate import imdb_proposals
    from utils.errors import raise_all
    from utils.prototxt import net_of_solver
    cfg_from_file(Path(__file__).parents[2] / "experiments" / "cfgs" / "tiny.yml")
    cfg.TRAIN.HAS_RPN, cfg.TRAIN.BBOX_REG, cfg.TRAIN.USE_OHEM = True, False, False      # as in a stage of the RPN
    cfg.TEST.HAS_RPN, cfg.NUM_WORKERS = True, 0
    imdb, solver = get_imdb(imdb_name), Path(models, "stage1_rpn_solver60k80k.pt")
    raise_all(check_train_net(net_of_solver(solver), cfg.TRAIN, imdb.num_classes))
    use_device(None, cfg.RNG_SEED)
    checkpoints = Checkpoints(Path(output, "checkpoints"), run_fingerprint(solver, None, None, imdb))
    cfg.TRAIN.SNAPSHOT_ITERS = 1
    model = train_net(solver, get_training_roidb(imdb), output, None, 2, checkpoints=checkpoints, resume=True)[-1]
    imdb = get_imdb(imdb_name)
    boxes, _ = imdb_proposals(load_rpn(Path(models, "rpn_test.pt"), model), imdb)
    detector, weights = str(Path(models, "faster_rcnn_test.pt")), str(Path(output, "detector.caffemodel"))
    caffe.Net(detector, caffe.TEST).save(weights)
    net = DetectorFiles(detector, weights).load(imdb.num_classes)
    print(len(boxes), "images", test_net(net, imdb, output_dir=output).report())


if __name__ == "__main__":
    forget_ours()
    main(*sys.argv[1:])
