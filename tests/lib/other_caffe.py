"""A program: trains, generates proposals and detects with lib on a Caffe with only BVLC's public names.

Arguments: `bvlc`, or `ours` for the same on our Caffe; the data set; a folder for results; the folder of Tiny's nets
for its classes. The weights of every net are printed as a digest for each layer, in JSON.
"""
import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import caffe
from caffe.engine.layers.python import Python

BVLC = {"Net", "SGDSolver", "NesterovSolver", "AdaGradSolver", "RMSPropSolver", "AdaDeltaSolver", "AdamSolver", "NCCL",
        "Timer", "init_log", "log", "set_mode_cpu", "set_mode_gpu", "set_device", "Layer", "get_solver",
        "layer_type_list", "set_random_seed", "solver_count", "set_solver_count", "solver_rank", "set_solver_rank",
        "set_multiprocess", "has_nccl", "TRAIN", "TEST", "proto", "io", "net_spec", "pycaffe", "Classifier", "Detector",
        "layers", "params", "NetSpec", "to_proto", "classifier", "detector", "coord_map", "draw"}
CFGS = Path(__file__).parents[2] / "experiments" / "cfgs"
ITERATIONS = 2


# ---- BVLC's classes
class Solver:
    """What lib uses of BVLC's solvers."""

    def __init__(self, ours):
        self._ours, self.net, self.step = ours, ours.net, ours.step
        self.restore, self.snapshot = ours.restore, ours.snapshot
        self.param = SimpleNamespace(max_iter=0, display=0)

    @property
    def iter(self):
        return self._ours.iter


class BlobVector:
    """`bottom` or `top` of a Python layer: blobs to index and slice, but not to iterate."""

    def __init__(self, blobs):
        self._blobs = blobs

    def __len__(self):
        return len(self._blobs)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return BlobVector(self._blobs[index])
        return Blob(self._blobs[index])

    def __iter__(self):
        raise TypeError("No to_python (by-value) converter found for C++ type: caffe::Blob<float>*")

    def __contains__(self, blob):
        raise TypeError("No to_python (by-value) converter found for C++ type: caffe::Blob<float>*")


class Blob:
    """A blob of a Python layer."""

    def __init__(self, ours):
        self._ours = ours

    shape = property(lambda self: self._ours.shape)
    data = property(lambda self: self._ours.data)
    diff = property(lambda self: self._ours.diff)

    def reshape(self, *shape):
        if not all(isinstance(length, int) for length in shape):        # np.int64 is none
            raise TypeError("No registered converter was able to produce a C++ rvalue of type int")
        self._ours.reshape(*shape)


def run_as_bvlc(layer, step, *arguments, run=Python._run):
    """A step of a Python layer. The middle one of `backward`'s three arguments is propagate_down: no blobs."""
    run(layer, step, BlobVector(arguments[0]), *arguments[1:-1], BlobVector(arguments[-1]))


def forget_ours():
    """Remove what lib uses only if available: our names, and our methods of nets, blobs and solvers."""
    blob = caffe.Blob
    for name in [name for name in vars(caffe) if not name.startswith("_") and name not in BVLC]:
        delattr(caffe, name)
    sys.modules["caffe.proto.prototxt"] = None
    del caffe.proto.prototxt
    for cls in caffe.Net.__mro__:
        for name in {"free_intermediates", "reuse_frozen_prefix", "save_trained", "after_forward"} & set(vars(cls)):
            delattr(cls, name)
    copy_from = caffe.Net.copy_from
    caffe.Net.copy_from = lambda net, path: copy_from(net, path) and None
    del blob.set_data
    get_solver = caffe.get_solver
    caffe.get_solver = lambda file: Solver(get_solver(file))
    Python._run = run_as_bvlc


