"""convert_imageset, compute_image_mean and extract_features, also on the recorded databases."""
import argparse
import shutil

import cv2
import numpy as np
import pytest

import caffe
from caffe.commands import database
from caffe.commands.convert_imageset import read_datum
from caffe.proto import caffe_pb2

lmdb = pytest.importorskip("lmdb")


def read(path):
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): caffe_pb2.Datum.FromString(value) for key, value in transaction.cursor()}


def convert(run, photographs, *flags):
    run("convert_imageset", *flags, f"{photographs}/", photographs / "list.txt", photographs / "out")
    return read(photographs / "out")


def pixels(path, flag=cv2.IMREAD_COLOR):
    return cv2.imread(str(path), flag)


def test_pixels_and_labels(run, photographs):
    records = convert(run, photographs)
    assert [datum.label for datum in records.values()] == [3, 4, 5, 6, 7]
    assert list(records)[1] == "00000001_an image 1.jpg"
    for key, datum in records.items():
        image = pixels(photographs / key.partition("_")[2])
        np.testing.assert_array_equal(caffe.io.datum_to_array(datum), image.transpose(2, 0, 1))
    assert [path.name for path in (photographs / "out").iterdir()] == ["data.mdb"]


def test_gray_and_resized(run, photographs):
    datum = convert(run, photographs, "-gray", "-resize_height=4", "-resize_width", 5)["00000000_an image 0.png"]
    image = cv2.resize(pixels(photographs / "an image 0.png", cv2.IMREAD_GRAYSCALE), (5, 4))
    np.testing.assert_array_equal(caffe.io.datum_to_array(datum), image[None])


def test_encoded_images_are_the_files_themselves(run, photographs):
    for key, datum in convert(run, photographs, "-encoded").items():
        assert datum.encoded and datum.data == (photographs / key.partition("_")[2]).read_bytes()
        assert (datum.channels, datum.height, datum.width) == (3, 6, 9)


def test_images_are_encoded_again_if_anything_changes(run, photographs):
    for key, datum in convert(run, photographs, "-encode_type=png").items():
        data = (photographs / key.partition("_")[2]).read_bytes()
        assert datum.encoded and (datum.data == data) == key.endswith("png")
        image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(image, pixels(photographs / key.partition("_")[2]))


def test_shuffle_keeps_the_pairs(run, photographs):
    lines = [f"an image {index % 5}.{('png', 'jpg', 'png', 'jpeg', 'png')[index % 5]} {index}" for index in range(60)]
    (photographs / "list.txt").write_text("\n".join(lines))
    records = convert(run, photographs, "-shuffle")
    labels = [datum.label for datum in records.values()]
    assert sorted(labels) == list(range(60)) and labels != sorted(labels)
    assert all(f"{key.partition('_')[2]} {datum.label}" in lines for key, datum in records.items())


def test_broken_images_are_named_and_skipped(run, photographs):
    (photographs / "an image 2.png").write_bytes(b"no image")
    (photographs / "an image 3.jpeg").unlink()
    printed = run("convert_imageset", f"{photographs}/", photographs / "list.txt", photographs / "out").err
    assert "an image 2.png" in printed and "an image 3.jpeg" in printed and "skipped: 2" in printed
    assert [key[:8] for key in read(photographs / "out")] == ["00000000", "00000001", "00000004"]


def test_check_size(run, photographs):
    cv2.imwrite(str(photographs / "an image 4.png"), np.zeros((7, 9, 3), np.uint8))
    words = ("convert_imageset", f"{photographs}/", photographs / "list.txt", photographs / "out")
    printed = run(*words, "-check_size", fails=True).err
    assert "an image 4.png" in printed and not (photographs / "out").exists()
    run(*words)


