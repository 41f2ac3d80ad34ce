"""Solvers: settings that would keep one from learning are found and located, and its net is found."""
from pathlib import Path

import pytest
from make_models import make_models

from checks.solver import check_solver
from utils.errors import CheckError
from utils.prototxt import net_of_solver

MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.mark.parametrize("net", ["VGG16", "VGG_CNN_M_1024", "ZF", "Tiny"])
def test_our_solvers_have_no_problem(net, tmp_path):
    make_models(net, out_dir=tmp_path)
    shipped, made = (sorted((folder / net).glob("*/*solver*.pt")) for folder in (MODELS, tmp_path))
    assert (len(shipped), len(made)) == (6, 10) and not any(check_solver(path) for path in shipped + made)


@pytest.mark.parametrize("settings, message", [
    ("base_lr: -1\nlr_policy: 'fixed'", ":1: base_lr is -1: it must be above 0"),
    ("lr_policy: 'fixed'", ":1: base_lr is missing: it must be above 0"),
    ("base_lr: 1", ":1: has no lr_policy; choose one of fixed, step"),
    ("base_lr: 1\nlr_policy: 'stp'", ":2: lr_policy is 'stp'; did you mean step?"),
    ("base_lr: 1\nlr_policy: 'step'", ":2: lr_policy 'step' needs a stepsize above 0"),
    ("base_lr: 1\nlr_policy: 'step'\nstepsize: 0", ":2: lr_policy 'step' needs a stepsize above 0"),
    ("base_lr: 1\nlr_policy: 'multistep'", ":2: lr_policy 'multistep' needs a stepvalue above 0"),
    ("base_lr: 1\nlr_policy: 'poly'", ":2: lr_policy 'poly' needs a max_iter above 0"),
    ("base_lr: 1\nlr_policy: 'exp'\ngamma: -2", ":3: gamma is -2"),
    ("base_lr: 1\nlr_policy: 'fixed'\n\niter_size: 0", ":4: iter_size is 0: it must be at least 1"),
    ("base_lr: 1\nlr_policy: 'fixed'\naverage_loss: -3", ":3: average_loss is -3: it must be at least 1"),
])
def test_errors_of_a_solver(tmp_path, settings, message):
    path = tmp_path / "solver.pt"
    path.write_text(settings)
    (problem,) = check_solver(path)
    assert problem.startswith(f"{path}{message}"), problem


def test_a_solver_must_not_test_a_net_that_only_training_feeds(tmp_path):
    """Nets with their own data may be tested."""
    data = 'layer { name: "images" type: "Python" top: "data" top: "rois" include { phase: TRAIN } %s }\n'
    (tmp_path / "own.pt").write_text(data % "")
    (tmp_path / "fed.pt").write_text(data % "include { phase: TEST }")
    path = tmp_path / "solver.pt"
    for nets, has_problem in (('net: "fed.pt" test_iter: 2', True), ('train_net: "fed.pt"', False),
                              ('net: "own.pt" test_iter: 2 test_iter: 3 test_net: "fed.pt"', True),
                              ('net: "own.pt" test_iter: 2', False),
                              ('net: "fed.pt" test_iter: 2 test_net: "own.pt"', False)):
        path.write_text(f"base_lr: 1 lr_policy: 'fixed'\n{nets}\ntest_interval: 5")
        problems = check_solver(path)
        assert [text.startswith(f"{path}:2: the solver would test fed.pt") for text in problems] == [True] * has_problem
    path.write_text("base_lr: 1 lr_policy: 'fixed' net: 'fed.pt' test_iter: 2")
    assert not check_solver(path)


def test_the_net_of_a_solver_is_found_next_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    solver, net = tmp_path / "models" / "solver.pt", tmp_path / "models" / "net.pt"
    net.write_text('name: "n"')
    solver.write_text('base_lr: 0.1\ntrain_net: "net.pt"\n')
    assert net_of_solver(solver).resolve() == net
    solver.write_text('base_lr: 0.1\n\ntrain_net: "nowhere.pt"\n')
    with pytest.raises(CheckError, match=r"solver.pt:3: the net nowhere.pt does not exist"):
        net_of_solver(solver)
    solver.write_text("base_lr: 0.1\n")
    with pytest.raises(CheckError, match="names no net"):
        net_of_solver(solver)
