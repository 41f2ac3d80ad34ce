"""The peers that experiments/benchmarks/accuracy.py trains: torchvision's Faster R-CNN and SSD300."""
import importlib
import json

import numpy as np
import pytest
import test_net
from google.protobuf import text_format

import caffe
import caffe.commands

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "accuracy"


@pytest.fixture
def peer(program):
    pytest.importorskip("torchvision")
    return importlib.import_module("accuracy_parts.torchvision_peer")


def test_batches_of_the_peer(peer, demo_data):
    from datasets.factory import get_imdb
    imdb = get_imdb(f"{demo_data}:trainval")
    imdb.image_sizes = lambda: [(10, 10), (30, 10), (10, 10), (30, 10), (10, 10), (10, 10)]
    order = peer.batches(imdb, 3)
    found = [next(order) for _ in range(60)]
    wide = [{index in (1, 3) for index, _ in batch} for batch in found]
    assert all(len(shapes) == 1 for shapes in wide) and {True} in wide and {False} in wide
    counts = np.bincount([index for batch in found for index, _ in batch])
    assert counts.min() >= 19 and counts.max() <= 21
    assert 0.3 < np.mean([mirrored for batch in found for _, mirrored in batch]) < 0.7


def test_flipped_examples_of_the_peer(peer, demo_data):
    from datasets.factory import get_imdb
    imdb = get_imdb(f"{demo_data}:trainval")
    objects = imdb.gt_roidb()
    image, target = peer.load_example(imdb, objects, 0, False)
    mirrored, turned = peer.load_example(imdb, objects, 0, True)
    x1, y1, x2, y2 = target["boxes"][0].int().tolist()
    a1, b1, a2, b2 = turned["boxes"][0].int().tolist()
    assert (image[:, y1:y2, x1:x2].flip(2) == mirrored[:, b1:b2, a1:a2]).all()
    assert target["boxes"][0].tolist() == (np.array(objects[0]["boxes"][0]) + (0, 0, 1, 1)).tolist()


def test_the_peer_preprocesses_images_as_the_weights_expect(peer, shared_data):
    import torch
    weights = shared_data / "imagenet" / "VGG16_convs.caffemodel"
    model = peer.make_model(3, weights, (40, 60))
    rng = np.random.default_rng(0)
    bgr = rng.integers(0, 256, (40, 50, 3)).astype(np.float32)
    rgb = torch.from_numpy(np.ascontiguousarray(bgr[:, :, ::-1])).permute(2, 0, 1) / 255
    images, _ = model.transform([rgb])
    first = model.backbone[0]
    found = first(images.tensors)[:, :, :40, :50]
    blob = torch.from_numpy(bgr - np.array(peer.MEANS[::-1], np.float32)).permute(2, 0, 1)[None]
    expected = torch.nn.functional.conv2d(blob, first.weight.flip(1), first.bias, padding=1)
    np.testing.assert_allclose(found.detach().numpy()[:, :, :-1, :-1], expected.detach().numpy()[:, :, :-1, :-1],
                               atol=0.01)
    assert float(first.weight[0, 2, 0, 0]) == pytest.approx(0.42947057)
    frozen = [name for name, weight in model.backbone.named_parameters() if not weight.requires_grad]
    assert frozen == [f"{index}.{kind}" for index in (0, 2, 5, 7) for kind in ("weight", "bias")]


@pytest.fixture
def linear_model():
    """A model of one layer whose loss is random, as a detector's is that samples its anchors."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def forward(self, images, targets):
            self.found = self.layer(torch.stack(images))
            return {"loss": (self.found + torch.randn(2)).square().sum()}

    return Model


def test_the_peer_resumes(peer, linear_model, tmp_path):
    import torch

    def training():
        torch.manual_seed(1)
        return peer.Training(linear_model(), 26, 4)

    examples = [(torch.arange(3.0) + row, {}) for row in range(2)]
    straight = training()
    losses = [straight.step(examples) for _ in range(26)]
    stopped = training()
    first = [stopped.step(examples) for _ in range(5)]
    stopped.save(tmp_path / "c.npz")
    resumed = training()
    resumed.load(tmp_path / "c.npz")
    assert first + [resumed.step(examples) for _ in range(21)] == losses
    assert straight.solver.param_groups[0]["lr"] == pytest.approx(0.0025 * 0.01)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_of_the_peer(peer, linear_model, precision):
    import torch
    model = linear_model()
    peer.Training(model, 26, 4, precision).step([(torch.ones(3), {})])
    assert str(model.found.dtype) == f"torch.{precision}" and model.layer.weight.grad.dtype == torch.float32


@pytest.fixture
def ssd300(program):
    pytest.importorskip("lmdb")
    return importlib.import_module("accuracy_parts.ssd300")


@pytest.mark.slow
def test_ssd_trains_is_tested_and_resumes(ssd300, demo_data, tmp_path, monkeypatch):
    commands = []

    def run(command, name, log, environment=None):
        commands.append(command)
        if command[1] == "-m":
            assert command[2] == "caffe" and caffe.commands.main(command[3:]) == 0
        else:
            assert command[1].endswith("test_net.py") and test_net.main(command[2:]) == 0

    monkeypatch.setattr(ssd300, "run_child", run)
    monkeypatch.setattr(ssd300, "BATCH", 1)
    (tmp_path / "net.prototxt").write_text("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 4, 5] } } }
        layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1"
                convolution_param { num_output: 64 kernel_size: 3 weight_filler { type: "xavier" } } }""")
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(tmp_path / "start.caffemodel"))
    words = ["--imdb", f"{demo_data}:trainval", "--test_imdb", f"{demo_data}:test", "--weights",
             str(tmp_path / "start.caffemodel"), "--images", "2", "--points", "2", "--output", str(tmp_path / "out")]
    assert ssd300.main(words) == 0
    points = json.loads((tmp_path / "out" / "points.json").read_text())
    assert [point["images"] for point in points] == [1, 2] and 0 < points[0]["seconds"] < points[1]["seconds"]
    solver = caffe.io.caffe_pb2.SolverParameter()
    text_format.Parse((tmp_path / "out" / "training" / "SSD300" / "ssd" / "solver.pt").read_text(), solver)
    assert (solver.max_iter, solver.snapshot, list(solver.stepvalue)) == (2, 1, [1, 1, 2])
    assert {"ap50", "ap"} <= set(points[0]) and (tmp_path / "out" / "tests" / "2" / "detections.npz").is_file()
    for path in tmp_path.rglob("*_iter_2.*"):
        path.unlink()
    assert ssd300.main(words) == 0
    first, *_, last = commands
    assert "-weights" in first and last[-3].endswith("_iter_1.solverstate") and len(commands) == 4
    assert ssd300.main(words) == 0 and len(commands) == 4
