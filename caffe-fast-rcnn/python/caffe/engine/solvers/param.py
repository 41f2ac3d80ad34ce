"""Reads solver prototxts, and the nets that they name."""
from __future__ import annotations

import logging
import os
from pathlib import Path

from ...errors import SolverError
from ...proto import caffe_pb2, prototxt
from ..graph.upgrade import read_solver_upgraded, upgrade_solver

log = logging.getLogger("caffe")


def read_param(source) -> tuple[caffe_pb2.SolverParameter, Path | None]:
    """The upgraded settings of a prototxt (or of a SolverParameter), and the path of that prototxt."""
    if not isinstance(source, caffe_pb2.SolverParameter):
        path = Path(source)
        return read_solver_upgraded(path), path
    param = caffe_pb2.SolverParameter()
    param.CopyFrom(source)
    upgrade_solver(param)
    return param, None


def net_file(name: str, solver_file: Path | None) -> str:
    """The file of a net named by a solver, see `prototxt.find_net_file`.

    Raises SolverError listing the places that were tried.
    """
    path = prototxt.find_net_file(name, solver_file)
    if path is None:
        places = "\n  ".join(str(place) for place in prototxt.net_places(name, solver_file))
        raise SolverError(f"{solver_file or 'solver'}: the net file {name} does not exist; tried\n  {places}")
    if path != Path(name):
        log.info("net file %s found at %s", name, path)
    return str(path)


NetSource = caffe_pb2.NetParameter | str     # an inline net, or the name of its file


def train_net_source(param: caffe_pb2.SolverParameter) -> NetSource:
    """The train net. Raises SolverError unless there is exactly one."""
    names = ("train_net_param", "train_net", "net_param", "net")
    given = [name for name in names if param.HasField(name)]
    if len(given) != 1:
        raise SolverError(f"a solver needs exactly one of {', '.join(names)}; "
                          f"found {', '.join(given) or 'none'}")
    return getattr(param, given[0])


def test_net_sources(param: caffe_pb2.SolverParameter) -> list[NetSource]:
    """The test nets: `test_net_param`, then `test_net`, then `net_param` or `net` for every remaining test_iter.

    Raises SolverError if the numbers of nets, test_iter and test_state disagree.
    """
    nets: list[NetSource] = [*param.test_net_param, *param.test_net]
    generic = [getattr(param, name) for name in ("net_param", "net") if param.HasField(name)]
    count = len(param.test_iter)
    if count < len(nets) or (count > len(nets) and not generic):
        raise SolverError(f"test_iter must be given once for each test net: {len(nets)} nets, "
                          f"{count} test_iter")
    nets += generic * (count - len(nets))
    if param.test_state and len(param.test_state) != len(nets):
        raise SolverError(f"test_state must be left out or given once for each test net: {len(nets)} nets, "
                          f"{len(param.test_state)} test_state")
    if nets and param.test_interval <= 0:
        raise SolverError("there are test nets (test_iter is given), so test_interval must be above 0")
    return nets


def load_net(net_type, source: NetSource, phase: int, state: caffe_pb2.NetState | None,
             solver_file: Path | None):
    """Build a net of the solver; its state merges `phase`, the state in the net's file and the solver's state."""
    if isinstance(source, str):
        source = net_file(source, solver_file)
        own = prototxt.read_net(source).state
    else:
        own = source.state
    merged = caffe_pb2.NetState(phase=phase)  # type: ignore[arg-type]  # enums are ints to protobuf
    merged.MergeFrom(own)
    added = caffe_pb2.NetState() if state is None else state
    merged.MergeFrom(added)
    return net_type(source, merged.phase, level=merged.level, stages=list(added.stage))


def snapshot_prefix(param: caffe_pb2.SolverParameter, solver_file: Path | None) -> str:
    """The prefix of snapshot names; by default the solver file's name without extension.

    If the prefix is a folder, that name is used inside it.
    """
    name = solver_file.with_suffix("") if solver_file else Path("solver")
    if not param.snapshot_prefix:
        return str(name)
    if os.path.isdir(param.snapshot_prefix):
        return os.path.join(param.snapshot_prefix, name.name)
    return param.snapshot_prefix
