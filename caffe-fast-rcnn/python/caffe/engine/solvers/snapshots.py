"""Writes and restores a solver: its weights in a caffemodel, its progress in a solver state."""
from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from ...errors import SolverError
from ...proto import caffe_pb2
from .. import device
from ..files import hdf5, solverstate
from ..files.caffemodel import save_net

log = logging.getLogger("caffe")


def check_names(solver) -> None:
    """Raise WeightsError if the names of the net's layers do not suit the format of snapshots."""
    if _uses_hdf5(solver):
        hdf5.check_names(solver.net, solver.param.snapshot_diff)


def _uses_hdf5(solver) -> bool:
    return solver.param.snapshot_format == caffe_pb2.SolverParameter.HDF5


def write(solver, prefix: str) -> str:
    """Write <prefix>_iter_<n>.caffemodel, then .solverstate; returns the name of the state."""
    use_hdf5 = _uses_hdf5(solver)
    ending = ".h5" if use_hdf5 else ""
    model, state = (f"{prefix}_iter_{solver.iter}.{kind}{ending}" for kind in ("caffemodel", "solverstate"))
    save = hdf5.save_net_hdf5 if use_hdf5 else save_net
    form = "HDF5" if use_hdf5 else "binary proto"
    log.info("Snapshotting to %s file %s", form, model)
    save(solver.net, model, write_diff=solver.param.snapshot_diff)
    log.info("Snapshotting solver state to %s file %s", form, state)
    write_state = hdf5.write_state if use_hdf5 else solverstate.write_state
    write_state(state, solver.iter, model, solver.current_step, _history(solver))
    return state


def _frozen(solver) -> list[bool]:
    """Whether each history blob belongs to a frozen parameter: such blobs are unused, and zero in the file."""
    used = {index for group in solver.groups for index in group.indices}
    return [index not in used for index in range(len(solver.net.learnable_params))] * solver.histories


def _history(solver) -> list[torch.Tensor]:
    return [torch.zeros(blob.shape, dtype=device.float_type()) if frozen else blob.tensor
            for blob, frozen in zip(solver.history, _frozen(solver), strict=True)]


def restore(solver, state_file: Path, weights: str | os.PathLike | None = None) -> None:
    """Load the weights named by a solver state, or the given ones, then its history and iteration.

    Raises WireError, WeightsError or SolverError if the files cannot be read or do not match.
    """
    state = solverstate.read_state(state_file)
    _check_history(solver, state, state_file)
    if weights is not None:
        solver.net.copy_from(os.fspath(weights))
    elif state.learned_net:
        solver.net.copy_from(_find_model(state.learned_net, state_file))
    for blob, stored, frozen in zip(solver.history, state.history, _frozen(solver), strict=True):
        if not frozen:
            blob.tensor = stored.tensor(blob.shape, device.float_type()).to(device.current_device())
    solver.iter, solver.current_step = state.iter, state.current_step
    log.info("restored iteration %d from %s", solver.iter, state_file)


def _check_history(solver, state: solverstate.SolverState, state_file: Path) -> None:
    if len(state.history) != len(solver.history):
        raise SolverError(f"{state_file}: expected {len(solver.history)} history blobs for this net and "
                          f"{type(solver).__name__}, found {len(state.history)}")
    for index, (blob, stored) in enumerate(zip(solver.history, state.history, strict=True)):
        if not stored.fits(blob.shape):
            raise SolverError(f"{state_file}: history blob {index}: expected shape {blob.shape}, "
                              f"found {stored.shape}")


def _find_model(name: str, state_file: Path) -> str:
    """Find the weights that a state names relative to the working directory of its run, or beside the state."""
    tried = dict.fromkeys([Path(name), state_file.parent / name, state_file.parent / Path(name).name])
    for path in tried:
        if path.is_file():
            return str(path)
    places = ", ".join(str(path) for path in tried)
    raise SolverError(f"{state_file}: its weights {name} do not exist; tried {places}")
