"""`caffe train`: train a net with a solver prototxt."""
from __future__ import annotations

import argparse
import secrets

from .. import pycaffe
from ..engine.solvers.param import net_file, read_param, snapshot_prefix
from ..proto import caffe_pb2
from .flags import Flags, names, stages
from .running import CommandError, existing_file, log, use_device

SUMMARY = "train a net from scratch, from weights or from a snapshot"
EXAMPLES = """\
  caffe train -solver solver.prototxt -gpu 0
  caffe train -solver solver.prototxt -weights vgg16.caffemodel          (several are separated by commas)
  caffe train -solver solver.prototxt -snapshot net_iter_5000.solverstate
  caffe train -solver solver.prototxt -precision bfloat16

Ctrl-C stops after the current iteration and writes a snapshot, as kill does; kill -HUP writes one and continues.
"""
_EFFECTS = ("stop", "snapshot", "none")


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("--solver", required=True, metavar="FILE", help="solver prototxt")
    flags.add_argument("--weights", default="", metavar="FILES",
                       help="initial weights: caffemodels, separated by commas")
    flags.add_argument("--snapshot", metavar="FILE", help="solverstate to resume from")
    flags.add_argument("--sigint_effect", default="stop", choices=_EFFECTS, help="what Ctrl-C does (default: stop)")
    flags.add_argument("--sighup_effect", default="snapshot", choices=_EFFECTS,
                       help="what SIGHUP does (default: snapshot)")
    flags.add_gpu()
    flags.add_precision()
    flags.add_state()


def run(args: argparse.Namespace) -> int:
    """Train."""
    param = _settings(args)
    use_device(args.gpu or _gpu_of_file(param), args.precision)
    if param.random_seed < 0:
        seed = secrets.randbelow(2**31)
        log.info("random_seed: %d (chosen at random; set it in the solver file to repeat this run)", seed)
        pycaffe.set_random_seed(seed)
    solver = pycaffe.get_solver(param)
    with solver.signal_actions(args.sigint_effect, args.sighup_effect):
        solver.solve(args.snapshot or None)
    log.info("Stopped at iteration %d" if solver.stopped_early else "Done: %d iterations", solver.iter)
    return 0


def _settings(args: argparse.Namespace) -> caffe_pb2.SolverParameter:
    """The solver file's settings with the flags applied and its paths resolved."""
    if args.snapshot and args.weights:
        raise CommandError("give either -snapshot to resume a run, or -weights to start from; not both")
    param, path = read_param(existing_file(args.solver, "-solver"))
    for name in ("net", "train_net"):
        if param.HasField(name):
            setattr(param, name, net_file(getattr(param, name), path))
    param.test_net[:] = [net_file(name, path) for name in param.test_net]
    param.snapshot_prefix = snapshot_prefix(param, path)
    if args.snapshot:
        existing_file(args.snapshot, "-snapshot")
        del param.weights[:]
    if args.weights:
        param.weights[:] = [existing_file(name, "-weights") for name in names(args.weights)]
    if args.level is not None:
        param.train_state.level = args.level
    param.train_state.stage.extend(stages(args))
    return param


def _gpu_of_file(param: caffe_pb2.SolverParameter) -> str:
    """The GPU that the solver file asks for; none if PyTorch sees none, because most solver files ask for one."""
    if not param.HasField("solver_mode") or param.solver_mode != caffe_pb2.SolverParameter.GPU:
        return ""
    if not pycaffe.has_gpu():
        log.info("solver_mode: GPU, but PyTorch sees no CUDA GPU here")
        return ""
    return str(param.device_id)