# ---- the stages
class Stages:
    """Trains nets on a data set, from random weights or those of an earlier stage."""

    def __init__(self, imdb_name, output, models):
        self.imdb_name, self.output, self.models = imdb_name, Path(output), Path(models)

    def train(self, name, solver, weights=None, proposals=None, **changes):
        """Two iterations with changes of cfg.TRAIN; returns the model's path and prints its digests."""
        from checks.nets import check_train_net
        from commands.data_set import use_proposals
        from datasets.factory import get_imdb
        from fast_rcnn.checkpoints import Checkpoints, run_fingerprint
        from fast_rcnn.config import cfg
        from fast_rcnn.train import get_training_roidb, train_net
        from utils.errors import raise_all
        from utils.prototxt import net_of_solver
        cfg.TRAIN.update(SNAPSHOT_ITERS=ITERATIONS, **changes)
        imdb, solver = get_imdb(self.imdb_name), self.models / solver
        use_proposals(imdb, "rpn" if proposals else "gt", proposals)
        raise_all(check_train_net(net_of_solver(solver), cfg.TRAIN, imdb.num_classes))
        checkpoints = Checkpoints(self.output / "checkpoints", run_fingerprint(solver, weights, proposals, imdb))
        caffe.set_random_seed(cfg.RNG_SEED)
        model = train_net(solver, get_training_roidb(imdb), self.output / name, weights, ITERATIONS,
                          checkpoints=checkpoints, resume=True)[-1]
        print(json.dumps({name: digests(model)}))
        return model

    def propose(self, model):
        """Proposals of every image; returns their file."""
        from commands.detector import load_rpn
        from datasets.factory import get_imdb
        from datasets.proposals_file import save_proposals
        from rpn.generate import imdb_proposals
        imdb, file = get_imdb(self.imdb_name), self.output / "proposals.npz"
        boxes, scores = imdb_proposals(load_rpn(self.models / "faster_rcnn_alt_opt" / "rpn_test.pt", model), imdb)
        save_proposals(file, boxes, scores, imdb.image_index)
        print(json.dumps({"proposals": digest(*boxes, *scores)}))
        return str(file)

    def detect(self, model):
        """Detections of every image."""
        from commands.detector import DetectorFiles
        from datasets.factory import get_imdb
        from fast_rcnn.test import test_net
        imdb = get_imdb(self.imdb_name)
        net = DetectorFiles(str(self.models / "faster_rcnn_end2end" / "test.pt"), model).load(imdb.num_classes)
        print(test_net(net, imdb, output_dir=self.output).report())


def digest(*arrays):
    """Of the values of arrays."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def digests(model):
    """Of each layer of a caffemodel but the readonly ones, which BVLC saves too."""
    net = caffe.proto.caffe_pb2.NetParameter.FromString(Path(model).read_bytes())
    return {layer.name: hashlib.sha256(b"".join(blob.SerializeToString(deterministic=True) for blob in layer.blobs))
            .hexdigest() for layer in net.layer if layer.blobs and not layer.name.endswith("_readonly")}


def main(imdb_name, output, models):
    """RPN, proposals, Fast R-CNN with hard example mining, both end to end, detections: two iterations of each net."""
    from commands.options import use_device
    from fast_rcnn.config import cfg, cfg_from_file, reset_cfg
    stages, alt_opt = Stages(imdb_name, output, models), "faster_rcnn_alt_opt"
    cfg_from_file(CFGS / "tiny.yml")
    cfg.NUM_WORKERS = 0
    use_device(None, cfg.RNG_SEED)
    rpn = stages.train("rpn", f"{alt_opt}/stage1_rpn_solver60k80k.pt", HAS_RPN=True, BBOX_REG=False, USE_OHEM=False)
    proposals = stages.propose(rpn)
    for name, use_nms in (("mining", False), ("mining_nms", True)):
        stages.train(name, f"{alt_opt}/stage1_fast_rcnn_solver30k40k.pt", rpn, proposals, HAS_RPN=False, BBOX_REG=True,
                     USE_OHEM=True, OHEM_USE_NMS=use_nms, OHEM_NMS_THRESH=0.2)
    reset_cfg()
    cfg_from_file(CFGS / "tiny_end2end.yml")
    cfg.NUM_WORKERS = 0
    stages.detect(stages.train("end2end", "faster_rcnn_end2end/solver.pt"))
    stages.detect(stages.train("end2end_ohem", "faster_rcnn_end2end_ohem/solver.pt", USE_OHEM=True, OHEM_USE_NMS=False,
                               OHEM_WARMUP=1, OHEM_RANDOM_SHARE=0.25))


if __name__ == "__main__":
    if sys.argv[1] == "bvlc":
        forget_ours()
    main(*sys.argv[2:])
