"""Files that are damaged, link to other files, or expand beyond memory: one message names them."""
import os
import struct

import cv2
import h5py
import numpy as np
import pytest

import caffe
from caffe.__main__ import main
from caffe.atomic import atomic_path
from caffe.commands.running import guarded
from caffe.engine.bases.image_files import declared_size, decode_image
from caffe.engine.bases.lmdb_database import LmdbDatabase
from caffe.engine.files.caffemodel import read_weights
from caffe.engine.files.solverstate import read_state
from caffe.errors import WireError
from caffe.proto import caffe_pb2
from caffe.without_skimage import imread

lmdb = pytest.importorskip("lmdb")
PAGE = 4096
NET = """layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }
layer { name: 'fc' type: 'InnerProduct' bottom: 'x' top: 'y' inner_product_param { num_output: 4 } }"""


# ---- LMDB
@pytest.fixture
def database(tmp_path):
    """A database of 300 records, two thirds of them longer than a page."""
    numbers = np.random.default_rng(0)
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 23) as environment, environment.begin(write=True) as transaction:
        for index in range(300):
            transaction.put(b"%05d" % index, numbers.bytes((100, 2500, 9000)[index % 3]))
    return tmp_path / "db"


def damage(folder, change):
    """Write a copy of the database beside it, with `change` applied to its file."""
    data = bytearray((folder / "data.mdb").read_bytes())
    other = folder.with_name("other")
    other.mkdir(exist_ok=True)
    changed = change(data)
    (other / "data.mdb").write_bytes(data if changed is None else changed)
    return other


