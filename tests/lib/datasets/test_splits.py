"""Synonyms of split names, divided data sets, and paths in no known format."""
import pytest
from folders_made import CAT, DOG, OX, flat_folder, voc_folder, write_image

from datasets.factory import get_imdb, splits_of, unseen_part_of, validation_part_of, with_share
from datasets.source import DatasetError, Share
from datasets.splits import find_split


@pytest.mark.parametrize("wanted, splits, found", [
    ("val", ["train", "valid"], "valid"), ("train", ["train2017", "val2017"], "train2017"), (None, ["test"], "test"),
    (None, ["trainval", "train", "val"], "trainval"), (None, ["Train", "Validation"], "Train"),
    ("test", ["testing"], "testing"),
    ("train", ["train", "train_2"], "train"), ("day", ["day", "night"], "day")])
def test_synonyms_of_split_names(wanted, splits, found):
    assert find_split(wanted, splits, "d") == found


@pytest.mark.parametrize("wanted, splits, message", [
    ("val", ["train"], "d: no split 'val'; there are: train"),
    (None, ["a", "b"], "d: there is no split train; name an"),
    ("train", ["train2014", "train2017"], "no split 'train'; there are: train2014, train2017"), ("a", [], "are: none"),
    ("train", ["all"], "d: no split 'train', as it is not divided: leave ':train' out, or divide it by --split 0.8")])
def test_splits_that_are_missing(wanted, splits, message):
    with pytest.raises(DatasetError, match=message):
        find_split(wanted, splits, "d")


def test_a_training_split_that_is_not_read_is_not_replaced_by_another(tmp_path):
    (tmp_path / "train2017").mkdir()
    with pytest.raises(DatasetError, match="train2017: no annotations of the kind that the split 'val2017' has"):
        find_split(None, ["val2017"], tmp_path)
    assert find_split("val", ["val2017"], tmp_path) == find_split(None, ["val2017"], tmp_path / "x") == "val2017"
    assert find_split(None, ["day"], tmp_path) == "day"


@pytest.fixture
def photos(tmp_path):
    return flat_folder(tmp_path / "photos", {f"p{number}": [CAT, DOG] if number else [OX] for number in range(10)})


def test_a_share_of_the_images(photos, tmp_path):
    train, test = get_imdb(f"{photos}:train@0.8"), get_imdb(f"{photos}:test@0.8")
    assert (train.num_images, test.num_images) == (8, 2)
    assert sorted([*train.image_index, *test.image_index]) == [f"p{number}" for number in range(10)]
    assert (train.name, test.name) == ("photos_train", "photos_test")
    assert train.classes == test.classes == ("__background__", "cat", "dog", "ox")
    assert get_imdb(f"{photos}@.8").image_index == train.image_index
    assert get_imdb(f"{photos}:val@0.8").image_index == test.image_index
    assert train.location == f"{photos}:train@0.8" != get_imdb(f"{photos}@0.7").location
    assert "in train; splits: train 8, test 2" in train.summary()
    assert "in test; splits: train 8, test 2" in test.summary()
    both = get_imdb(f"{photos}:test@0.8+{photos}:train@0.8")
    assert both.num_images == 10


def test_a_share_depends_on_names_only(photos, tmp_path):
    chosen = get_imdb(f"{photos}:test@0.8").image_index
    flat_folder(tmp_path / "other", {f"p{number}": [CAT] for number in reversed(range(10))})
    assert get_imdb(f"{tmp_path}/other:test@0.8").image_index == chosen


def test_a_seed_chooses_other_images(photos):
    parts = {seed: [get_imdb(f"{photos}:{split}@0.6{seed}").image_index for split in ("train", "test")]
             for seed in ("", "@0", "@2", "@12")}
    names = [f"p{number}" for number in range(10)]
    assert all(sorted([*train, *test]) == names for train, test in parts.values())
    assert len({tuple(test) for _, test in parts.values()}) == 4
    one = get_imdb(f"{photos}:test@0.6@12")
    assert one.image_index == parts["@12"][1] and one.location == f"{photos}:test@0.6@12"
    assert get_imdb(one.location).image_index == one.image_index


@pytest.mark.parametrize("name, message", [
    ("photos:train@0.01", "photos: 0.01 of its 10 images are 0: one split would be empty"),
    ("photos:day@0.5", "photos: no split 'day'; --split makes train and test"),
    ("pets@0.5", "pets: has the splits .*: --split is for data sets without; name one of them instead"),
    ("nowhere@0.5", "nowhere: there is no such folder")])
