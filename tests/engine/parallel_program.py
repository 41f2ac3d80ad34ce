"""Trains small nets and saves their weights; tests/engine/test_parallel.py runs it in one and in two processes.

    python parallel_program.py OUTPUT_FOLDER PASSES

PASSES is the total number of passes per iteration over all processes.
"""
import logging
import sys
from pathlib import Path

import numpy as np

import caffe
from caffe.proto import caffe_pb2, prototxt

NET = """
layer { name: "data" type: "Python" top: "x" top: "y"
        python_param { module: "parallel_program" layer: "Numbers" } }
layer { name: "frozen" type: "InnerProduct" bottom: "x" top: "frozen" param { lr_mult: 0 } param { lr_mult: 0 }
        inner_product_param { num_output: 60 weight_filler { type: "xavier" } } }
layer { name: "large" type: "InnerProduct" bottom: "frozen" top: "large"
        inner_product_param { num_output: 600 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "large" top: "large" }
layer { name: "drop" type: "Dropout" bottom: "large" top: "large" }
layer { name: "below" type: "InnerProduct" bottom: "large" top: "below"
        inner_product_param { num_output: 30 weight_filler { type: "xavier" } } }
layer { name: "first" type: "InnerProduct" bottom: "below" top: "first" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 30 weight_filler { type: "xavier" } } }
layer { name: "again" type: "InnerProduct" bottom: "first" top: "again" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 30 weight_filler { type: "xavier" } } }
layer { name: "out" type: "InnerProduct" bottom: "again" top: "out"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "out" bottom: "y" top: "loss" loss_weight: 2 }
"""
SOLVERS = {
    "sgd": "type: 'SGD' base_lr: 0.001 momentum: 0.9 weight_decay: 0.5",
    "clipped": "type: 'Adam' base_lr: 0.01 momentum: 0.9 momentum2: 0.99 delta: 0.01 clip_gradients: 0.5",
}
ITERATIONS = 5


class Numbers(caffe.Layer):
    """Tops x (4, 50) and y (4, 3) are functions of the pass number over all processes."""

    def setup(self, bottom, top):
        self.passes = 0

    def reshape(self, bottom, top):
        top[0].reshape(4, 50)
        top[1].reshape(4, 3)

    def forward(self, bottom, top):
        rng = np.random.default_rng(self.passes * caffe.solver_count() + caffe.solver_rank())
        top[0].data[...], top[1].data[...] = rng.normal(size=(4, 50)), rng.normal(size=(4, 3))
        self.passes += 1


class Losses(logging.Handler):
    """The losses in the log of solvers."""

    def __init__(self):
        super().__init__()
        self.found = []
        log = logging.getLogger("caffe")
        log.setLevel(logging.INFO)
        log.handlers = [self]

    def emit(self, record):
        text = record.getMessage()
        if text.startswith("Iteration") and ", loss = " in text:
            self.found.append(float(text.rsplit(" ", 1)[1]))


def train(name, iter_size):
    """Train until the last process is asked to stop; returns weights by name and logged losses."""
    param = prototxt.parse(SOLVERS[name] + f" lr_policy: 'fixed' random_seed: 3 display: 1 iter_size: {iter_size}",
                           caffe_pb2.SolverParameter())
    prototxt.parse(NET, param.net_param)
    solver = caffe.get_solver(param)
    solver.net.params["large"][0].data[...] += caffe.solver_rank()      # only the weights of process 0 count
    is_last = caffe.solver_rank() == caffe.solver_count() - 1
    solver.set_action_function(lambda: "stop" if solver.iter == ITERATIONS and is_last else "none")
    losses = Losses()
    while not solver.stopped_early:
        solver.step(1)
    found = {f"{layer}_{index}": blob.data for layer, blobs in solver.net.params.items()
             for index, blob in enumerate(blobs)}
    return {**found, "losses": losses.found, "frozen_has_gradient": solver.net.params["frozen"][0].has_grad}


def main(folder, passes):
    caffe.init_parallel()
    rank, count = caffe.solver_rank(), caffe.solver_count()
    for name in SOLVERS:
        np.savez(Path(folder, f"{name}_{count}_{rank}.npz"), **train(name, int(passes) // count))
    gathered = caffe.gather_values({"rank": rank, "text": "\u00e4" * 50 * rank})
    assert gathered == [{"rank": other, "text": "\u00e4" * 50 * other} for other in range(count)]
    arrays = caffe.gather_arrays(np.full((rank, 4), rank, np.float32))
    assert [array.shape for array in arrays] == ([] if rank else [(other, 4) for other in range(count)])
    assert all(array.dtype == np.float32 and (array == index).all() for index, array in enumerate(arrays))


if __name__ == "__main__":
    sys.modules["parallel_program"] = sys.modules["__main__"]
    main(*sys.argv[1:])
