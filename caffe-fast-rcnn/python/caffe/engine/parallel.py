"""Data-parallel training: N processes compute what one process computes with N times the iter_size.

`torchrun --nproc_per_node N script.py` starts the processes, and `init_parallel` connects them. Each runs its share of
the passes. A gradient is summed over all processes with torch.distributed (NCCL on CUDA, gloo on the CPU) as soon as
the layers that add to it have run backward, while the layers below still run.

The statistics of BatchNorm and BN are not gradients: each process keeps its own, and process 0 saves its own.
"""
from __future__ import annotations

import atexit
import contextlib
import datetime
import json
import os
import re
import socket
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ..errors import CaffeError
from . import device
from .blob import Blob
from .solvers.actions import Action
from .solvers.exchange import Exchange
from .solvers.solver import Solver

_SMALL = 1 << 15        # gradients of fewer values are bundled: each message has a fixed cost
_BUNDLE = 1 << 18       # minimum number of values in a bundle, except the last
_PATIENCE = datetime.timedelta(hours=2)     # for an unresponsive process; one that exits is noticed at once
_WEIGHT = {Action.NONE: 0, Action.SNAPSHOT: 1, Action.STOP: 2}


class ParallelError(CaffeError, RuntimeError):
    """The processes of a parallel run cannot find one another, or one of them has ended."""


def init_parallel() -> None:
    """Join the processes started by torchrun; solvers created afterwards train together.

    Does nothing if there is only one. Environment variables: WORLD_SIZE (number of processes), RANK (of this one),
    MASTER_ADDR and MASTER_PORT (address of process 0; with a loopback address, no other interface is listened on).
    Call it after choosing the device: on GPUs gradients go through NCCL. Sets `solver_count` and `solver_rank`.
    Raises ParallelError.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _joined():
        return
    if not dist.is_available():
        raise ParallelError("this PyTorch is built without torch.distributed: train in one process")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ParallelError(f"WORLD_SIZE is set, but {', '.join(missing)} not: start the processes with torchrun")
    on_gpu = device.current_device().type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device.current_device())
    with _connected():
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu and dist.is_nccl_available() else "gloo",
                                timeout=_PATIENCE, **_rendezvous())
    atexit.register(_leave)
    device.set_solver_count(dist.get_world_size())
    device.set_solver_rank(dist.get_rank())
    Solver.exchange_type = GradientExchange


def _rendezvous() -> dict[str, Any]:
    """Arguments of init_process_group for processes on one machine that meet at a loopback address; {} for others.

    PyTorch's own store and connections listen on all interfaces. torchrun's store, which may exist, is used as it is.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if not _is_loopback(address):
        return {}
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", _loopback_interface())
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return {}
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    listening = socket.create_server((address, port)).detach() if rank == 0 else None
    store = dist.TCPStore(address, port, count, is_master=rank == 0, timeout=_PATIENCE, master_listen_fd=listening)
    return {"store": store, "rank": rank, "world_size": count}


def _is_loopback(address: str) -> bool:
    return address == "localhost" or address.startswith("127.")


