"""Data: databases written by the tests; cropping, mirroring, decoding."""
import sys

import cv2
import numpy as np
import pytest
from layer_checker import Runner, refused

from caffe.engine import device
from caffe.engine.layer import TRAIN
from caffe.proto import caffe_pb2

lmdb = pytest.importorskip("lmdb")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 8), dtype=np.uint8)


def write(folder, datums):
    with lmdb.open(str(folder), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for key, datum in datums:
            transaction.put(key.encode(), datum.SerializeToString())
    return folder


def plain(image, label):
    return caffe_pb2.Datum(channels=image.shape[0], height=image.shape[1], width=image.shape[2], data=image.tobytes(),
                           label=label)


@pytest.fixture
def database(tmp_path):
    return write(tmp_path / "db", [(f"{n:03}", plain(image, n)) for n, image in enumerate(IMAGES)])


def runner(database, settings="", transform="", num_tops=2, phase=1):
    return Runner(f"type: 'Data' data_param {{ source: '{database}' backend: LMDB {settings} }} "
                  f"transform_param {{ {transform} }}", [], num_tops, phase)


def test_batches_wrap_around_the_end(database):
    layer = runner(database, "batch_size: 2")
    assert layer.top[0].shape == (2, 3, 6, 8)
    for batch in ([0, 1], [2, 3], [4, 0], [1, 2]):
        data, labels = layer.forward()
        assert (data == IMAGES[batch]).all() and labels.tolist() == batch


def test_keys_are_read_in_order(tmp_path):
    folder = write(tmp_path / "db", [(key, plain(IMAGES[n], n)) for n, key in enumerate("cab")])
    assert runner(folder, "batch_size: 3").forward()[1].tolist() == [1, 2, 0]


def test_crop_mean_and_scale(database):
    layer = runner(database, "batch_size: 1", "crop_size: 4 mean_value: 10 mean_value: 20 mean_value: 30 scale: 0.5",
                   num_tops=1)
    wanted = (IMAGES[:1, :, 1:5, 2:6] - np.array([10.0, 20, 30])[:, None, None]) * 0.5
    np.testing.assert_allclose(layer.forward()[0], wanted)


def test_mean_file_is_cropped_at_the_same_place(database, tmp_path):
    mean = np.random.default_rng(1).random((3, 6, 8)).astype(np.float32)
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(caffe_pb2.BlobProto(num=1, channels=3, height=6, width=8, data=mean.ravel()).SerializeToString())
    layer = runner(database, "batch_size: 1", f"crop_size: 4 mean_file: '{path}'")
    np.testing.assert_allclose(layer.forward()[0], (IMAGES[:1] - mean)[:, :, 1:5, 2:6], rtol=1e-6)


def test_train_crops_and_mirrors_at_random(database):
    device.set_random_seed(1)
    layer = runner(database, "batch_size: 5", "crop_size: 4 mirror: true", num_tops=1, phase=TRAIN)
    seen = set()
    for _ in range(40):
        found = layer.forward()[0][0]
        places = [(y, x, flip) for y in range(3) for x in range(5) for flip in (1, -1)
                  if (IMAGES[0, :, y:y + 4, x:x + 4] == found[:, :, ::flip]).all()]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) > 15


@pytest.mark.parametrize("settings, transform, channels", [
    ("", "", 1), ("", "force_color: true", 3), ("force_encoded_color: true", "", 3)])
def test_encoded_images(tmp_path, settings, transform, channels):
    grey = IMAGES[0, 0]
    datum = caffe_pb2.Datum(encoded=True, label=7, data=cv2.imencode(".png", grey)[1].tobytes())
    data, labels = runner(write(tmp_path / "db", [("a", datum)]), f"batch_size: 1 {settings}", transform).forward()
    assert data.shape == (1, channels, 6, 8) and (data == grey).all() and labels == [7]