def test_shares_that_cannot_be_made(photos, pets, tmp_path, name, message):
    with pytest.raises(DatasetError, match=message):
        get_imdb(f"{tmp_path}/{name}")


def test_names_of_shares(photos, pets, tmp_path):
    assert with_share(str(photos), Share(0.8)) == f"{photos}:train@0.8"
    assert with_share(f"{photos}:test+{photos}", Share(0.75), "train") == f"{photos}:test@0.75+{photos}:train@0.75"
    odd = flat_folder(tmp_path / "a@0.5", {"x": [CAT]})
    assert get_imdb(str(odd)).num_images == 1
    assert splits_of(str(photos)) == [] and sorted(splits_of(str(pets))) == ["test", "train"]
    assert splits_of(f"{pets}:train") == splits_of(f"{photos}+{pets}") == splits_of("voc_2007_test") == []


def test_the_part_to_test_after_training(photos, pets, tmp_path):
    for name in (pets, f"{pets}:train"):
        assert unseen_part_of(str(name)) == f"{pets}:test"
    assert unseen_part_of(f"{photos}:train@0.8@3") == f"{photos}:test@0.8@3"
    for name in (photos, f"{pets}:test", f"{pets}:train+{photos}", "voc_2007_trainval", f"{tmp_path}/gone:train"):
        assert unseen_part_of(str(name)) is None
    for split, text in (("valid", "c\n"), ("trainval", "a\nb 1\nc\n")):
        (pets / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
    (pets / "ImageSets" / "Main" / "test.txt").unlink()
    assert unseen_part_of(f"{pets}:train") == f"{pets}:valid" and unseen_part_of(str(pets)) is None


def test_the_part_to_validate_on(photos, pets, tmp_path):
    def part(name):
        return validation_part_of(name, get_imdb(name).source)
    for split, text in (("val", "c\n"), ("trainval", "a\nb 1\nc\n")):
        (pets / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
    assert part(f"{pets}:train") == f"{pets}:val"
    assert {part(f"{pets}:trainval"), part(f"{pets}:val"), part(str(photos)), part(f"{photos}:train@0.8")} == {None}
    for split in ("train", "valid"):
        flat_folder(tmp_path / "more" / split, {split: [CAT]})
    assert part(f"{tmp_path}/more/train") == part(f"{tmp_path}/more") == f"{tmp_path}/more:valid"


def test_joined_with_a_path_without_a_slash(photos, tmp_path, monkeypatch):
    voc_folder(tmp_path / "more", {"x": [CAT]}, {"train": ["x"]})
    monkeypatch.chdir(tmp_path)
    assert get_imdb("more:train+photos").num_images == 11


@pytest.mark.parametrize("files, message", [
    ([], "no annotations in a known format; seen: nothing; expected PASCAL VOC, COCO, YOLO, LabelMe, CVAT, CSV, KITTI"),
    (["a.jpg", "b/c.png"], "seen: 2 images; its folders: b; the images have no annotations there; expected"),
    (["a.jpg", "x.tfrecord"], "seen: .*1 .tfrecord.*; TFRecords hold the images too: export the data set"),
    (["a.json", "a.jpg"], "seen: 1 .json, 1 images; .*a.json:1: not readable as JSON: Expecting value, column 1; exp"),
    (["all.zip"], "seen: 1 .zip; unpack the archive; expected"),
    (["readme"], "seen: 1 without ending; .* docs/own_dataset.md lists, where a reader of your own .* function$")])
def test_unknown_formats_are_reported_with_the_files_found(tmp_path, files, message):
    (tmp_path / "d").mkdir()
    for name in files:
        path = tmp_path / "d" / name
        write_image(path) if path.suffix in (".jpg", ".png") else path.write_text("x")
    with pytest.raises(DatasetError, match=f"d: {message}" if message.startswith("no") else message):
        get_imdb(str(tmp_path / "d"))


def test_files_of_no_format(tmp_path):
    (tmp_path / "x.json").write_text('{"images": [')
    with pytest.raises(DatasetError, match="x.json:1: not readable as JSON: "):
        get_imdb(str(tmp_path / "x.json"))
    with pytest.raises(DatasetError, match="y.json: there is no such file"):
        get_imdb(str(tmp_path / "y.json"))
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="x.zip: is no annotation file of a known format; unpack the archive$"):
        get_imdb(str(tmp_path / "x.zip"))
