"""SSD300: the files generated for a folder of databases, their contents, and the consistency of the nets."""
import cv2
import make_models
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2
from net_definitions.ssd_data import read_ssd_data
from utils.prototxt import read_net, read_solver

lmdb = pytest.importorskip("lmdb")


@pytest.fixture
def data(tmp_path):
    """A folder of databases: 2 images in trainval, 12 in test, two classes."""
    folder = tmp_path / "data"
    folder.mkdir()
    image = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))[1].tobytes()
    for split, count in (("trainval", 2), ("train", 1), ("test", 12)):
        with lmdb.open(str(folder / f"{split}_lmdb"), map_size=1 << 22) as environment, \
                environment.begin(write=True) as transaction:
            for number in range(count):
                record = caffe_pb2.AnnotatedDatum(type=0, datum=caffe_pb2.Datum(encoded=True, data=image))
                record.annotation_group.add(group_label=1 + number % 2).annotation.add(
                    bbox=dict(xmin=0.2, ymin=0.1, xmax=0.7, ymax=0.8))
                transaction.put(b"%03d" % number, record.SerializeToString())
        (folder / f"{split}_name_size.txt").write_text("image 30 40\n" * count)
    (folder / "labelmap.prototxt").write_text("".join(
        f"item {{ name: '{name}' label: {label} }}\n" for label, name in enumerate(("none_of_the_above", "cat", "ox"))))
    return folder


@pytest.fixture
def made(data, tmp_path, capsys):
    assert make_models.main(["--net", "SSD300", "--data", str(data), "--out", str(tmp_path / "out")]) == 0
    assert f"SSD300: 4 files in {tmp_path}/out/SSD300/ssd" in capsys.readouterr().out
    return tmp_path / "out" / "SSD300" / "ssd"


def layers(path):
    return {layer.name: layer for layer in read_net(path).layer}


def test_the_files_name_each_other_and_the_data(made, data):
    solver, train, test = read_solver(made / "solver.pt"), layers(made / "train.pt"), layers(made / "test.pt")
    assert (solver.train_net, list(solver.test_net)) == (f"{made}/train.pt", [f"{made}/test.pt"])
    assert (train["data"].data_param.source, test["data"].data_param.source) == (
        f"{data}/trainval_lmdb", f"{data}/test_lmdb")
    assert (test["data"].data_param.batch_size, list(solver.test_iter)) == (6, [2])
    assert test["detection_eval"].detection_evaluate_param.name_size_file == f"{data}/test_name_size.txt"
    assert (solver.eval_type, list(solver.stepvalue)) == ("detection", [80000, 100000, 120000])


def test_published_hyperparameters(made):
    train = layers(made / "train.pt")
    assert len(train["data"].annotated_data_param.batch_sampler) == 7
    assert [train[name].convolution_param.num_output for name in (
        "fc7_mbox_conf", "conv4_3_norm_mbox_conf", "conv9_2_mbox_loc")] == [18, 12, 16]
    assert [train["fc6"].convolution_param.dilation[0], train["fc6"].convolution_param.pad[0]] == [6, 6]
    assert train["mbox_loss"].multibox_loss_param.num_classes == 3
    deploy = layers(made / "deploy.pt")
    assert "mbox_loss" not in deploy and deploy["detection_out"].detection_output_param.nms_param.top_k == 400


def small_net(path, phase):
    """The net with zero weights, and a batch size of 1 if it reads data."""
    net = read_net(path)
    for layer in net.layer:
        layer.convolution_param.ClearField("weight_filler")
    if net.layer[0].type == "AnnotatedData":
        net.layer[0].data_param.batch_size = 1
    return caffe.Net(net, phase)


def test_the_nets_fit_together(made):
    """All layers accept the shapes for 8732 default boxes, and the three nets have the same parameters."""
    nets = [small_net(made / f"{name}.pt", phase) for name, phase in (
        ("train", caffe.TRAIN), ("test", caffe.TEST), ("deploy", caffe.TEST))]
    shapes = [{name: [blob.shape for blob in blobs] for name, blobs in net.params.items()} for net in nets]
    assert shapes[0] == shapes[1] == shapes[2] and {"conv1_1", "conv5_3", "fc6", "conv4_3_norm"} <= set(shapes[0])
    assert [net.outputs for net in nets] == [["mbox_loss"], ["detection_eval"], ["detection_out"]]
    assert nets[0].blobs["mbox_priorbox"].shape == (1, 2, 4 * 8732)


def test_without_test_data_there_is_no_test_net(data, tmp_path):
    (data / "test_lmdb").rename(data / "other")
    paths = make_models.make_ssd(data, tmp_path / "out")
    assert sorted(path.name for path in paths) == ["deploy.pt", "solver.pt", "train.pt"]
    assert not read_solver(tmp_path / "out" / "SSD300" / "ssd" / "solver.pt").test_iter


def test_mistakes(data, tmp_path, capsys):
    for words, told in (
            (["--net", "SSD300", "--out", str(tmp_path / "x")], "--net SSD300 needs --data and --out"),
            (["--net", "SSD300", "--data", str(data)], "--net SSD300 needs --data and --out"),
            (["--net", "Tiny", "--data", str(data), "--out", str(tmp_path / "x")], "no other net takes --data"),
            (["--net", "SSD300", "--data", str(tmp_path), "--out", str(tmp_path / "x")],
             "expected databases trainval_lmdb or train_lmdb or training_lmdb, as tools/convert_data.py --to ssd")):
        assert make_models.main(words) == 2
        assert told in capsys.readouterr().err
    (data / "labelmap.prototxt").unlink()
    assert make_models.main(["--net", "SSD300", "--data", str(data), "--out", str(tmp_path / "x")]) == 2
    assert "cannot read what tools/convert_data.py --to ssd writes" in capsys.readouterr().err
    assert not (tmp_path / "x" / "SSD300").exists()


def test_the_batch_size_divides_the_number_of_test_images(data):
    found = read_ssd_data(data)
    assert [found._replace(num_test=number).test_batch for number in (4952, 12, 13, 21)] == [8, 6, 1, 7]
