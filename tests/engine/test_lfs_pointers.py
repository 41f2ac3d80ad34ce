"""A Git LFS pointer in place of a file is reported as such, whatever kind of file was expected."""
import pytest

import caffe
from caffe.commands import main
from caffe.proto import prototxt

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
DATA = "layer {{ name: 'd' type: 'Data' top: 'd' data_param {{ source: '{db}' batch_size: 1 backend: {backend} }} }}"
INPUT = "layer { name: 'd' type: 'Input' top: 'd' input_param { shape { dim: 2 dim: 3 } } }"


@pytest.fixture
def pointer(tmp_path):
    (tmp_path / "file").write_text(POINTER)
    return tmp_path / "file"


def net(tmp_path, text):
    (tmp_path / "net.pt").write_text(text)
    return str(tmp_path / "net.pt")


def test_weights_prototxts_and_solver_states(pointer, tmp_path):
    with pytest.raises(ValueError, match="file: this is a Git LFS pointer"):
        caffe.Net(net(tmp_path, INPUT), caffe.TEST, weights=str(pointer))
    with pytest.raises(prototxt.PrototxtError, match="file: this is a Git LFS pointer"):
        caffe.Net(str(pointer), caffe.TEST)
    (tmp_path / "solver.pt").write_text(f"net: '{net(tmp_path, INPUT)}' base_lr: 1 lr_policy: 'fixed'")
    with pytest.raises(ValueError, match="file: this is a Git LFS pointer"):
        caffe.SGDSolver(str(tmp_path / "solver.pt")).restore(str(pointer))


def test_means_and_matrices(pointer, tmp_path):
    infogain = INPUT + f"""layer {{ name: 'e' type: 'Input' top: 'e' input_param {{ shape {{ dim: 2 }} }} }}
        layer {{ name: 'i' type: 'InfogainLoss' bottom: 'd' bottom: 'e'
                 infogain_loss_param {{ source: '{pointer}' }} }}"""
    with pytest.raises(caffe.LayerError, match="infogain_loss_param.source: .*file: this is a Git LFS pointer"):
        caffe.Net(net(tmp_path, infogain), caffe.TEST)
    (tmp_path / "list").write_text("a.jpg 1\n")
    images = f"""layer {{ name: 'd' type: 'ImageData' top: 'd' top: 'l' image_data_param {{ source: '{tmp_path}/list' }}
                         transform_param {{ mean_file: '{pointer}' }} }}"""
    with pytest.raises(caffe.LayerError, match="mean_file: .*file: this is a Git LFS pointer"):
        caffe.Net(net(tmp_path, images), caffe.TEST)


@pytest.mark.parametrize("name", ["image", "mean"])
def test_a_damaged_mean(name, pointer, tmp_path):
    pointer.write_bytes(b"\xff\xd8\xff" if name == "image" else b"\x2a\xff\x01")
    images = f"""layer {{ name: 'd' type: 'ImageData' top: 'd' top: 'l' image_data_param {{ source: '{tmp_path}/list' }}
                         transform_param {{ mean_file: '{pointer}' }} }}"""
    (tmp_path / "list").write_text("a.jpg 1\n")
    with pytest.raises(caffe.LayerError, match="file: (this is a JPEG image|damaged)"):
        caffe.Net(net(tmp_path, images), caffe.TEST)


def test_databases(pointer, tmp_path):
    (tmp_path / "db").mkdir()
    pointer.rename(tmp_path / "db" / "data.mdb")
    with pytest.raises(caffe.LayerError, match="data.mdb: this is a Git LFS pointer"):
        caffe.Net(net(tmp_path, DATA.format(db=tmp_path / "db", backend="LMDB")), caffe.TEST)


@pytest.mark.parametrize("words", [
    ["inspect", "FILE"], ["inspect", "NET", "FILE"], ["draw", "FILE", "out.png"], ["time", "-model", "FILE"],
    ["test", "-model", "FILE", "-weights", "FILE"], ["test", "-model", "NET", "-weights", "FILE"],
    ["train", "-solver", "FILE"], ["upgrade_net", "FILE", "out"], ["upgrade_solver", "FILE", "out"],
    ["export", "NET", "FILE", "out.onnx"], ["compute_image_mean", "DB"],
    ["extract_features", "FILE", "NET", "d", "out", "1"], ["convert_imageset", "/", "FILE", "out"],
    ["convert_annoset", "/", "FILE", "out"],
    ["convert_annoset", "-anno_type=detection", "-label_map_file", "FILE", "/", "NET", "out"],
])
def test_every_command(words, pointer, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").write_text(POINTER)
    known = {"FILE": str(pointer), "NET": net(tmp_path, INPUT), "DB": str(tmp_path / "db")}
    assert main([known.get(word, word) for word in words]) == 2
    assert "this is a Git LFS pointer" in capsys.readouterr().err
