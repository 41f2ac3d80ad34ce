"""Learning rate policies against hand-computed values."""
import math

import pytest

import caffe
from caffe.engine.solvers import lr_policy
from caffe.errors import SolverError
from caffe.proto import caffe_pb2


def rates(iterations, **settings):
    """The learning rates at these iterations of a run through all iterations from 0."""
    param, step, found = caffe_pb2.SolverParameter(base_lr=0.5, **settings), 0, {}
    for iteration in range(max(iterations) + 1):
        step = lr_policy.current_step(param, iteration, step)
        found[iteration] = lr_policy.learning_rate(param, iteration, step)
    return [found[iteration] for iteration in iterations]


def test_fixed():
    assert rates([0, 7, 9000], lr_policy="fixed") == [0.5, 0.5, 0.5]


def test_step():
    found = rates([0, 2, 3, 5, 6], lr_policy="step", gamma=0.5, stepsize=3)
    assert found == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.125])


def test_multistep():
    found = rates([0, 3, 4, 8, 9, 100], lr_policy="multistep", gamma=0.5, stepvalue=[4, 9])
    assert found == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.125, 0.125])


def test_multistep_takes_one_step_at_a_time():
    """Also after a restore into settings with other stepvalues."""
    assert rates([4, 5, 6], lr_policy="multistep", gamma=0.5, stepvalue=[4, 4]) == pytest.approx([0.25, 0.125, 0.125])
    param = caffe_pb2.SolverParameter(lr_policy="multistep", stepvalue=[2, 4, 9])
    assert [lr_policy.current_step(param, 6, before) for before in (0, 1, 2, 3)] == [1, 2, 2, 3]


@pytest.mark.parametrize("policy", ["step", "multistep", "exp", "inv"])
def test_negative_gamma_is_refused(policy):
    with pytest.raises(SolverError, match="gamma of at least 0, found -0.5"):
        rates([0], lr_policy=policy, gamma=-0.5, stepsize=1)


def test_exp():
    assert rates([0, 1, 3], lr_policy="exp", gamma=0.5) == pytest.approx([0.5, 0.25, 0.0625])


def test_inv():
    assert rates([0, 4], lr_policy="inv", gamma=0.5, power=2) == pytest.approx([0.5, 0.5 / 9])


def test_sigmoid():
    found = rates([0, 10, 20], lr_policy="sigmoid", gamma=-0.5, stepsize=10)
    assert found == pytest.approx([0.5 / (1 + math.exp(-5)), 0.25, 0.5 / (1 + math.exp(5))])


def test_sigmoid_far_from_its_step_does_not_overflow():
    assert rates([0], lr_policy="sigmoid", gamma=1, stepsize=10**6) == [0.0]


def test_poly_goes_negative_past_max_iter():
    found = rates([0, 5, 10, 12], lr_policy="poly", power=1, max_iter=10)
    assert found == pytest.approx([0.5, 0.25, 0, -0.1])


def test_poly_of_fractional_power_ends_at_max_iter():
    assert rates([10], lr_policy="poly", power=0.5, max_iter=10) == [0]
    with pytest.raises(SolverError, match="past max_iter 10"):
        rates([11], lr_policy="poly", power=0.5, max_iter=10)


@pytest.mark.parametrize("settings", [
    {"lr_policy": "exp", "gamma": 1e38}, {"lr_policy": "step", "gamma": 1e38, "stepsize": 1},
    {"lr_policy": "inv", "gamma": 1e38, "power": -20}, {"lr_policy": "poly", "max_iter": 20, "power": -1}])
def test_learning_rates_without_a_value(settings):
    message = f"lr_policy '{settings['lr_policy']}' has no finite learning rate at iteration"
    with pytest.raises(SolverError, match=message):
        rates([20], **settings)


def test_unknown_policy_names_the_valid_ones():
    with pytest.raises(SolverError, match="'stepp'.*multistep"):
        rates([0], lr_policy="stepp")


@pytest.mark.parametrize("policy, missing", [("step", "stepsize"), ("sigmoid", "stepsize"), ("poly", "max_iter")])
def test_missing_setting_is_named(policy, missing):
    with pytest.raises(SolverError, match=missing):
        rates([0], lr_policy=policy)


def test_current_step_counts_only_stepping_policies():
    param = caffe_pb2.SolverParameter(lr_policy="multistep", stepvalue=[4, 9])
    assert [lr_policy.current_step(param, iteration, before) for iteration, before in ((3, 0), (4, 0), (9, 1))] \
        == [0, 1, 2]
    param.lr_policy = "inv"
    assert lr_policy.current_step(param, 9, 0) == 0


@pytest.mark.parametrize("settings, problem", [
    ({"base_lr": -1, "lr_policy": "fixed"}, ("base_lr", "base_lr is -1: it must be above 0, or nothing is learned")),
    ({"lr_policy": "fixed"}, ("base_lr", "base_lr is missing: it must be above 0, or nothing is learned")),
    ({"base_lr": 1}, ("lr_policy", "has no lr_policy; choose one of fixed, step, exp, inv, multistep, poly, sigmoid")),
    ({"base_lr": 1, "lr_policy": "stp"}, ("lr_policy", "lr_policy is 'stp'; did you mean step?")),
    ({"base_lr": 1, "lr_policy": "step"}, ("lr_policy", "lr_policy 'step' needs a stepsize above 0")),
    ({"base_lr": 1, "lr_policy": "multistep"}, ("lr_policy", "lr_policy 'multistep' needs a stepvalue above 0")),
    ({"base_lr": 1, "lr_policy": "multistep", "stepvalue": [3, 0]},
     ("lr_policy", "lr_policy 'multistep' needs a stepvalue above 0")),
    ({"base_lr": 1, "lr_policy": "poly"}, ("lr_policy", "lr_policy 'poly' needs a max_iter above 0")),
    ({"base_lr": 1, "lr_policy": "step", "stepsize": 9},
     ("lr_policy", "lr_policy 'step' needs a gamma: without one the learning rate falls to 0")),
    ({"base_lr": 1, "lr_policy": "exp", "gamma": -2},
     ("gamma", "gamma is -2: lr_policy 'exp' needs one of at least 0")),
    ({"base_lr": 1, "lr_policy": "fixed", "iter_size": 0}, ("iter_size", "iter_size is 0: it must be at least 1")),
    ({"base_lr": 1, "lr_policy": "fixed", "average_loss": -3},
     ("average_loss", "average_loss is -3: it must be at least 1")),
])
def test_problems_of_a_solver(settings, problem):
    assert list(caffe.solver_problems(caffe_pb2.SolverParameter(**settings))) == [problem]


@pytest.mark.parametrize("settings", [
    {"lr_policy": "fixed", "gamma": -1}, {"lr_policy": "sigmoid", "stepsize": 3, "gamma": -1},
    {"lr_policy": "multistep", "stepvalue": [3, 9], "gamma": 0.1}, {"lr_policy": "poly", "max_iter": 5, "power": 1},
    {"lr_policy": "step", "stepsize": 3, "gamma": 0}, {"lr_policy": "step", "stepsize": 9, "max_iter": 9},
    {"lr_policy": "multistep", "stepvalue": [9, 12], "max_iter": 9}])
def test_settings_without_a_problem(settings):
    assert not list(caffe.solver_problems(caffe_pb2.SolverParameter(base_lr=0.5, **settings)))
    rates([0, 1], **settings)
