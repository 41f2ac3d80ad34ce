"""CSV with and without a header: columns, coordinates, splits, images without objects, lines that cannot be used."""
import pytest
from folders_made import write_image

from datasets.factory import get_imdb
from datasets.source import DatasetError

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def write(root, images, **tables):
    for name in images:
        write_image(root / name)
    for name, text in tables.items():
        (root / f"{name}.csv").write_text(text)
    return root


def test_header_as_object_detection_tutorials_write_it(tmp_path):
    """Coordinates count from 1, as there is no 0 in any split."""
    root = write(tmp_path / "d", ["images/train/a.jpg", "images/test/b.jpg"],
                 train_labels=HEADER + "a.jpg,60,40,cat,1,2,20,30\na.jpg,60,40,dog,5,6,60,40\n",
                 test_labels=HEADER + "b.jpg,60,40,cat,3,4,5,6\n")
    data = get_imdb(str(root))
    assert data.name == "d_train" and not data.zero_based and data.classes == ("__background__", "cat", "dog")
    assert data.gt_roidb()[0]["boxes"].tolist() == [[0, 1, 19, 29], [4, 5, 59, 39]]
    assert data.summary().startswith("CSV: 2 classes, 1 images, 2 boxes in train; splits: test 1, train 1\n")
    assert get_imdb(f"{root}:test").image_index == ["b"]
    assert get_imdb(str(root / "test_labels.csv")).image_index == ["b"]
    (root / "test_labels.csv").write_text(HEADER + "b.jpg,60,40,cat,0,4,5,6\n")
    assert get_imdb(str(root)).zero_based       # one zero in any split decides


@pytest.mark.parametrize("text", [
    "image_path;x1;y1;x2;y2;label\nimages/a.jpg;0;2;20;30;cat\n",
    "xmin\tymin\txmax\tymax\tClass Name\tImageID\n0\t2\t20\t30\tcat\ta\n",
    "\n\nimage,class,x1,y1,x2,y2\na,cat,0,2,20,30\n",
    "\ufefffilename,class,xmin,ymin,xmax,ymax\r\n\"a.jpg\",\"cat\",0.0,2,20,30\r\n"])
def test_other_columns(tmp_path, text):
    root = write(tmp_path / "d", ["images/a.jpg"])
    (root / "boxes.csv").write_text(text, encoding="utf-8")
    assert get_imdb(str(root)).gt_roidb()[0]["boxes"].tolist() == [[0, 2, 20, 30]]
    (root / "boxes.csv").write_text(text.lstrip("\ufeff"), encoding="utf-16")
    assert get_imdb(str(root / "boxes.csv")).image_index == ["a"]


def test_retinanet(tmp_path):
    """No header; an image without objects has empty fields; coordinates count from 0."""
    root = write(tmp_path / "d", ["train/a.jpg", "train/b.jpg", "valid/c.jpg"])
    (root / "train" / "_annotations.csv").write_text("a.jpg,1,2,20,30,cat\nb.jpg,,,,,\na.jpg,5,6,59,39,dog\n")
    (root / "valid" / "_annotations.csv").write_text(f"{root}/valid/c.jpg,1,2,3,4,cat\n")
    data = get_imdb(str(root))
    assert data.image_index == ["a", "b"] and data.zero_based and data.classes == ("__background__", "cat", "dog")
    assert [entry["boxes"].tolist() for entry in data.gt_roidb()] == [[[1, 2, 20, 30], [5, 6, 59, 39]], []]
    for name in (f"{root}:val", str(root / "valid")):
        assert get_imdb(name).image_index == ["c"]
    assert get_imdb(str(root / "valid" / "_annotations.csv")).classes == ("__background__", "cat")


