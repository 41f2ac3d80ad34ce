"""Proposals of the region proposal network: the pure function and the layer."""
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import run_layer, set_config

import caffe
from fast_rcnn.config import reset_cfg
from rpn.generate_anchors import generate_anchors, shift_anchors
from rpn.proposal_layer import ProposalLayer, ProposalSettings, best_first, proposals


@pytest.fixture(autouse=True)
def default_settings():
    reset_cfg()
    yield
    reset_cfg()


def param_str(params):
    entries = {key: value for key, value in params.items() if key in ("feat_stride", "scales")}
    return "{" + ", ".join(f"'{key}': {value}" for key, value in entries.items()) + "}"


@golden("proposal", "contract")
def test_recorded_proposals(case):
    set_config(case.config)
    phase = getattr(caffe, case.params["phase"])
    blobs = [case.inputs[name] for name in ("scores", "bbox_deltas", "im_info")]
    rois, scores = run_layer(ProposalLayer, param_str(case.params), blobs, 2, phase)
    case.check("rois", rois)
    case.check("scores", scores[:, 0])


@golden("proposal", "contract")
def test_recorded_anchor_indices(case):
    phase = case.params["phase"]
    config = {key.removeprefix(f"{phase}.RPN_").lower(): value for key, value in case.config.items()
              if key.startswith(phase)}
    anchors = generate_anchors(scales=case.params.get("scales", (8, 16, 32)))
    scores, deltas = case.inputs["scores"][0], case.inputs["bbox_deltas"][0]
    _, height, width = scores.shape
    boxes, best, index = proposals(
        scores[len(anchors):].transpose(1, 2, 0).ravel(), deltas.transpose(1, 2, 0).reshape(-1, 4),
        case.inputs["im_info"][0], shift_anchors(anchors, height, width, case.params["feat_stride"]),
        ProposalSettings(**config))
    case.check("anchor_index", index)
    case.check("scores", best)
    case.check("rois", np.insert(boxes, 0, 0, axis=1))


def some_outputs(rng, num_images=1):
    return [rng.uniform(0, 1, (num_images, 18, 5, 7)), rng.normal(0, 0.3, (num_images, 36, 5, 7)),
            np.array([[80, 112, 1.5], [75, 100, 1.0]])[:num_images]]


PARAMS = "'feat_stride': 16\n'scales': [1, 2, 4]"


def test_each_image_of_a_batch_is_as_if_alone():
    blobs = some_outputs(np.random.default_rng(0), 2)
    rois, scores = run_layer(ProposalLayer, PARAMS, blobs, 2, caffe.TEST)
    for image in (0, 1):
        its_blobs = [blob[image:image + 1] for blob in blobs]
        alone, its_scores = run_layer(ProposalLayer, PARAMS, its_blobs, 2, caffe.TEST)
        mine = rois[:, 0] == image
        np.testing.assert_array_equal(rois[mine, 1:], alone[:, 1:])
        np.testing.assert_array_equal(scores[mine], its_scores)


def test_without_a_large_box_the_whole_image_is_proposed():
    set_config({"TEST.RPN_MIN_SIZE": 1000})
    rois, scores = run_layer(ProposalLayer, PARAMS, some_outputs(np.random.default_rng(1)), 2, caffe.TEST)
    np.testing.assert_array_equal(rois, [[0, 0, 0, 111, 79]])
    np.testing.assert_array_equal(scores, [[0]])


def test_huge_deltas_are_clipped_to_the_image():
    blobs = some_outputs(np.random.default_rng(2))
    blobs[1] *= 1e6
    blobs[1][0, :, 2, 3] = np.inf
    rois, = run_layer(ProposalLayer, PARAMS, blobs, 1, caffe.TEST)
    assert np.isfinite(rois).all() and (rois >= 0).all() and (rois[:, 1:] <= [111, 79, 111, 79]).all()


@pytest.mark.parametrize("bottom", [0, 1])
def test_nan_is_an_error_that_names_the_layer(bottom):
    blobs = some_outputs(np.random.default_rng(3))
    blobs[bottom][0, 12, 1, 2] = np.nan
    with pytest.raises(FloatingPointError, match="ProposalLayer: .*NaN"):
        run_layer(ProposalLayer, PARAMS, blobs, 1, caffe.TEST)


def test_a_wrong_number_of_anchors_is_explained():
    with pytest.raises(ValueError, match="ProposalLayer: 3 anchors .* need 6 .* and 12 .*, found 18 and 36"):
        run_layer(ProposalLayer, "{'feat_stride': 16, 'scales': [8]}",
                  some_outputs(np.random.default_rng(4)), 1)


@pytest.mark.parametrize("phase, most", [(0, 3), (1, 2), ("TRAIN", 3), ("TEST", 2), (caffe.TEST, 2)])
def test_the_phase_chooses_the_limits(phase, most):
    set_config({"TRAIN.RPN_POST_NMS_TOP_N": 3, "TEST.RPN_POST_NMS_TOP_N": 2})
    rois, = run_layer(ProposalLayer, PARAMS, some_outputs(np.random.default_rng(5)), 1, phase)
    assert len(rois) == most


@pytest.mark.parametrize("top_n", [0, -1, 1, 5, 40, 41, 99])
def test_best_first(top_n):
    scores = np.random.default_rng(6).integers(0, 9, 41).astype(np.float32)
    want = sorted(range(41), key=lambda i: (-scores[i], i))
    np.testing.assert_array_equal(best_first(scores, top_n), want[:top_n] if top_n > 0 else want)