def test_alpha_and_16_bit_files_are_not_stored_as_they_are(tmp_path):
    flags = argparse.Namespace(gray=False, encoded=True, encode_type="", resize_height=0, resize_width=0, min_dim=0,
                               max_dim=0)
    for image in (np.full((4, 5, 4), 200, np.uint8), np.full((4, 5, 3), 60000, np.uint16), np.zeros((4, 5), np.uint8)):
        path = tmp_path / "image.png"
        cv2.imwrite(str(path), image)
        stored = cv2.imdecode(np.frombuffer(read_datum(str(path), flags).data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint8 and stored.shape == (4, 5, 3)


def test_a_database_grows_and_long_names_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_FIRST_SIZE", 1 << 16)
    monkeypatch.setattr(database, "_RECORDS_AT_ONCE", 7)
    datum = caffe_pb2.Datum(data=bytes(5000))
    with database.new_database(str(tmp_path / "db")) as writer:
        for index in range(50):
            writer.put(f"{index:08d}_" + "x" * 600, datum)
    assert len(read(tmp_path / "db")) == 50


def test_an_interrupted_database_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), database.new_database(str(tmp_path / "db")) as writer:
        writer.put("a", caffe_pb2.Datum())
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


# ---- mean
def test_a_database_that_cannot_be_written(tmp_path, monkeypatch):
    def fail(*arguments, **settings):
        raise lmdb.DiskError("No space left on device")
    monkeypatch.setattr(lmdb, "open", fail)
    with pytest.raises(caffe.CaffeError, match="new: cannot write this database: No space left"), \
            database.new_database(str(tmp_path / "new")):
        pass
    assert not list(tmp_path.iterdir())


def test_mean_of_a_recorded_database(run, tmp_path, golden_files):
    source = shutil.copytree(golden_files / "db_raw.d" / "db", tmp_path / "db")
    printed = run("compute_image_mean", source, tmp_path / "mean.binaryproto").out.splitlines()
    images = np.stack([caffe.io.datum_to_array(datum) for datum in read(source).values()])
    mean = images.astype(float).mean(0)
    found = caffe_pb2.BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes())
    np.testing.assert_allclose(caffe.io.blobproto_to_array(found)[0], mean, rtol=1e-6)
    assert (found.num, found.channels) == (1, len(mean)) and not found.HasField("shape")
    assert printed == [f"Number of channels: {len(mean)}",
                       *(f"mean_value channel [{index}]: {plane.mean():.6g}" for index, plane in enumerate(mean))]


@pytest.mark.parametrize("name", ["db_jpeg.d", "db_png_gray.d", "db_float.d"])
def test_encoded_and_float_records_have_a_mean_too(run, tmp_path, golden_files, name):
    source = shutil.copytree(golden_files / name / "db", tmp_path / "db")
    records = read(source).values()
    if name == "db_float.d":
        images = [caffe.io.datum_to_array(datum) for datum in records]
    else:
        images = [cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_UNCHANGED) for datum in records]
    if len({image.shape for image in images}) > 1:
        assert "images of one size" in run("compute_image_mean", source, fails=True).err
        return
    planes = np.atleast_1d(np.mean(images, axis=(0, 2, 3) if name == "db_float.d" else (0, 1, 2)))
    assert f"mean_value channel [0]: {planes[0]:.6g}" in run("compute_image_mean", source).out


def test_a_database_of_another_kind(run, tmp_path):
    with lmdb.open(str(tmp_path / "db")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"key", b"\xff\xff no datum")
    assert "record 'key' is no Datum" in run("compute_image_mean", tmp_path / "db", fails=True).err
    (tmp_path / "db" / "CURRENT").touch()
    assert "LevelDB" in run("compute_image_mean", tmp_path / "db", fails=True).err


# ---- features
def test_features_of_each_image(run, project):
    model, net_file = project / "w.caffemodel", project / "net.prototxt"
    net = caffe.Net(str(net_file), caffe.TEST)
    net.save(str(model))
    run("extract_features", model, net_file, "conv,fc", f"{project}/a,{project}/b", 2, "lmdb", "CPU")
    wanted = [(net.forward(blobs=["conv", "fc"]), net.blobs["conv"].data.copy(), net.blobs["fc"].data.copy())[1:]
              for _ in range(2)]
    for name, values in zip("ab", map(np.concatenate, zip(*wanted, strict=True)), strict=True):
        records = read(project / name)
        assert list(records) == [f"{index:010d}" for index in range(4)]
        for datum, value in zip(records.values(), values, strict=True):
            found = caffe.io.datum_to_array(datum)
            assert found.shape == (*value.shape, 1, 1)[:3]
            np.testing.assert_allclose(found.ravel(), value.ravel(), rtol=1e-6)


@pytest.mark.parametrize("blob, told", [("con", "did you mean: conv"), ("loss", "shape ()")])
def test_blobs_without_features(run, project, blob, told):
    net = caffe.Net(str(project / "net.prototxt"), caffe.TEST)
    net.save(str(project / "w"))
    printed = run("extract_features", project / "w", project / "net.prototxt", blob, project / "a", 1, fails=True).err
    assert told in printed and not (project / "a").exists()


def test_without_lmdb_databases_say_what_to_install(run, photographs, monkeypatch):
    monkeypatch.setattr(database, "lmdb", None)
    for words in (("convert_imageset", f"{photographs}/", photographs / "list.txt", photographs / "out"),
                  ("compute_image_mean", photographs)):
        assert "databases need the package lmdb: pip install lmdb" in run(*words, fails=True).err