def tree_pages(data):
    """The pages that hold the tree: branches and leaves."""
    return [page for page in range(2, len(data) // PAGE)
            if struct.unpack_from("<Q", data, page * PAGE)[0] == page and data[page * PAGE + 10] in (1, 2)]


def test_records_are_those_that_lmdb_reads(database):
    with lmdb.open(str(database), readonly=True, lock=False) as environment, environment.begin() as transaction:
        wanted = [(key.decode(), value) for key, value in transaction.cursor()]
    found = LmdbDatabase(database)
    assert len(found) == 300 and list(found.records()) == wanted == list(found.records())


def test_empty_database(tmp_path):
    lmdb.open(str(tmp_path / "empty")).close()
    assert len(LmdbDatabase(tmp_path / "empty")) == 0 and not list(LmdbDatabase(tmp_path / "empty").records())


@pytest.mark.parametrize("size", [0, 100, PAGE, 2 * PAGE, 3 * PAGE, 100_000, -PAGE, -1])
def test_a_database_that_is_cut_short(database, size):
    with pytest.raises(WireError, match="other/data.mdb is (cut short|no LMDB database)"):
        LmdbDatabase(damage(database, lambda data: data[:size])).records()


def test_a_database_with_damaged_pages_never_ends_the_process(database):
    numbers = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        def flip(data):
            page = numbers.choice(tree_pages(data))
            for _ in range(2):
                data[page * PAGE + numbers.integers(200)] ^= 1 << numbers.integers(8)
        try:
            list(LmdbDatabase(damage(database, flip)).records())
        except WireError as error:
            refused += 1
            assert "other/data.mdb is damaged" in str(error)
    assert refused > 50


def test_pages_that_lead_to_themselves(database):
    def loop(data):
        branch = next(page for page in tree_pages(data) if data[page * PAGE + 10] == 1)
        place, = struct.unpack_from("<H", data, branch * PAGE + 16)
        struct.pack_into("<HHH", data, branch * PAGE + place, branch, 0, 0)
    with pytest.raises(WireError, match="is damaged at page"):
        list(LmdbDatabase(damage(database, loop)).records())


def test_the_layer_and_the_command_name_the_database(database, capsys):
    other = damage(database, lambda data: data[:-PAGE])
    assert caffe_command("compute_image_mean", other) == 2
    assert f"cannot open the LMDB database '{other}': {other}/data.mdb is cut short" in capsys.readouterr().err
    with pytest.raises(caffe.LayerError, match="net.pt:1: layer 'in' .*cannot open the LMDB .*'.*other'.*cut short"):
        net(database.parent, f"layer {{ name: 'in' type: 'Data' top: 'x' data_param {{ source: '{other}' batch_size: 1 "
                             "backend: LMDB } }")


def caffe_command(*words):
    from caffe.commands import main
    return main([str(word) for word in words])


def net(folder, text, weights=None):
    (folder / "net.pt").write_text(text)
    return caffe.Net(str(folder / "net.pt"), caffe.TEST, weights=weights)


# ---- HDF5
def hdf5_net(folder, file):
    (folder / "list.txt").write_text(str(file))
    return net(folder, f"layer {{ name: 'in' type: 'HDF5Data' top: 'x' hdf5_data_param {{ source: '{folder}/list.txt' "
                       "batch_size: 1 } }")


def link_external(file, name):
    file[name] = h5py.ExternalLink("/etc/other.h5", "/x")


def link_by_way_of_a_link(file, name):
    file["elsewhere"], file[name] = h5py.ExternalLink("/etc/other.h5", "/"), h5py.SoftLink("/elsewhere/x")


def link_to_itself(file, name):
    file[name] = h5py.SoftLink(f"/{name}")


def store_elsewhere(file, name):
    file.create_dataset(name, (5, 3), "f4", external=[("/etc/passwd", 0, 60)])


def be_virtual(file, name):
    layout = h5py.VirtualLayout((5, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (5, 3))
    file.create_virtual_dataset(name, layout)


def be_huge(file, name):
    file.create_dataset(name, (1 << 16, 1 << 16), "f4", chunks=(1 << 10, 1 << 10))


def be_text(file, name):
    file[name] = "text"


def be_empty(file, name):
    file[name] = h5py.Empty("f4")


@pytest.mark.parametrize("make, told", [
    (link_external, "link to another file, /etc/other.h5"), (link_by_way_of_a_link, "link to another file"),
    (link_to_itself, "leads to itself"), (store_elsewhere, "stored in other files"),
    (be_virtual, "stored in other files"), (be_huge, "expand to 17179869"),
    (be_text, "holds no numbers"), (be_empty, "holds no numbers")])
def test_hdf5_files_that_are_not_read(tmp_path, make, told):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file, "x")
    with pytest.raises(caffe.LayerError, match=f"layer 'in' .*cannot read the HDF5 file '.*x.h5': .*{told}"):
        hdf5_net(tmp_path, tmp_path / "x.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("data").create_group("fc")
        make(group, "0")
    if make is not link_by_way_of_a_link and make is not link_to_itself:       # their paths begin at the root
        with pytest.raises(WireError, match=f"w.h5: .*{told}"):
            net(tmp_path, NET, weights=str(tmp_path / "w.h5"))
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["iter"], file["current_step"] = [3], [0]
        make(file.create_group("history"), "0")
    if make is not link_by_way_of_a_link and make is not link_to_itself:
        with pytest.raises(WireError, match=f"s.h5: .*{told}"):
            read_state(tmp_path / "s.h5")


def test_hdf5_links_within_a_file_are_followed(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["group/values"] = np.arange(6).reshape(2, 3)
        file["x"] = h5py.SoftLink("group/values")
    assert hdf5_net(tmp_path, tmp_path / "x.h5").forward()["x"].tolist() == [[0, 1, 2]]


def test_hdf5_zeros_compress_well_and_are_read(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=np.zeros((100, 1000), np.float32), chunks=(100, 1000), compression=9)
    assert hdf5_net(tmp_path, tmp_path / "x.h5").forward()["x"].shape == (1, 1000)


def test_hdf5_groups_that_hold_each_other(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("data/a")
        group["b"] = group
    with pytest.raises(WireError, match="w.h5: .*under another name"):
        read_weights(tmp_path / "w.h5")


def of_text(file, name):
    file[name] = np.bytes_("12")


@pytest.mark.parametrize("name, make, told", [
    ("history", lambda file, name: file.create_dataset(name, (2 ** 33,), "f4", chunks=(1,)), "'/history' is no group"),
    ("iter", lambda file, name: file.create_group(name), "'/iter' is a group"),
    ("iter", lambda file, name: file.create_dataset(name, data=np.inf), "'/iter' is not one whole number"),
    ("iter", of_text, "'/iter' holds no numbers"),
    ("current_step", lambda file, name: file.create_dataset(name, (3,), "i4"), "step' is not one whole number"),
    ("learned_net", lambda file, name: file.create_group(name), "'learned_net' is no text"),
    ("learned_net", lambda file, name: file.create_dataset(name, (3,), "i4"), "'learned_net' is no text"),
    ("learned_net", lambda file, name: file.create_dataset(name, data=[b"a"]), "'learned_net' is no text"),
    ("learned_net", lambda file, name: file.create_dataset(name, data=3), "s.h5: this HDF5 file is damaged"),
    ("learned_net", lambda file, name: file.__setitem__(name, h5py.SoftLink("/")), "'learned_net' is no text")])
def test_members_of_a_solver_state_of_another_kind(tmp_path, name, make, told):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["iter"], file["current_step"], file["history/0"], file["learned_net"] = [3], [0], np.ones(2), "net"
        del file[name]
        make(file, name)
    with pytest.raises(WireError, match=f"s.h5: .*{told}|{told}"):
        read_state(tmp_path / "s.h5")


@pytest.mark.parametrize("kind", ["caffemodel", "caffemodel.h5", "binaryproto", "solverstate.h5", "data.h5"])
@pytest.mark.slow
def test_damaged_bytes_are_reported_or_harmless(tmp_path, kind):
    """Flipped bits and truncated files raise only our own errors, which name the file."""
    path, read = write_file(tmp_path, kind)
    good, numbers, refused = path.read_bytes(), np.random.default_rng(0), 0
    for trial in range(120):
        data = bytearray(good)
        if trial % 3:
            for _ in range(3):
                data[numbers.integers(len(data))] ^= 1 << numbers.integers(8)
        else:
            del data[numbers.integers(len(data)):]
        path.write_bytes(data)
        try:
            read()
        except caffe.CaffeError as error:
            refused += 1
            assert path.name in str(error)
    assert refused > 20


def write_file(folder, kind):
    """Write a file of a kind; returns its path and the function that reads it."""
    path = folder / kind
    if kind == "binaryproto":
        path.write_bytes(caffe_pb2.BlobProto(num=1, channels=1, height=2, width=3, data=range(6)).SerializeToString())
        cv2.imwrite(str(folder / "a.png"), np.zeros((2, 3), np.uint8))
        (folder / "list.txt").write_text("a.png 0")
        text = (f"layer {{ name: 'in' type: 'ImageData' top: 'x' top: 'y' image_data_param {{ is_color: false "
                f"source: '{folder}/list.txt' root_folder: '{folder}/' }} transform_param {{ mean_file: '{path}' }} }}")
        return path, lambda: net(folder, text)
    if kind == "data.h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=np.arange(60.0).reshape(4, 15), chunks=(1, 15), compression=9)
        return path, lambda: hdf5_net(folder, path)
    if kind == "solverstate.h5":
        with h5py.File(path, "w") as file:
            file["iter"], file["current_step"], file["history/0"] = [3], [0], np.ones((2, 3))
        return path, lambda: read_state(path)
    made = net(folder, NET)
    (made.save_hdf5 if kind.endswith("h5") else made.save)(path)
    return path, lambda: net(folder, NET, weights=str(path))


# ---- images
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tiff", "webp", "ppm", "pgm", "jp2", "ras", "gif", "avif"])
@pytest.mark.parametrize("shape", [(120, 230), (300, 97)])
def test_declared_sizes(ending, shape):
    image = np.random.default_rng(0).integers(0, 256, shape if ending == "pgm" else (*shape, 3), dtype=np.uint8)
    try:
        data = cv2.imencode(f".{ending}", image)[1].tobytes()
    except cv2.error:
        pytest.skip(f"this OpenCV writes no {ending}")
    assert declared_size(data) == shape[::-1]


@pytest.mark.parametrize("data", [b"", b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P6", b"II*\0", b"RIFF....WEBP",
                                  b"?"])
def test_headers_that_are_cut_short(data):
    assert declared_size(data) == (0, 0)
    with pytest.raises(WireError, match="cannot decode an image"):
        decode_image(data, "COLOR")


def huge_png():
    good = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    return good[:16] + struct.pack(">II", 1 << 15, 1 << 15) + good[24:]


@pytest.mark.parametrize("data", [huge_png(), b"P6 32768 32768 255\n" + bytes(1000),
                                  b"P5 # a comment\n32768\n32768 255\n"])
def test_images_of_many_pixels_in_few_bytes(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "list.txt").write_text("a.png 0")
    with pytest.raises(caffe.LayerError, match="list.txt.*a.png.*32768 x 32768 pixels in"):
        net(tmp_path, f"layer {{ name: 'in' type: 'ImageData' top: 'x' top: 'y' image_data_param {{ "
                      f"source: '{tmp_path}/list.txt' root_folder: '{tmp_path}/' }} }}")


def test_images_of_many_pixels_in_few_bytes_elsewhere(tmp_path, capsys):
    """caffe.io and convert_imageset also check the header before they decode."""
    (tmp_path / "a.png").write_bytes(huge_png())
    cv2.imwrite(str(tmp_path / "b.png"), np.full((2, 3, 3), 7, np.uint8))
    for read in (caffe.io.load_image, caffe.io.read_pixels, imread):
        with pytest.raises(ValueError, match="a.png: not an image .* 32768 x 32768 pixels in"):
            read(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 1\n")
    assert main(["convert_imageset", f"{tmp_path}/", str(tmp_path / "list.txt"), str(tmp_path / "db")]) == 0
    printed = capsys.readouterr().err
    assert "a.png is no image that OpenCV can read: an image of 32768 x 32768 pixels in" in printed
    assert "skipped: 1" in printed


def test_an_image_file_whose_name_is_not_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).write_bytes(cv2.imencode(".png", np.full((2, 3, 3), 7, np.uint8))[1].tobytes())
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.png 4")
    made = net(tmp_path, f"layer {{ name: 'in' type: 'ImageData' top: 'x' top: 'y' image_data_param {{ "
                         f"source: '{tmp_path}/list.txt' root_folder: '{tmp_path}/' }} }}")
    assert (made.forward()["x"] == 7).all()
    assert (caffe.io.read_pixels(tmp_path / name) == 7).all()


# ---- operating system errors
def test_an_error_while_writing_names_the_file(tmp_path, capsys):
    def work():
        with atomic_path(tmp_path / "model"):
            raise OSError(28, "No space left on device")
    assert guarded("caffe some", work) == 2
    assert capsys.readouterr().err == f"caffe some: {tmp_path}/model: No space left on device\n"


def test_an_error_that_names_its_file_keeps_it(tmp_path):
    with pytest.raises(OSError, match="other"), atomic_path(tmp_path / "model"):
        open(tmp_path / "other")
