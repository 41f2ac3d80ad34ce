"""N processes compute what one process computes with N times the iter_size."""
import ast
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe
from caffe.engine import device, parallel
from caffe.engine.solvers.exchange import Exchange
from caffe.proto import caffe_pb2, prototxt

HERE = Path(__file__).resolve().parent
PROGRAM = HERE / "parallel_program.py"


def run(folder, passes, count):
    """Run the program in `count` connected processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "caffe-fast-rcnn" / "python"), "OMP_NUM_THREADS": "1",
              "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [subprocess.Popen([sys.executable, str(PROGRAM), str(folder), str(passes)],
                                  env={**common, "RANK": str(rank)},
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for rank in range(count)]
    for process in processes:
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """{(solver, processes, rank): arrays} after training with four passes per iteration."""
    folder = tmp_path_factory.mktemp("parallel")
    for count in (1, 2):
        run(folder, 4, count)
    return {tuple(path.stem.split("_")): np.load(path) for path in folder.glob("*.npz")}


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["sgd", "clipped"])
def test_two_processes_train_as_one_with_twice_the_passes(results, solver):
    alone, first, second = (results[(solver, *key)] for key in (("1", "0"), ("2", "0"), ("2", "1")))
    for name in alone.files:
        if name != "losses":
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        np.testing.assert_allclose(first[name], alone[name], rtol=2e-5, atol=2e-6, err_msg=name)
    assert len(set(first["losses"])) == 5 and not len(second["losses"])     # process 0 logs; stopping one ends both
    assert not first["frozen_has_gradient"]


@pytest.mark.parametrize("error, told", [
    (RuntimeError("[/path/of/gloo/pair.cc:553] Connection closed by peer [127.0.0.1]:42. Check the logs!"),
     r"\(Connection closed by peer \[127.0.0.1\]:42\)"), (ValueError(""), r"\(ValueError\)")])
def test_lost_connections_are_reported_in_one_sentence(error, told):
    with pytest.raises(caffe.ParallelError, match="another process of this run has ended.*" + told), \
            parallel._connected():
        raise error


def test_without_a_parallel_environment_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    caffe.init_parallel()
    monkeypatch.setenv("WORLD_SIZE", "1")
    caffe.init_parallel()
    assert (caffe.solver_count(), caffe.solver_rank()) == (1, 0)
    assert caffe.gather_values({"a": [1]}) == [{"a": [1]}]
    np.testing.assert_array_equal(caffe.gather_arrays(np.arange(3))[0], np.arange(3))
    assert caffe.SGDSolver.exchange_type is Exchange


def test_an_incomplete_environment_is_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(caffe.ParallelError, match="RANK, MASTER_ADDR, MASTER_PORT not: start .* with torchrun"):
        caffe.init_parallel()


# ---- the order in which gradients are sent, with a torch.distributed that only records calls
class FakeWork:
    def wait(self):
        FakeDist.events.append("wait")


class FakeDist:
    ReduceOp = torch.distributed.ReduceOp
    events: list = []

    @staticmethod
    def get_world_size():
        return 2

    @staticmethod
    def get_rank():
        return 0

    @staticmethod
    def broadcast(tensor, source):
        pass

    @classmethod
    def all_reduce(cls, tensor, op=None, async_op=False):
        cls.events.append(tensor.numel())
        tensor.mul_(2)          # as if the other process had equal values
        return FakeWork()


@pytest.fixture()
def make_solver(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import parallel_program
    monkeypatch.setattr(parallel, "dist", FakeDist)
    monkeypatch.setattr(FakeDist, "events", [])

    def make(extra="", iter_size=1, exchange=parallel.GradientExchange):
        param = prototxt.parse(parallel_program.SOLVERS["sgd"] + f" lr_policy: 'fixed' random_seed: 3 "
                               f"iter_size: {iter_size} {extra}", caffe_pb2.SolverParameter())
        prototxt.parse(parallel_program.NET, param.net_param)
        cls = type("Parallel", (caffe.SGDSolver,), {"exchange_type": exchange})
        solver = cls(param)
        names = list(solver.net.layer_dict)
        solver.net.before_backward(lambda index: FakeDist.events.append(names[index]))
        return solver
    return make


def test_gradients_are_sent_while_the_layers_below_run_backward(make_solver):
    solver = make_solver(iter_size=2)
    solver.step(1)
    events = [event for event in FakeDist.events if event not in ("loss", "relu", "drop")]
    backward = ["out", "again", "first", "below", "large", "frozen", "data"]
    small = 30 * 600 + 30 + 30 * 30 + 30 + 3 * 30 + 3 + 600        # all but the large one; the shared w and b once
    assert events == [*backward, *backward[:5], 600 * 60, *backward[5:], small, "wait", "wait"]


def test_bundles_are_sent_when_they_are_large_enough(make_solver, monkeypatch):
    monkeypatch.setattr(parallel, "_BUNDLE", 500)
    solver = make_solver()
    solver.step(1)
    sent = [event for event in FakeDist.events if isinstance(event, int)]
    assert sent == [30 * 30 + 30 + 3 * 30 + 3, 30 * 600 + 30, 600 * 60, 600]


def test_sums_arrive_in_the_gradients(make_solver):
    def gradients(solver):
        found = {}
        solver.add_callback(lambda: None, lambda: found.update(
            {f"{name}{index}": blob.diff.copy() for name, blobs in solver.net.params.items()
             for index, blob in enumerate(blobs) if name != "frozen"}))
        solver.step(1)
        return found

    alone, summed = gradients(make_solver(exchange=Exchange)), gradients(make_solver())
    assert len(alone) == 10 and all(values.any() for values in alone.values())
    for name, values in alone.items():
        np.testing.assert_array_equal(summed[name], 2 * values, err_msg=name)


def test_copies_of_weights_are_rebuilt_when_those_of_process_0_arrive(make_solver, monkeypatch, bfloat16_everywhere):
    """Like PyTorch's, this broadcast writes into the memory of a tensor without increasing its version."""
    monkeypatch.setattr(FakeDist, "broadcast", lambda tensor, source: tensor.numpy().fill(0.5))
    solver = make_solver()
    with device.use_precision("bfloat16"):
        solver.net.forward()
        assert not (solver.net.params["below"][0].factor() == 0.5).all()
        solver.exchange.begin()
        assert (solver.net.params["below"][0].factor() == 0.5).all()


def test_gradients_are_sent_after_they_are_logged(make_solver):
    solver = make_solver("debug_info: true display: 1")
    solver.step(1)
    assert FakeDist.events.index(600 * 60) > FakeDist.events.index("data")


LISTENING = """
import os, sys
import caffe
caffe.set_mode_cpu()
caffe.init_parallel()
files = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
own = {os.stat(file).st_ino for file in files if os.path.exists(file)}
found = []
for table in ("tcp", "tcp6"):
    for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and int(words[9]) in own:
            found.append(words[1].split(":")[0])
assert caffe.gather_values(os.environ["RANK"]) == ["0", "1"]
print(found)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_processes_on_one_machine_listen_on_the_loopback_only():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {key: value for key, value in os.environ.items() if not key.endswith("SOCKET_IFNAME")}
    processes = [subprocess.Popen([sys.executable, "-c", LISTENING], text=True, stdout=subprocess.PIPE,
                                  env={**environment, "RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                                       "MASTER_PORT": port, "PYTHONPATH": os.pathsep.join(sys.path)})
                 for rank in ("0", "1")]
    found = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    addresses = {address for text in found for address in ast.literal_eval(text)}
    assert addresses == {"0100007F"}
