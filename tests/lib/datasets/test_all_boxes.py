"""The file of the detections of a whole data set."""
import numpy as np
import pytest

from datasets.all_boxes import load_detections, save_detections
from utils.npz import write_npz


@pytest.mark.parametrize("wrong, told", [
    ({"dets": np.zeros((3, 4))}, "do not fit together"), ({"dets": np.zeros((2, 5))}, "do not fit together"),
    ({"dets": np.zeros((3, 5), int)}, "dets are of type int64"), ({"counts": np.array([1, 2])}, "do not fit together"),
    ({"counts": np.array([[4], [-1]])}, "do not fit together"), ({"counts": np.ones((2, 1))}, "counts are of type f"),
    ({"images": np.array(["a", "b"])}, "do not fit together"), ({"classes": np.array([1, 2])}, "classes are of type")])
def test_a_file_of_detections_whose_arrays_do_not_fit(tmp_path, wrong, told):
    good = {"dets": np.zeros((3, 5)), "counts": np.array([[1], [2]]), "images": np.array(["a"]),
            "classes": np.array(["x", "y"])}
    write_npz(tmp_path / "d.npz", **{**good, **wrong})
    with pytest.raises(ValueError, match=f"d.npz: not a file of detections: .*{told}"):
        load_detections(tmp_path / "d.npz")


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04N."])
def test_other_files_are_refused_without_advice_to_unpickle_them(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(ValueError, match="d.npz: not a file of detections: File is not a zip file$"):
        load_detections(tmp_path / "d.npz")


def test_detections_of_other_images_are_refused(tmp_path):
    path = tmp_path / "detections.npz"
    none = np.zeros((0, 5))
    save_detections(path, [[none, none], [np.ones((3, 5)), none]], ["a", "b"], ["x", "y"])
    stored = load_detections(path)
    assert [[len(dets) for dets in images] for images in stored] == [[0, 0], [3, 0]]
    with pytest.raises(ValueError, match="detections.npz: its 2 images are not the 2"):
        load_detections(path, ["b", "a"])
    with pytest.raises(ValueError, match="its 2 classes are not the 3"):
        load_detections(path, ["a", "b"], ["x", "y", "z"])