@pytest.mark.parametrize("line, message", [
    ("a.jpg,1,2,x,4,cat", "boxes.csv:2: 'x' is not a number"), ("a.jpg,1,2,3,4,", "boxes.csv:2: no class name"),
    ("a.jpg,1,2,,4,cat", "boxes.csv:2: '' is not a number"), (",1,2,3,4,cat", "1 lines name no image"),
    ("a.jpg,1,inf,3,4,cat", "not finite numbers"), ("../../../lost.jpg,1,2,3,4,cat", "leads out of"),
    ("lost.jpg,1,2,3,4,cat", "there is no such image in"), ("a.jpg,1,2", "boxes.csv:2: no class name")])
def test_lines_that_cannot_be_used(tmp_path, line, message):
    root = write(tmp_path / "d", ["a.jpg", "b.jpg"], boxes=f"b.jpg,1,2,20,30,cat\n{line}\n")
    data = get_imdb(str(root))
    assert data.image_index == ["b"] and message in data.summary()


@pytest.mark.parametrize("text", ["a.jpg,1,x,3,4,cat\n", "a.jpg,1,2\n", ""])
def test_a_training_split_of_another_form_is_not_replaced_by_the_others(tmp_path, text):
    folders, files = tmp_path / "d", tmp_path / "e"
    for root in (folders, files):
        write(root, ["train/a.jpg", "valid/b.jpg"])
    for path, content in ((folders / "train" / "_annotations.csv", text), (files / "train.csv", text),
                          (folders / "valid" / "_annotations.csv", "b.jpg,1,2,3,4,cat\n"),
                          (files / "valid.csv", "b.jpg,1,2,3,4,cat\n")):
        path.write_text(content)
    for root, file in ((folders, "train/_annotations.csv"), (files, "train.csv")):
        with pytest.raises(DatasetError, match=f"{root}/{file}: expected the columns .*; found '{text.strip()}'"):
            get_imdb(str(root))


def test_a_table_of_test_images_may_lie_beside(tmp_path):
    root = write(tmp_path / "d", ["a.jpg"], train="a.jpg,1,2,3,4,cat\n", test="id,name\n1,b.jpg\n")
    assert get_imdb(str(root)).image_index == ["a"]


def test_without_any_usable_line_the_first_error_is_reported(tmp_path):
    root = write(tmp_path / "d", ["a.jpg"], boxes="image,label,left,top,right,bottom\na.jpg,1,2,3,4,cat\n")
    with pytest.raises(DatasetError, match="no annotation can be used, such as boxes.csv:2: 'cat' is not a number"):
        get_imdb(str(root))


def test_fractions_of_the_size_are_refused(tmp_path):
    """As Open Images has them."""
    root = write(tmp_path / "d", ["a.jpg"], boxes="ImageID,LabelName,XMin,XMax,YMin,YMax\na,/m/01,0.1,0.5,0.2,1\n")
    with pytest.raises(DatasetError,
                       match="boxes.csv: no coordinate is above 1: they are fractions of the image's size"):
        get_imdb(str(root))


def test_the_size_in_the_file_is_checked(tmp_path):
    root = write(tmp_path / "d", ["a.jpg", "b.jpg"],
                 boxes=HEADER + "a.jpg,120,80,cat,2,2,40,60\nb.jpg,33,80,cat,1,2,20,30\n")
    data = get_imdb(str(root))
    assert data.gt_roidb()[0]["boxes"].tolist() == [[0.5, 0.5, 19, 29]] and data.image_index == ["a"]
    assert "b: the CSV file says (33, 80), the image's size is (60, 40)" in data.summary()


@pytest.mark.parametrize("text", ["id,name\n1,cat\n", "cat,0\ndog,1\n", "", "a,b,c,d,e,f\n"])
def test_other_tables_are_not_recognised(tmp_path, text):
    root = write(tmp_path / "d", ["a.jpg"], classes=text)
    with pytest.raises(DatasetError, match="no annotations in a known format; seen: 1 .csv, 1 images"):
        get_imdb(str(root))


def test_masks(shared_data):
    data = get_imdb(f"{shared_data}/formats/csv")
    assert data.classes[1:] == ("with_mask", "without_mask") and data.num_images == 10
    assert get_imdb(f"{shared_data}/formats/csv/valid").num_images == 5
