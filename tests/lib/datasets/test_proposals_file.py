"""Proposal files: written image by image, memory-mapped for reading, damage reported."""
import contextlib
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
from fake_net import FakeImdb, FakeNet

from datasets.proposals_file import load_proposals, save_proposals
from roi_data_layer.pyramids import Pyramid
from rpn import generate
from utils.npz import map_npz, read_npz, write_npz
from utils.ragged import Ragged, Spool


def proposals_of(*counts):
    """Boxes and scores of images with these numbers of proposals."""
    rng = np.random.default_rng(0)
    return [rng.random((count, 4)).astype(np.float32) for count in counts], [
        rng.random(count).astype(np.float32) for count in counts]


def test_arrays_of_different_lengths():
    rows = np.arange(12).reshape(6, 2)
    ragged = Ragged(rows, np.array([2, 0, 3, 1]))
    assert [array.tolist() for array in ragged] == [[[0, 1], [2, 3]], [], [[4, 5], [6, 7], [8, 9]], [[10, 11]]]
    assert ragged[-1].tolist() == [[10, 11]] and len(ragged[1:]) == 3
    assert [len(array) for array in ragged[::2]] == [2, 3]
    assert [len(array) for array in ragged.take(np.array([3, 2, 2]))] == [1, 3, 3]
    assert np.shares_memory(ragged[2], rows)
    with pytest.raises(IndexError):
        ragged[4]


def test_a_spool_gathers_rows_in_a_file(tmp_path):
    with Spool((2,), np.float32, tmp_path) as spool:
        assert spool.ragged().flat.shape == (0, 2)
        ragged = spool.extend([[[1, 2]], [], np.array([[3, 4], [5, 6]], np.float64).T]).ragged()
    assert list(tmp_path.iterdir()) == []
    assert [array.tolist() for array in ragged] == [[[1, 2]], [], [[3, 5], [4, 6]]]
    assert isinstance(ragged.flat.base, np.memmap) and ragged.flat.dtype == np.float32


def test_proposals_are_mapped(tmp_path):
    path = tmp_path / "new" / "proposals.npz"
    found = proposals_of(3, 0, 2)
    save_proposals(path, found[0], [found[1][0][:, None], *found[1][1:]], ["a", "b", "c"])
    assert [file.name for file in path.parent.iterdir()] == ["proposals.npz"]
    boxes, scores = load_proposals(path)
    assert isinstance(boxes.flat.base, np.memmap) and isinstance(scores.flat.base, np.memmap)
    for got, expected in zip([*boxes, *scores], [*found[0], *found[1]], strict=True):
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="read-only"):
        boxes[0][0, 0] = 1
    with np.load(path) as plain:
        assert {name: plain[name].dtype for name in plain.files} == {
            "boxes": np.float32, "scores": np.float32, "counts": np.int64, "images": np.dtype("<U1")}
    boxes, scores = load_proposals(path, ["c", "a"])
    assert [len(rows) for rows in boxes] == [2, 3] and isinstance(boxes.flat.base, np.memmap)


def test_proposals_that_numpy_compressed_are_read(tmp_path):
    [boxes], [scores] = proposals_of(4)
    np.savez_compressed(tmp_path / "p.npz", boxes=np.asfortranarray(boxes, np.float64), scores=scores, counts=[4],
                        images=["a"])
    np.testing.assert_array_equal(load_proposals(tmp_path / "p.npz")[0][0], boxes)