def test_colour_and_grey_at_once_are_refused(tmp_path):
    datum = caffe_pb2.Datum(encoded=True, data=cv2.imencode(".png", IMAGES[0, 0])[1].tobytes())
    with pytest.raises(ValueError, match="either force_color or force_gray"):
        runner(write(tmp_path / "db", [("a", datum)]), "batch_size: 1", "force_color: true force_gray: true")


def test_float_records(tmp_path):
    values = np.arange(12.0)
    datum = caffe_pb2.Datum(channels=2, height=2, width=3, float_data=values)
    layer = runner(write(tmp_path / "db", [("a", datum)]), "batch_size: 1")
    assert (layer.forward()[0].ravel() == values).all()


def test_rand_skip(database):
    device.set_random_seed(0)
    assert {int(runner(database, "batch_size: 1 rand_skip: 4").forward()[1][0]) for _ in range(30)} == {0, 1, 2, 3}


def test_bad_input(database, tmp_path):
    refused("type: 'Data' data_param { source: 'nowhere' batch_size: 1 backend: LMDB }", [], "cannot open", num_tops=1)
    refused("type: 'Data' data_param { source: 'db' batch_size: 1 }", [], "'db': there is no such folder", num_tops=1)
    refused(f"type: 'Data' data_param {{ source: '{database}' batch_size: 1 }}", [], "set `backend: LMDB`", num_tops=1)
    text = f"type: 'Data' data_param {{ source: '{database}' backend: LMDB"
    refused(text + "}", [], "batch_size", num_tops=1)
    refused(text + " batch_size: 1 } transform_param { crop_size: 7 }", [], "crop_size 7 is more", num_tops=1)
    refused(text + " batch_size: 1 } transform_param { mean_file: 'x' mean_value: 1 }", [], "either", num_tops=1)
    refused(text + " batch_size: 1 } transform_param { mean_file: 'x' }", [], "cannot read mean_file", num_tops=1)
    with pytest.raises(ValueError, match="each of 3 channels, found 2"):
        runner(database, "batch_size: 1", "mean_value: 1 mean_value: 2").forward()
    broken = write(tmp_path / "broken", [("a", caffe_pb2.Datum(channels=3, height=2, width=2, data=b"123"))])
    refused(f"type: 'Data' data_param {{ source: '{broken}' backend: LMDB batch_size: 1 }}", [], "has 3 values")
    empty = write(tmp_path / "empty", [])
    refused(f"type: 'Data' data_param {{ source: '{empty}' backend: LMDB batch_size: 1 }}", [], "is empty")
    mixed = write(tmp_path / "mixed", [("a", plain(IMAGES[0], 0)), ("b", plain(IMAGES[0, :, :4], 0))])
    with pytest.raises(ValueError, match="one shape"):
        runner(mixed, "batch_size: 2").forward()


