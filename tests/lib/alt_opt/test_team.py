"""How the processes of a parallel run divide work and exchange values; one process acts as each of them."""
import contextlib
import io
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from layer_runner import make_layer, set_config
from minibatch_helpers import assert_equal_batches, data_layer, run, small_settings

import caffe
from alt_opt import driver as alt_opt
from alt_opt import team
from alt_opt.nets import TRAINED
from commands.options import choose_device, tool
from fast_rcnn.config import reset_cfg
from rpn import generate
from rpn.anchor_target_layer import AnchorTargetLayer
from utils import parallel
from utils.child_process import ChildDied
from utils.errors import UserError


@pytest.fixture
def be(monkeypatch):
    """be(rank, count) acts as one of several processes."""
    def play(rank, count):
        caffe.set_solver_count(count)
        caffe.set_solver_rank(rank)
        monkeypatch.setenv("WORLD_SIZE", str(count))
        monkeypatch.setenv("RANK", str(rank))
    yield play
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    reset_cfg()


@pytest.mark.parametrize("prefetch", [False, True])
def test_minibatches_are_distributed(be, tmp_path, prefetch):
    small_settings(IMS_PER_BATCH=2, USE_PREFETCH=prefetch)

    def batches(times, skip=0):
        layer, bottom, top = data_layer(tmp_path)
        layer.seek(skip)
        found = run(layer, bottom, top, times)
        layer.close()
        return found

    alone = batches(9)
    be(2, 3)
    assert_equal_batches(batches(3), alone[2::3])
    assert_equal_batches(batches(1, skip=2), alone[8:])


def test_layers_draw_the_numbers_of_a_single_process_in_the_same_pass(be):
    set_config({"TRAIN.RPN_BATCHSIZE": 16})
    blobs = [np.zeros((1, 12, 7, 9)), [[10, 12, 60, 44, 3]], [[112, 144, 1]], np.zeros((1, 3, 4, 5))]

    def labels(times):
        layer, bottom, top = make_layer(AnchorTargetLayer, "'feat_stride': 16\n'scales': [1, 2]", blobs, 4)
        found = []
        for _ in range(times):
            layer.forward(bottom, top)
            found.append(top[0].data.copy())
        return np.stack(found)

    alone = labels(4)
    for rank in (0, 1):
        be(rank, 2)
        np.testing.assert_array_equal(labels(2), alone[rank::2])


@pytest.mark.parametrize("num_images", [1, 2, 7, 9])
def test_proposals_are_gathered_in_order(be, monkeypatch, num_images):
    """Image i has i % 4 proposals, all of whose values are i."""
    @contextlib.contextmanager
    def pyramids_ahead(imdb, settings, images):
        yield iter(images)

    monkeypatch.setattr(generate, "pyramids_ahead", pyramids_ahead)
    monkeypatch.setattr(generate, "_proposals", lambda net, number: (
        np.full((number % 4, 4), number, np.float32), np.full((number % 4, 1), number / 10, np.float32)))
    net, imdb = SimpleNamespace(), SimpleNamespace(num_images=num_images)
    sent = {1: [], 2: []}
    for rank, arrays in sent.items():
        be(rank, 3)
        monkeypatch.setattr(caffe, "gather_arrays", lambda array, arrays=arrays: arrays.append(array) or [])
        assert generate.imdb_proposals(net, imdb) == ([], [])
    monkeypatch.setattr(caffe, "gather_arrays", lambda array: [array, *(arrays.pop(0) for arrays in sent.values())])
    be(0, 3)
    found = generate.imdb_proposals(net, imdb)
    assert sent == {1: [], 2: []}
    be(0, 1)
    for mine, wanted in zip(found, generate.imdb_proposals(net, imdb), strict=True):
        assert len(mine) == num_images
        for values, expected in zip(mine, wanted, strict=True):
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, expected)


def test_only_the_first_process_prints_but_all_report_their_errors(be, capsys):
    @tool
    def speak(argv=None):
        print("spoken")
        raise UserError("a mistake")

    for rank in (0, 1):
        be(rank, 2)
        assert speak() == 2
        printed = capsys.readouterr()
        assert printed.out == ("" if rank else "spoken\n")
        assert printed.err == f"error (rank {rank} of 2): a mistake\n"


def test_each_process_has_its_own_gpu(be, monkeypatch):
    monkeypatch.setattr(caffe, "has_gpu", lambda: True)
    be(3, 4)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device(None, False) == 1
    assert choose_device(None, True) is None
    with pytest.raises(UserError, match="--gpu 0: with torchrun.*CUDA_VISIBLE_DEVICES"):
        choose_device(0, False)


def test_a_caffe_without_parallel_training_is_reported(be, monkeypatch):
    be(0, 2)
    monkeypatch.delattr(caffe, "init_parallel")
    with pytest.raises(UserError, match="without torchrun"):
        parallel.join()