def test_inconsistent_numbers_are_refused(tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(ValueError, match="1 images of boxes, 1 of scores, 2 names"):
        save_proposals(path, *proposals_of(2), ["a", "b"])
    with pytest.raises(ValueError, match="2 boxes, but 3 scores"):
        save_proposals(path, [np.zeros((2, 4))], [np.zeros(3)], ["a"])
    with pytest.raises(ValueError, match="1 images of boxes, 2 of scores, 1 names"):
        save_proposals(path, [np.zeros((2, 4))], [np.zeros(2)] * 2, ["a"])
    assert not path.exists()
    good = {"boxes": np.zeros((3, 4)), "scores": np.zeros(3), "counts": np.array([1, 2]),
            "images": np.array(["a", "b"])}
    for wrong in ({"boxes": np.zeros((3, 5))}, {"scores": np.zeros(2)}, {"counts": np.array([1, 1])},
                  {"counts": np.array([4, -1])}, {"images": np.array(["a"])}, {"scores": np.zeros((3, 1))},
                  {"counts": np.array([[1, 2]]), "images": np.array([["a", "b"]])},
                  {"counts": np.array(3), "images": np.array("a")}):
        write_npz(path, **{**good, **wrong})
        with pytest.raises(ValueError, match="p.npz: not a file of proposals: .* do not fit together"):
            load_proposals(path)


@pytest.mark.parametrize("wrong", [
    {"boxes": np.zeros((3, 4), complex)}, {"boxes": np.zeros((3, 4), bool)}, {"scores": np.array([b"a", b"b", b"c"])},
    {"counts": np.array([b"1", b"2"])}, {"counts": np.array([1.0, 2.0])}, {"images": np.array([1, 2])}])
def test_arrays_of_another_type_are_named(tmp_path, wrong):
    write_npz(tmp_path / "p.npz", **{"boxes": np.zeros((3, 4)), "scores": np.zeros(3), "counts": np.array([1, 2]),
                                     "images": np.array(["a", "b"]), **wrong})
    [(name, array)] = wrong.items()
    told = re.escape(f"p.npz: not a file of proposals: {name} are of type {array.dtype}")
    with pytest.raises(ValueError, match=told):
        load_proposals(tmp_path / "p.npz")


def test_a_damaged_file_is_reported(tmp_path):
    path = tmp_path / "p.npz"
    write_npz(path, boxes=np.arange(4000.0))
    content = path.read_bytes()
    path.write_bytes(content[:9000] + b"?" + content[9001:])
    with pytest.raises(ValueError, match="p.npz: not a file of boxes: Bad CRC-32"):
        map_npz(path, "boxes", "boxes")
    path.write_bytes(content[:-30])
    with pytest.raises(ValueError, match="p.npz: not a file of boxes"):
        map_npz(path, "boxes", "boxes")
    with zipfile.ZipFile(path, "w") as archive, archive.open("boxes.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (3,)})
        member.write(bytes(16))
    with pytest.raises(ValueError, match="boxes.npy has 16 bytes, expected 24"):
        map_npz(path, "boxes", "boxes")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("boxes.npy", b"\x93NUMPY\x01\x00\x76\x00{'descr': ('<f8'".ljust(128))
    for read in (map_npz, read_npz):
        with pytest.raises(ValueError, match="p.npz: not a file of boxes"):
            read(path, "boxes", "boxes")
    with pytest.raises(ValueError, match="scores"):
        map_npz(path, "boxes", "scores")


def test_generating_and_saving_keep_no_proposals_in_memory(tmp_path, monkeypatch):
    """Of 80 MB only one image's proposals are in memory, plus 1 KB per image."""
    rows = np.ones((20000, 4), np.float32), np.ones((20000, 1), np.float32)
    monkeypatch.setattr(generate, "_proposals", lambda net, image: rows)
    monkeypatch.setattr(generate, "pyramids_ahead", lambda imdb, settings, images: contextlib.nullcontext(
        iter([Pyramid(np.zeros((1, 3, 2, 2)), np.ones(1), (2, 2))] * imdb.num_images)))
    imdb = FakeImdb([tmp_path / f"{index}.png" for index in range(200)], ("background",))
    tracemalloc.start()
    try:
        boxes, scores = generate.imdb_proposals(FakeNet([], {}), imdb)
        kept = tracemalloc.get_traced_memory()[0]
        save_proposals(tmp_path / "p.npz", boxes, scores, imdb.image_index)
        found = load_proposals(tmp_path / "p.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found[0]) == 200 and found[0].flat.nbytes == 64e6 and found[1].flat.nbytes == 16e6
    assert kept < 200 * 1024 and peak < 3e6
