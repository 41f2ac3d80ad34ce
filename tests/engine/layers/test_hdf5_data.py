"""HDF5Data: files written by the tests."""
import h5py
import numpy as np
import pytest
from layer_checker import Runner, randn, refused

from caffe.engine import device
from caffe.engine.layer import TRAIN

ROWS = {"a": randn(3, 2, 4).astype(np.float32), "b": randn(4, 2, 4, seed=1).astype(np.float32)}


@pytest.fixture
def source(tmp_path):
    for index, (name, rows) in enumerate(ROWS.items()):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x"], file["y"] = rows, 10 * index + np.arange(len(rows))
    path = tmp_path / "list.txt"
    path.write_text(f"{tmp_path}/a.h5\n{tmp_path}/b.h5\n")
    return path


def text(source, settings="", tops=("x", "y")):
    names = " ".join(f"top: '{name}'" for name in tops)
    return f"type: 'HDF5Data' {names} hdf5_data_param {{ source: '{source}' {settings} }}"


def test_batches_continue_across_files(source):
    runner = Runner(text(source, "batch_size: 5"), [], num_tops=2)
    assert [blob.shape for blob in runner.top] == [(5, 2, 4), (5,)]
    rows = np.concatenate(list(ROWS.values()))
    for start in (0, 5, 10):
        order = [n % 7 for n in range(start, start + 5)]
        x, y = runner.forward()
        assert (x == rows[order]).all() and y.tolist() == [n if n < 3 else n + 7 for n in order]


def test_one_dataset(source):
    assert Runner(text(source, "batch_size: 3", ["y"]), []).forward()[0].tolist() == [0, 1, 2]


def test_shuffle_gives_each_row_once_an_epoch(source):
    device.set_random_seed(0)
    runner = Runner(text(source, "batch_size: 7 shuffle: true"), [], num_tops=2)
    epochs = [runner.forward()[1].tolist() for _ in range(6)]
    assert all(sorted(epoch) == [0, 1, 2, 10, 11, 12, 13] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 2 and len({epoch[0] < 10 for epoch in epochs}) == 2


def files(folder, *arrays):
    for index, array in enumerate(arrays):
        with h5py.File(folder / f"{index}.h5", "w") as file:
            file["x"] = array
    (folder / "files.txt").write_text("\n".join(f"{folder}/{index}.h5" for index in range(len(arrays))))
    return folder / "files.txt"


@pytest.mark.parametrize("shapes", [[(2, 3), (3, 2)], [(2,), (3,)], [(2, 3), (6,)], [(), (4,)]])
def test_files_with_rows_of_different_shapes(tmp_path, shapes):
    rows = [np.arange(np.prod(shape)).reshape(1, *shape) for shape in shapes]
    source = files(tmp_path, *rows)
    layer = Runner(text(source, "batch_size: 1", ["x"]), [])
    for row in rows * 2:
        found, = layer.forward()
        assert found.shape == row.shape and (found == row).all()
    refused(text(source, "batch_size: 1", ["y"]), [], r"0.h5.*no dataset \['y'\]")
    layer = Runner(text(source, "batch_size: 2", ["x"]), [])
    with pytest.raises(ValueError, match=r"layer 'tested' .*one shape: 'x' has .* in .*0.h5 and .* in .*1.h5"):
        layer.forward()


def test_a_bad_file_is_named_and_the_next_pass_continues(tmp_path):
    source = files(tmp_path, np.ones((1, 2)), np.zeros((1, 2)), np.full((1, 2), 3))
    (tmp_path / "1.h5").write_bytes(b"damaged")
    layer = Runner(text(source, "batch_size: 1", ["x"]), [])
    for _ in range(2):
        assert (layer.forward()[0] == 1).all()
        with pytest.raises(ValueError, match="layer 'tested' .*1.h5.*is it cut short"):
            layer.forward()
        assert (layer.forward()[0] == 3).all()


def test_a_source_that_is_not_a_list(tmp_path):
    source = files(tmp_path, np.ones((1, 2)))
    refused(text(tmp_path / "0.h5", "batch_size: 1"), [], "'.*0.h5' is an HDF5 file: expected a text file", num_tops=2)
    source.write_bytes(b"caf\xe9.h5")
    refused(text(source, "batch_size: 1"), [], "cannot read the HDF5 file 'caf.*h5'", num_tops=2)
    source.write_bytes(b"\xef\xbb\xbf" + f"{tmp_path}/0.h5\r\n".encode())
    assert (Runner(text(source, "batch_size: 1", ["x"]), []).forward()[0] == 1).all()


def test_bad_input(source):
    refused(text(source), [], "batch_size", num_tops=2)
    refused(text("nowhere", "batch_size: 1"), [], "cannot read the list", num_tops=2)
    refused(text(source, "batch_size: 1", ["x", "z"]), [], r"no dataset \['z'\]; there are \['x', 'y'\]", num_tops=2)
    refused(text(source, "batch_size: 1") + " transform_param { scale: 2 }", [], "does not transform", num_tops=2)
    source.write_text("gone.h5")
    refused(text(source, "batch_size: 1"), [], "cannot read the HDF5 file", num_tops=2)
    source.write_text("")
    refused(text(source, "batch_size: 1"), [], "names no file", num_tops=2)
    with h5py.File(source.parent / "odd.h5", "w") as file:
        file["x"], file["y"] = np.zeros((2, 3)), np.zeros(3)
    source.write_text(str(source.parent / "odd.h5"))
    refused(text(source, "batch_size: 1"), [], "same number of rows", num_tops=2)


def test_each_of_several_processes_takes_its_turn(source, monkeypatch):
    monkeypatch.setattr(device._Settings, "solver_count", 3)
    monkeypatch.setattr(device._Settings, "solver_rank", 2)
    layer = Runner(text(source, "batch_size: 2", ["y"]), [], phase=TRAIN)
    assert [layer.forward()[0].tolist() for _ in range(2)] == [[2, 12], [1, 11]]