# ---- leading and following: a child writes the orders it received
CHILD = """import json, os, sys
names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE")
with open(sys.argv[1] + os.environ["RANK"], "w") as file:
    json.dump({name: os.environ.get(name) for name in names}, file)
print("printed by the child")
sys.exit(int(os.environ.get("FAIL", "0")))
"""
COMMAND = [sys.executable, "-c", CHILD]


@pytest.fixture
def told(monkeypatch, be):
    """Values gathered from the processes: a follower receives the orders in the list, then the end."""
    orders = []

    def gather(value):
        if caffe.solver_rank() == 0:
            orders.append(value)
            return [value, None]
        return [orders.pop(0), value]
    monkeypatch.setattr(caffe, "gather_values", gather)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    return orders


def test_the_first_process_leads_and_the_others_follow(told, be, tmp_path):
    be(0, 2)
    job, log = tmp_path / "job", tmp_path / "logs" / "stage1_rpn.log"
    with team.leading():
        team.run_step(COMMAND, job, "stage1_rpn", log)
    assert [type(order) for order in told] == [dict, type(None), type(None)]    # the step, its end, the end
    be(1, 2)
    team.follow(COMMAND)
    assert not told
    first, second = (json.loads((tmp_path / f"job{rank}").read_text()) for rank in (0, 1))
    assert first["MASTER_PORT"] == second["MASTER_PORT"] != "1" and int(first["MASTER_PORT"])
    assert first["TORCHELASTIC_USE_AGENT_STORE"] == "False" and first["MASTER_ADDR"] == "127.0.0.1"
    assert (first["RANK"], second["RANK"], first["WORLD_SIZE"]) == ("0", "1", "2")
    for name in ("stage1_rpn.log", "stage1_rpn.rank1.log"):
        assert (tmp_path / "logs" / name).read_text() == "printed by the child\n"


def test_followers_are_released_if_the_leader_fails_but_not_awaited_if_a_step_fails(told, be, tmp_path, monkeypatch):
    be(0, 2)
    with pytest.raises(UserError), team.leading():
        raise UserError("no such data set")
    assert told == [None]
    told.clear()
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(ChildDied, match=r"stage1_rpn \(rank 0 of 2\) died \(exit status 1\)"), team.leading():
        team.run_step(COMMAND, tmp_path / "job", "stage1_rpn", tmp_path / "log")
    assert len(told) == 1
    with pytest.raises(caffe.ParallelError), team.leading():
        raise caffe.ParallelError("lost")
    assert len(told) == 1


def test_one_process_needs_no_others(be, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with team.leading():
        team.run_step(COMMAND, tmp_path / "job", "stage1_rpn", tmp_path / "log")
    assert json.loads((tmp_path / "job0").read_text())["MASTER_PORT"] == os.environ.get("MASTER_PORT")


def test_the_number_of_processes_counts_where_it_changes_the_result(monkeypatch):
    monkeypatch.setattr(alt_opt, "net_fingerprint", lambda path: "net")
    monkeypatch.setattr(alt_opt, "param_fingerprint", lambda solver: "solver")
    nets = SimpleNamespace(max_iters=dict.fromkeys(TRAINED, 1), solver_param=str, train_net=str, rpn_test="")
    for step in alt_opt.STEPS:
        manifest = SimpleNamespace(output_hash=lambda step, name: "hash")
        run = SimpleNamespace(nets=nets, weights=None, data_digest="", settings={step.name: {}}, processes=1,
                              validation=None)
        alone = alt_opt.step_inputs(run, step, manifest)
        run.processes = 2
        assert alt_opt.step_inputs(run, step, manifest) == alone | ({"processes": "2"} if step.trains else {})


def test_a_late_stop_of_one_process_stops_all(told, be, tmp_path, monkeypatch):
    stopped = iter([True, False])
    monkeypatch.setattr(team, "run_child", lambda *arguments, **options: next(stopped))
    be(0, 2)
    assert team.run_step(COMMAND, tmp_path / "job", "stage1_rpn", tmp_path / "log") is True
    assert [type(order) for order in told] == [dict, bool]
    be(1, 2)
    monkeypatch.setattr(caffe, "gather_values", lambda value: [told.pop(0), value])
    with pytest.raises(KeyboardInterrupt):
        team.follow(COMMAND)


@pytest.mark.parametrize("local, address", [("2", "127.0.0.1"), ("1", "head")])
def test_children_on_one_machine_connect_through_loopback(told, be, tmp_path, monkeypatch, local, address):
    monkeypatch.setenv("MASTER_ADDR", "head")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    be(0, 2)
    team.run_step(COMMAND, tmp_path / "job", "stage1_rpn", tmp_path / "log")
    assert json.loads((tmp_path / "job0").read_text())["MASTER_ADDR"] == address
