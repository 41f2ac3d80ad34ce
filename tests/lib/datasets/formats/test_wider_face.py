"""WIDER FACE's lists: entries without faces, invalid ones, splits, lists that cannot be used."""
import pytest
from folders_made import write_image

from datasets.factory import get_imdb
from datasets.source import DatasetError

TRAIN = """0--Parade/0_Parade_1.jpg
2
1 2 20 10 2 0 0 0 0 0
30 5 8 9 1 0 0 1 2 1
0--Parade/0_Parade_2.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Shaking/1_Shaking_3.jpg
1
5 6 7 0 0 0 0 0 0 0
"""


@pytest.fixture
def wider(tmp_path):
    root = tmp_path / "wider"
    for line in TRAIN.splitlines():
        if line.endswith(".jpg"):
            write_image(root / "WIDER_train" / "images" / line)
    write_image(root / "WIDER_val" / "images" / "0--Parade" / "v.jpg")
    (root / "wider_face_split").mkdir()
    (root / "wider_face_split" / "wider_face_train_bbx_gt.txt").write_text(TRAIN)
    (root / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text("0--Parade/v.jpg\n1\n1 2 3 4 0 0 0 0 0 0\n")
    return root


def test_official_layout(wider):
    for name in (wider, wider / "wider_face_split" / "wider_face_train_bbx_gt.txt"):
        data = get_imdb(str(name))
        assert data.image_index == ["0--Parade/0_Parade_1", "0--Parade/0_Parade_2", "1--Shaking/1_Shaking_3"]
        assert data.classes == ("__background__", "face") and data.name == "wider_train"
        assert [entry["boxes"].tolist() for entry in data.gt_roidb()] == [[[1, 2, 20, 11]], [], []]
        assert data.gt_roidb()[0]["ignored"].tolist() == [[30, 5, 37, 13]]
    assert "splits: train 3, val 1" in data.summary()
    assert "1_Shaking_3: face (5, 6, 11, 6) has no area" in data.summary()
    assert get_imdb(f"{wider}:val").gt_roidb()[0]["boxes"].tolist() == [[1, 2, 3, 5]]


@pytest.mark.parametrize("text, message", [
    ("a.jpg\nb.jpg\n", "a.jpg: expected the number of faces in the next line, found 'b.jpg'"),
    ("a.jpg\n2\n1 2 3 4\n", "a.jpg: expected a line of a face, found ''"), ("a.jpg\n", "a.jpg: expected the number"),
    ("a.jpg\n1\n1 2 3 x\n", "a.jpg: could not convert")])
def test_lists_that_cannot_be_used(wider, text, message):
    (wider / "wider_face_split" / "wider_face_train_bbx_gt.txt").write_text(text)
    with pytest.raises(DatasetError, match=f"wider_face_train_bbx_gt.txt: {message}"):
        get_imdb(str(wider))