def _loopback_interface() -> str:
    return next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _leave() -> None:
    if _joined():
        dist.destroy_process_group()


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """Report errors of torch.distributed in one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reason = re.sub(r"^\[\S+\] ", "", str(error)).split(". ")[0].split("\n")[0]    # without its source line
        raise ParallelError("another process of this run has ended or cannot be reached; its own error is shown where "
                            f"it ran ({reason or type(error).__name__})") from None


class GradientExchange(Exchange):
    """The exchange between the solvers of several processes."""

    def __init__(self, solver: Solver) -> None:
        super().__init__(solver, dist.get_world_size(), dist.get_rank())
        self._have_same_weights = False
        self._is_last = False       # whether this backward pass is the iteration's last
        self._complete_after = _last_layers(solver)
        self._unsent: dict[int, list[Blob]] = {}    # those not yet sent in this iteration
        self._waiting: list[Blob] = []              # small gradients that are complete
        self._messages: list[_Message] = []         # in flight
        solver.net.after_backward(self._after_layer)

    def begin(self) -> None:
        if not self._have_same_weights:
            with _connected():
                for blob in self.solver.net.learnable_params:
                    dist.broadcast(blob.to_update(), 0)
        self._have_same_weights = True

    def expect_last_backward(self) -> None:
        self._is_last = not self.solver.net.debug_info      # it logs gradients after the pass: send them afterwards
        self._unsent = dict(self._complete_after)

    def _after_layer(self, index: int) -> None:
        if self._is_last and index in self._unsent:
            self._send(self._unsent.pop(index))

    def _send(self, blobs: Sequence[Blob]) -> None:
        for blob in blobs:
            if blob.count < _SMALL:
                self._waiting.append(blob)
            else:
                self._messages.append(_Message([blob]))
        if sum(blob.count for blob in self._waiting) >= _BUNDLE:
            self._send_bundle()

    def _send_bundle(self) -> None:
        if self._waiting:
            self._messages.append(_Message(self._waiting))
        self._waiting = []

    def finish(self) -> None:
        for blobs in self._unsent.values():
            self._send(blobs)
        self._send_bundle()
        for message in self._messages:
            message.receive()
        self._messages, self._unsent, self._is_last = [], {}, False

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        with _connected():
            dist.all_reduce(total)
        return total / self.count

    def agree(self, action: Action) -> Action:
        weight = torch.tensor(_WEIGHT[action])
        with _connected():
            dist.all_reduce(weight, dist.ReduceOp.MAX)
        return list(_WEIGHT)[int(weight)]


def _last_layers(solver: Solver) -> dict[int, list[Blob]]:
    """Layer index -> the gradients that are complete once that layer has run backward, in backward order.

    Gradients of frozen parameters are omitted, unless clipping includes them.
    """
    net, clips = solver.net, solver.param.clip_gradients >= 0
    found: dict[int, list[Blob]] = defaultdict(list)
    for blob, lr_mult, layers in zip(net.learnable_params, net.params_lr, net.gradient_layers, strict=True):
        if layers and (lr_mult or clips):
            found[min(layers)].append(blob)
    return dict(sorted(found.items(), reverse=True))


class _Message:
    """Gradients being summed over all processes: one in place, or several in one tensor."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self._blobs = blobs if len(blobs) > 1 else []
        gradients = [blob.grad_to_update() for blob in blobs]
        self._sum = torch.cat([gradient.flatten() for gradient in gradients]) if self._blobs else gradients[0]
        with _connected():
            self._work = dist.all_reduce(self._sum, async_op=True)

    def receive(self) -> None:
        """Wait for the sums, and store them in the blobs."""
        with _connected():
            self._work.wait()
        parts = self._sum.split([blob.count for blob in self._blobs]) if self._blobs else ()
        for blob, part in zip(self._blobs, parts, strict=True):
            blob.grad.copy_(part.view(blob.shape))


def gather_arrays(array: np.ndarray) -> list[np.ndarray]:
    """The arrays of all processes, by rank, in process 0; nothing in the others.

    All processes must call it. Shapes may differ; types are numeric. Raises ParallelError.
    """
    array = np.require(array, requirements=["C", "W"])
    if not _joined():
        return [array]
    with _connected():
        if dist.get_rank():
            _send_array(array, 0)
            return []
        return [array, *(_receive_array(source) for source in range(1, dist.get_world_size()))]


def gather_values(value: Any) -> list[Any]:
    """The JSON values of all processes, by rank, in every process.

    All processes must call it, so it is also a barrier. Raises ParallelError.
    """
    if not _joined():
        return [value]
    found = [json.loads(_decode(part)) for part in gather_arrays(_encode(value))]
    text = torch.from_numpy(_encode(found))     # all of them in process 0
    size = torch.tensor(len(text))
    with _connected():
        dist.broadcast(size, 0)
        if dist.get_rank():
            text = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(text, 0)
    return json.loads(_decode(text.numpy()))


def _encode(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8).copy()


def _decode(array: np.ndarray) -> str:
    return array.tobytes().decode()


def _send_array(array: np.ndarray, target: int) -> None:
    header = _encode([str(array.dtype), array.shape])
    dist.send(torch.tensor(len(header)), target)
    dist.send(torch.from_numpy(header), target)
    if array.size:
        dist.send(torch.from_numpy(array), target)


def _receive_array(source: int) -> np.ndarray:
    size = torch.tensor(0)
    dist.recv(size, source)
    header = torch.empty(int(size), dtype=torch.uint8)
    dist.recv(header, source)
    dtype, shape = json.loads(_decode(header.numpy()))
    array = np.empty(shape, dtype)
    if array.size:
        dist.recv(torch.from_numpy(array), source)
    return array