def raw(folder, *values):
    with lmdb.open(str(folder), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for number, value in enumerate(values):
            transaction.put(b"%03d" % number, value)
    return folder


DATUM = plain(IMAGES[0], 7).SerializeToString()
BAD = {"cannot decode": caffe_pb2.Datum(encoded=True, data=b"junk").SerializeToString(),
       "has 4 values": caffe_pb2.Datum(channels=3, height=2, width=2, data=b"1234").SerializeToString(),
       r"is no Datum with channels.*\(0, 0, 0\)$": caffe_pb2.Datum(data=b"1234").SerializeToString(),
       r"channels.*\(3, 0, 2\)$": caffe_pb2.Datum(channels=3, width=2).SerializeToString(),
       r"channels.*\(-3, -2, 2\)$": caffe_pb2.Datum(channels=-3, height=-2, width=2, data=b"1" * 12
                                                    ).SerializeToString(),
       "AnnotatedDatum of SSD": b"\x0a" + bytes([len(DATUM) & 0x7F | 0x80, len(DATUM) >> 7]) + DATUM,
       "is no Datum: ": b"hello world!!"}


@pytest.mark.parametrize("told", BAD)
def test_a_bad_record_is_named_and_the_next_pass_continues(tmp_path, told):
    layer = runner(raw(tmp_path / "db", DATUM, BAD[told], DATUM), "batch_size: 1")
    for _ in range(2):
        assert layer.forward()[1] == [7]
        with pytest.raises(ValueError, match=rf"layer 'tested' .*database '.*db', record '001'.*{told}"):
            layer.forward()
        assert layer.forward()[1] == [7]


@pytest.mark.parametrize("told", BAD)
def test_a_bad_first_record(tmp_path, told):
    folder = raw(tmp_path / "db", BAD[told])
    refused(f"type: 'Data' data_param {{ source: '{folder}' backend: LMDB batch_size: 1 }}", [],
            f"record '000'.*{told}")


def test_a_damaged_database_repeats_its_error(tmp_path):
    folder = raw(tmp_path / "db", *[DATUM] * 100)
    layer = runner(folder, "batch_size: 30")
    data = bytearray((folder / "data.mdb").read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 + 10] ^= 8
    (folder / "data.mdb").write_bytes(data)
    for _ in range(3):
        with pytest.raises(ValueError, match="layer 'tested' .*data.mdb is damaged"):
            for _ in range(4):
                layer.forward()


def test_each_of_several_processes_takes_its_turn(database, monkeypatch):
    monkeypatch.setattr(device._Settings, "solver_count", 2)
    monkeypatch.setattr(device._Settings, "solver_rank", 1)
    layer = runner(database, "batch_size: 2", phase=0)
    assert [layer.forward()[1].tolist() for _ in range(3)] == [[1, 3], [0, 2], [4, 1]]
    assert runner(database, "batch_size: 3").forward()[1].tolist() == [0, 1, 2]     # TEST reads all records


def test_without_lmdb_it_says_what_to_install(database, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    refused(f"type: 'Data' data_param {{ source: '{database}' backend: LMDB batch_size: 1 }}", [], "pip install lmdb")


# ---- LevelDB
@pytest.fixture
def level_database(tmp_path):
    plyvel = pytest.importorskip("plyvel")
    with plyvel.DB(str(tmp_path / "level"), create_if_missing=True) as level:
        for n, image in enumerate(IMAGES):
            level.put(f"{n:03}".encode(), plain(image, n).SerializeToString())
    return tmp_path / "level"


def test_leveldb_is_the_default_backend(level_database):
    text = f"type: 'Data' data_param {{ source: '{level_database}' batch_size: 2 }}"
    layer, other = Runner(text, [], 2), Runner(text, [], 2)     # LevelDB itself opens a folder only once
    for batch in ([0, 1], [2, 3], [4, 0]):
        data, labels = layer.forward()
        assert (data == IMAGES[batch]).all() and labels.tolist() == batch
    assert other.forward()[1].tolist() == [0, 1]


def test_leveldb_errors(level_database):
    refused(f"type: 'Data' data_param {{ source: '{level_database}' batch_size: 1 backend: LMDB }}", [],
            "set `backend: LEVELDB`")
    (level_database / "CURRENT").write_text("nothing\n")
    refused(f"type: 'Data' data_param {{ source: '{level_database}' batch_size: 1 }}", [], "cannot open the LevelDB")


def test_without_plyvel_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plyvel", None)
    (tmp_path / "CURRENT").touch()
    refused(f"type: 'Data' data_param {{ source: '{tmp_path}' batch_size: 1 }}", [], "pip install plyvel")


def test_resize_param(database):
    layer = runner(database, "batch_size: 2", "crop_size: 4 resize_param { height: 9 width: 5 "
                                              "resize_mode: FIT_SMALL_SIZE }")
    resized = [cv2.resize(image.transpose(1, 2, 0), (12, 9)).transpose(2, 0, 1) for image in IMAGES[:2]]
    wanted = np.stack(resized)[:, :, 2:6, 4:8]
    assert layer.top[0].shape == (2, 3, 4, 4) and (layer.forward()[0] == wanted).all()
