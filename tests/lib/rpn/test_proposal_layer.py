"""Proposals of the region proposal network: the pure function and the layer."""
import numpy as np
import pytest
import torch
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden
from layer_runner import run_layer, set_config

import caffe
from rpn import proposal_layer, proposal_tensors
from rpn import proposals as rpn_proposals
from rpn.generate_anchors import generate_anchors, shift_anchors
from rpn.proposal_layer import ProposalLayer
from rpn.proposals import ProposalSettings, best_first, proposals

pytestmark = pytest.mark.usefixtures("default_settings")


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


def test_each_image_of_a_batch_is_processed_as_if_alone():
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


def test_a_wrong_number_of_anchors_is_reported():
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


# ---- the same on tensors
@pytest.fixture
def gpu_rule(monkeypatch):
    """Give the array function the GPU's NMS rule, which drops boxes above the threshold."""
    monkeypatch.setattr(rpn_proposals, "nms_on", lambda gpu, dets, thresh, max_keep: caffe.nms(dets, thresh, max_keep))


def random_case(seed, height=6, width=9):
    """Scores with ties, deltas and anchors of a map; some boxes are small, some extend beyond the image."""
    rng = np.random.default_rng(seed)
    anchors = shift_anchors(generate_anchors(scales=(1, 2, 4)), height, width, 16)
    scores = rng.integers(0, 40, len(anchors)).astype(np.float32) / 64
    return scores, rng.normal(0, 0.4, (len(anchors), 4)).astype(np.float32), anchors


def check_tensors(scores, deltas, anchors, settings):
    """Check that the functions of arrays and of tensors give the same boxes and scores, and return these."""
    im_info = np.array([90, 130, 1.5], np.float32)
    want, want_scores, _ = proposals(scores, deltas, im_info, anchors, settings)
    boxes, best, number = proposal_tensors.proposals(torch.from_numpy(scores), torch.from_numpy(deltas), im_info,
                                                     torch.tensor(anchors, dtype=torch.float32), settings)
    rois, best = proposal_tensors.as_rois([(boxes, best)], [int(number)], im_info[None])
    np.testing.assert_array_equal(best.numpy(), want_scores[:, None])
    np.testing.assert_allclose(rois.numpy(), np.insert(want, 0, 0, axis=1), rtol=1e-5, atol=1e-4)
    return want, want_scores


@pytest.mark.parametrize("pre, post", [(0, 0), (-1, 7), (100, 0), (100, 30), (10_000, 300), (3, 300), (1, 1)])
@pytest.mark.parametrize("min_size, thresh", [(16, 0.7), (30, 0.3), (0, 0.9), (45, 0.7)])
def test_tensors_give_the_boxes_of_arrays_in_their_order(pre, post, min_size, thresh, gpu_rule):
    for seed in range(4):
        check_tensors(*random_case(seed), ProposalSettings(pre, post, thresh, min_size))


def test_tensors_keep_only_the_large_boxes(gpu_rule):
    """Fewer large boxes than pre_nms_top_n, and fewer than post_nms_top_n."""
    boxes, scores = check_tensors(*random_case(5), ProposalSettings(200, 150, 0.99, 40))
    assert 10 < len(boxes) < 150 and len(set(scores)) < len(scores)


def test_tensors_without_a_large_box_give_the_whole_image(gpu_rule):
    boxes, scores = check_tensors(*random_case(6), ProposalSettings(min_size=1000))
    assert boxes.tolist() == [[0, 0, 129, 89]] and scores.tolist() == [0]


def test_tensors_with_huge_deltas_are_clipped(gpu_rule):
    scores, deltas, anchors = random_case(7)
    deltas *= 1e6
    deltas[20:30] = np.inf
    check_tensors(scores, deltas, anchors, ProposalSettings(min_size=0))


@pytest.fixture
def as_gpu(monkeypatch, gpu_rule):
    """CPU tensors in place of a GPU's, of which NumPy may read only im_info."""
    def propose(blobs):
        bottom, top = [caffe.Blob() for _ in blobs], [caffe.Blob(), caffe.Blob()]
        for blob, values in zip(bottom, blobs, strict=True):
            blob.set_data(np.array(values, np.float32))
        layer = ProposalLayer()
        layer.param_str, layer.phase = PARAMS, caffe.TEST
        data = caffe.Blob.data
        with monkeypatch.context() as patch:
            patch.setattr(proposal_layer, "is_on_gpu", lambda blob: True)
            patch.setattr(rpn_proposals, "nms_gpu", lambda settings: 0)
            layer.setup(bottom, top)
            patch.setattr(caffe.Blob, "data", property(lambda blob: data.fget(blob) if blob is bottom[2] else None))
            for map_size in ((2, 3), blobs[0].shape[2:]):       # the anchors of a smaller map first, then more
                layer._anchors_on_gpu(*map_size, torch.zeros(1))
            layer.forward(bottom, top)
        return [blob.data for blob in top]
    return propose


def test_the_layer_on_a_gpu_gives_the_tops_of_the_host(as_gpu):
    blobs = some_outputs(np.random.default_rng(8), 2)
    for min_size in (16, 1000):
        set_config({"TEST.RPN_MIN_SIZE": min_size})
        want = run_layer(ProposalLayer, PARAMS, blobs, 2, caffe.TEST)
        got = as_gpu(blobs)
        np.testing.assert_array_equal(got[1], want[1])
        np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-4)
    assert len(got[0]) == 2 and got[0][:, 0].tolist() == [0, 1]


@pytest.mark.parametrize("bottom", [0, 1])
def test_nan_is_an_error_on_a_gpu_as_well(bottom, as_gpu):
    blobs = some_outputs(np.random.default_rng(3))
    blobs[bottom][0, 12, 1, 2] = np.nan
    with pytest.raises(FloatingPointError, match="ProposalLayer: .*NaN"):
        as_gpu(blobs)


@pytest.mark.parametrize("bottoms, tops, message", [(2, 1, "2 bottoms, expected 3: rpn_cls_prob_reshape, rpn_bbox"),
                                                    (3, 3, "3 tops, expected 1 to 2: rois, scores")])
def test_another_number_of_blobs_is_an_error(bottoms, tops, message):
    blobs = some_outputs(np.random.default_rng(3))[:bottoms]
    with pytest.raises(ValueError, match=f"ProposalLayer: the prototxt gives {message}"):
        run_layer(ProposalLayer, PARAMS, blobs, tops, caffe.TEST)
