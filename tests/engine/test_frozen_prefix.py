"""The frozen prefix of a net is computed once per image: which layers, the same bits, and where it is cached."""
import numpy as np
import pytest
import torch

import caffe
from caffe.engine.net import Net
from caffe.proto import prototxt
from caffe.proto.caffe_pb2 import NetParameter, SolverParameter

FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"
DATA = f"""
layer {{ name: "data" type: "Python" top: "data" top: "label"
         python_param {{ module: "{__name__}" layer: "Images" }} }}
"""


def convolution(name: str, bottom: str, params: str = FROZEN, outputs: int = 12, kernel: int = 3) -> str:
    return (f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {params} '
            f'convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} '
            'weight_filler { type: "gaussian" std: 0.4 } bias_filler { type: "constant" value: 0.3 } } }')


def relu(blob: str) -> str:
    return f'layer {{ name: "{blob}/relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}'


def join(kind: str, top: str, *bottoms: str, settings: str = "") -> str:
    """A Concat or an Eltwise."""
    named = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "{top}/join" type: "{kind}" {named} top: "{top}" {settings} }}'


def fire(name: str, bottom: str, params: str, squeeze: int, narrow: int, wide: int) -> str:
    """A convolution, then two parallel ones of different kernel sizes with concatenated tops."""
    return (convolution(f"{name}/squeeze", bottom, params, squeeze, 1) + relu(f"{name}/squeeze")
            + convolution(f"{name}/1x1", f"{name}/squeeze", params, narrow, 1) + relu(f"{name}/1x1")
            + convolution(f"{name}/3x3", f"{name}/squeeze", params, wide) + relu(f"{name}/3x3")
            + join("Concat", name, f"{name}/1x1", f"{name}/3x3"))


POOL = 'layer { name: "pool" type: "Pooling" bottom: "one" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "two" top: "two" }'
HEAD = """
layer { name: "mean" type: "Pooling" bottom: "learned" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "score" type: "InnerProduct" bottom: "mean" top: "score"
        inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.4 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""
TRUNK = convolution("one", "data") + POOL + convolution("two", "pool", outputs=16) + RELU
NET = DATA + TRUNK + convolution("learned", "two", "", 3) + HEAD
STEM = convolution("one", "data", outputs=8) + POOL
FIRE_TRUNK = STEM + fire("fire", "pool", FROZEN, 4, 5, 6)
FIRE_OF_EQUALS = (DATA + STEM + fire("fire", "pool", FROZEN, 4, 5, 5) + convolution("learned", "fire", "", 3) + HEAD)
FIRE = DATA + FIRE_TRUNK + convolution("learned", "fire", "", 3) + HEAD
READER = f"""layer {{ name: "reader" type: "Python" bottom: "data" top: "height"
                      python_param {{ module: "{__name__}" layer: "Reader" }} }}"""
SPLIT = 'layer { name: "split" type: "Split" bottom: "pool" top: "copy" top: "other" }'
OTHER_COPY, SUM = convolution("side", "other", outputs=8, kernel=1), join("Eltwise", "sum", "copy", "side")
BRANCHED = {
    "one fire": FIRE,
    "second learns": (DATA + FIRE_TRUNK + fire("second", "fire", "", 7, 9, 10)
                      + convolution("learned", "second", "", 3) + HEAD),
    "second frozen": (DATA + FIRE_TRUNK + fire("second", "fire", FROZEN, 7, 9, 10)
                      + convolution("learned", "second", "", 3) + HEAD),
    "residual": (DATA + STEM + convolution("side", "pool", outputs=8) + relu("side")
                 + join("Eltwise", "sum", "pool", "side", settings="eltwise_param { coeff: 1 coeff: -2 }") + relu("sum")
                 + convolution("learned", "sum", "", 3) + HEAD),
    "sum in place": (DATA + STEM + convolution("side", "pool", outputs=8) + join("Eltwise", "side", "side", "pool")
                     + convolution("learned", "side", "", 3) + HEAD),
    "from the image": (DATA + convolution("left", "data", outputs=4) + convolution("right", "data", outputs=5, kernel=1)
                       + relu("right") + join("Concat", "wide", "left", "right") + convolution("learned", "wide", "", 2)
                       + HEAD),
    "others between": FIRE.replace(relu("fire/1x1"), READER + relu("fire/1x1")),
    # the tops of a Split share their values, so the other top's reader sees the ReLU's values too
    "in place on a copy": (DATA + STEM + SPLIT + relu("copy") + OTHER_COPY + SUM
                           + convolution("learned", "sum", "", 3) + HEAD),
}
SIZES = {"a": (24, 36), "b": (24, 36), "c": (18, 27)}


def picture(key: str) -> np.ndarray:
    return np.random.default_rng(ord(key)).normal(size=(3, *SIZES[key])).astype(np.float32)


class Images(caffe.Layer):
    """Provides the images of `batch`, padded to the largest; images that the prefix has cached are omitted."""

    batch = ("a", "b")
    prefix = None

    def setup(self, bottom, top):
        self.shape_tops(top)

    def shape_tops(self, top):
        sizes = [SIZES[key] for key in self.batch]
        top[0].reshape(len(sizes), 3, *np.max(sizes, axis=0))
        top[1].reshape(len(sizes))

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        self.shape_tops(top)
        top[0].data[...] = 0
        top[1].data[...] = np.arange(len(self.batch))
        for plane, key in zip(top[0].data, self.batch, strict=True):
            if self.prefix is None or self.prefix.reads_image or not self.prefix.has(key):
                plane[:, :SIZES[key][0], :SIZES[key][1]] = picture(key)
        if self.prefix is not None:
            self.prefix.next_batch(self.batch, [SIZES[key] for key in self.batch])


def parsed(text: str) -> NetParameter:
    net = NetParameter()
    prototxt.parse(text, net, "net")
    return net


def make_solver(text: str = NET):
    return caffe.get_solver(SolverParameter(net_param=parsed(text), base_lr=0.1, lr_policy="fixed", momentum=0.9,
                                            random_seed=4, type="SGD"))


def reuse(net, folder, preprocessing="mean 0", memory_mb=10.0, disk_mb=10.0, images=3):
    prefix = net.reuse_frozen_prefix(caffe.FeatureCache(folder, memory_mb, disk_mb), preprocessing, images)
    if prefix is not None:
        net.layers[0].prefix = prefix
    return prefix


def steps(solver, batches) -> np.ndarray:
    """All parameters after one step on each batch."""
    for batch in batches:
        solver.net.layers[0].batch = batch
        solver.step(1)
    return np.concatenate([blob.data.ravel() for blob in solver.net.learnable_params])


# ---- which layers
@pytest.mark.parametrize("text, blob, layers", [
    (NET, "two", 4),
    (NET.replace(FROZEN, "", 1), None, 0),
    (DATA + convolution("one", "data") + POOL + convolution("learned", "pool", "") + HEAD, "pool", 2),
    # a weight that another layer learns
    (DATA + convolution("one", "data", 'param { name: "w" } param { lr_mult: 0 }', 3)
     + convolution("learned", "one", 'param { name: "w" lr_mult: 1 }', 3) + HEAD, None, 0),
    # random numbers, batches as a whole, two readers
    (DATA + convolution("one", "data") + 'layer { name: "two" type: "Dropout" bottom: "one" top: "two" }'
     + convolution("learned", "two", "") + HEAD, "one", 1),
    (DATA + convolution("one", "data") + 'layer { name: "two" type: "BatchNorm" bottom: "one" top: "two" }'
     + convolution("learned", "two", "") + HEAD, "one", 1),
    (DATA + convolution("one", "data") + POOL.replace("kernel_size", "pool: STOCHASTIC kernel_size")
     + convolution("learned", "pool", "") + HEAD, "one", 1),
    (NET + 'layer { name: "quiet" type: "Silence" bottom: "one" }', "one", 1),
    (NET + 'layer { name: "quiet" type: "Silence" bottom: "data" }', "two", 4),
    # in place on the image, which other layers may read
    (NET.replace(TRUNK, relu("data") + TRUNK), None, 0),
    # branches
    (FIRE.replace(FROZEN, "", 1), None, 0),
    (BRANCHED["one fire"], "fire", 9),
    (BRANCHED["second learns"], "fire", 9),
    (BRANCHED["second frozen"], "second", 16),
    (BRANCHED["residual"], "sum", 6),
    (BRANCHED["sum in place"], "side", 4),
    (BRANCHED["from the image"], "wide", 4),
    (BRANCHED["others between"], "fire", 9),
    (BRANCHED["in place on a copy"], "sum", 5),
    # branches that leave: to a layer outside, to an output, to a loss
    (FIRE + 'layer { name: "quiet" type: "Silence" bottom: "fire/1x1" }', "fire/squeeze", 4),
    (FIRE + convolution("aside", "fire/squeeze"), "fire/squeeze", 4),
    (BRANCHED["second frozen"] + 'layer { name: "quiet" type: "Silence" bottom: "second/1x1" }', "second/squeeze", 11),
    (BRANCHED["second frozen"] + convolution("aside", "fire"), "fire", 9),
    (BRANCHED["from the image"].replace('top: "left"', 'top: "left" loss_weight: 2'), "right", 2),
    (DATA + STEM + SPLIT + convolution("learned", "other", "", 3) + HEAD, "pool", 2),
    # branches that learn or are random
    (FIRE.replace(convolution("fire/3x3", "fire/squeeze", FROZEN, 6),
                  convolution("fire/3x3", "fire/squeeze", "", 6)), "fire/squeeze", 4),
    (FIRE.replace(relu("fire/3x3"), relu("fire/3x3").replace("ReLU", "Dropout")), "fire/squeeze", 4),
    (BRANCHED["in place on a copy"].replace(relu("copy"), relu("copy").replace("ReLU", "Dropout")), "pool", 2),
    # branches joined along spatial axes, or along channels
    (FIRE_OF_EQUALS.replace('"Concat"', '"Concat" concat_param { axis: 2 }'), "fire/squeeze", 4),
    (FIRE_OF_EQUALS.replace('"Concat"', '"Concat" concat_param { concat_dim: 3 }'), "fire/squeeze", 4),
    (FIRE_OF_EQUALS.replace('"Concat"', '"Concat" concat_param { axis: -3 }'), "fire", 9),
])
def test_the_prefix_ends_before_learned_or_random_layers(tmp_path, text, blob, layers):
    prefix = reuse(make_solver(text).net, tmp_path)
    assert (prefix.blob, prefix.num_layers) == (blob, layers) if blob else prefix is None


def test_large_features_are_not_worth_reading(tmp_path):
    assert reuse(make_solver(NET.replace("num_output: 16", "num_output: 60")).net, tmp_path) is None


def test_more_images_than_the_budget_holds(tmp_path):
    size = 16 * 12 * 18 * 4 / 2 ** 20      # MB of one image
    assert reuse(make_solver().net, tmp_path, memory_mb=size, disk_mb=size, images=5) is None
    assert reuse(make_solver().net, tmp_path, memory_mb=size, disk_mb=size, images=4) is not None


# ---- the same numbers
BATCHES = ["ab", "ba", "a", "b", "aa", "ab", "c", "c"]


@pytest.mark.parametrize("budget", [dict(), dict(memory_mb=0), dict(disk_mb=0), dict(memory_mb=0.014, disk_mb=0.014)])
@pytest.mark.parametrize("freeing", [False, True])
def test_training_gives_the_same_bits(tmp_path, budget, freeing):
    solver, plain = make_solver(), make_solver()
    if freeing:
        solver.net.free_intermediates()
    prefix = reuse(solver.net, tmp_path, images=1, **budget)
    np.testing.assert_array_equal(steps(solver, BATCHES), steps(plain, BATCHES))
    assert prefix.hits + prefix.misses == 12
    if not budget or 0 in budget.values():
        assert prefix.misses == 3


@pytest.mark.parametrize("text", BRANCHED.values(), ids=BRANCHED)
@pytest.mark.parametrize("freeing", [False, True])
def test_branches_give_the_same_bits(tmp_path, text, freeing):
    solver, plain = make_solver(text), make_solver(text)
    if freeing:
        solver.net.free_intermediates()
    prefix = reuse(solver.net, tmp_path)
    for batch in "abcabcc":     # PyTorch rounds convolutions of these sizes differently for several images
        np.testing.assert_array_equal(steps(solver, batch), steps(plain, batch))
        np.testing.assert_array_equal(solver.net.blobs["loss"].data, plain.net.blobs["loss"].data)
    assert (prefix.hits, prefix.misses) == (4, 3)


def test_bfloat16_gives_the_same_bits(tmp_path, bfloat16_everywhere):
    caffe.set_precision("bfloat16")
    try:
        solver, plain = make_solver(), make_solver()
        prefix = reuse(solver.net, tmp_path, memory_mb=0)
        np.testing.assert_array_equal(steps(solver, BATCHES), steps(plain, BATCHES))
        assert prefix.hits == 9
        assert solver.net.blobs["two"].stored.dtype == torch.bfloat16
    finally:
        caffe.set_precision("float32")


@pytest.mark.parametrize("text, blob", [(NET, "two"), (FIRE, "fire"), (BRANCHED["residual"], "sum")])
def test_padded_batches_hold_the_features_of_each_image_alone(tmp_path, text, blob):
    solver = make_solver(text)
    reuse(solver.net, tmp_path)
    found = {}
    for batch in ("a", "c", "ac", "ca"):
        solver.net.layers[0].batch = batch
        solver.net.forward()
        found[batch] = solver.net.blobs[blob].data.copy()
    for index, batch in ((1, "ac"), (0, "ca")):
        np.testing.assert_array_equal(found[batch][index][:, :9, :14], found["c"][0])
        assert not found[batch][index][:, 9:].any() and not found[batch][index][:, :, 14:].any()
        np.testing.assert_array_equal(found[batch][1 - index], found["a"][0])


@pytest.mark.parametrize("text, blob, skipped", [
    (NET, "two", ["one", "pool"]), (FIRE, "fire", ["one", "pool", "fire/squeeze", "fire/1x1", "fire/3x3"])])
def test_blobs_that_are_not_computed_report_it(tmp_path, text, blob, skipped):
    solver = make_solver(text)
    reuse(solver.net, tmp_path)
    solver.step(1)
    for name in skipped:
        with pytest.raises(RuntimeError, match=f"'{name}' was freed"):
            _ = solver.net.blobs[name].data
    assert solver.net.blobs[blob].data.any()


@pytest.mark.parametrize("text, blob", [(NET, "one"), (FIRE, "fire/1x1")])
def test_a_pass_without_keys_computes_everything(tmp_path, text, blob):
    solver = make_solver(text)
    prefix = reuse(solver.net, tmp_path)
    solver.net.layers[0].prefix = None
    solver.step(1)
    assert solver.net.blobs[blob].data.any() and prefix.hits == prefix.misses == 0


# ---- what is kept
def test_a_process_reads_features_written_by_another(tmp_path):
    first, second = make_solver(), make_solver()
    assert reuse(first.net, tmp_path).misses == 0
    steps(first, BATCHES)
    prefix = reuse(second.net, tmp_path, memory_mb=0)
    assert prefix.has("a") and not prefix.has("d")
    steps(second, BATCHES)
    assert (prefix.hits, prefix.misses) == (12, 0)


@pytest.fixture
def two_processes():
    caffe.set_solver_count(2)
    yield
    caffe.set_solver_count(1)


def stores(folder, memory_mb, disk_mb):
    """Views of two processes on one folder, and features of 1/16 MB for it."""
    cache = caffe.FeatureCache(folder, memory_mb, disk_mb)
    return cache.open("f"), cache.open("f"), torch.arange(2.0 ** 14).reshape(4, 64, 64)


def test_two_processes_share_the_disk(tmp_path, two_processes):
    """Space for 4 images is space for 2 per process, and each process reads those of the other."""
    one, two, features = stores(tmp_path, 0, 4.2 / 16)
    for index in range(4):
        one.put(f"one {index}", features + index)
    assert [f"one {index}" in one for index in range(4)] == [True, True, False, False]
    for index in range(2):
        two.put(f"one {index}", features)           # exists already and takes no space
    for index in range(4):
        two.put(f"two {index}", features - index)
    assert len(list(tmp_path.glob("*/*.npy"))) == 4
    assert [f"two {index}" in one for index in range(4)] == [True, True, False, False]
    assert torch.equal(one.get("two 1"), features - 1) and torch.equal(two.get("one 1"), features + 1)
    later = caffe.FeatureCache(tmp_path, 0, 8.4 / 16).open("f")     # 4 exist, which leaves 2 to each of two
    for index in range(4):
        later.put(f"later {index}", features)
    assert [f"later {index}" in later for index in range(4)] == [True, True, False, False]


def test_two_processes_share_the_memory(tmp_path, two_processes):
    one, two, features = stores(tmp_path, 4 / 16, 0)
    for store in (one, two):
        for index in range(4):
            store.put(f"{index}", features)
        assert [f"{index}" in store for index in range(4)] == [True, True, False, False]


def test_caching_depends_on_the_space_of_both_processes(tmp_path, two_processes):
    size, mb = 16 * 12 * 18, 4 * 16 * 12 * 18 / 2 ** 20
    shared = caffe.FeatureCache(tmp_path, 2 * mb, mb)       # one in memory and the one on disk
    assert shared.fits(size, 4) and not shared.fits(size, 5)


def test_a_damaged_file_of_another_process_is_rewritten(tmp_path, two_processes):
    one, two, features = stores(tmp_path, 0, 1)
    one.put("a", features)
    (path,) = tmp_path.glob("*/*.npy")
    path.write_bytes(b"")
    assert "a" in two and two.get("a") is None and "a" not in two
    two.put("a", features)
    assert torch.equal(two.get("a"), features) and torch.equal(one.get("a"), features)


@pytest.mark.parametrize("change", ["weights", "preprocessing", "precision", "layer"])
def test_features_of_something_else_are_deleted(tmp_path, change):
    first = make_solver()
    reuse(first.net, tmp_path)
    steps(first, ["a"])
    (before,) = tmp_path.iterdir()
    text = NET.replace("stride: 2", "stride: 2 pad: 1") if change == "layer" else NET
    second = make_solver(text)
    if change == "weights":
        second.net.params["one"][1].data[0] += 1
    if change == "precision":
        caffe.set_precision("bfloat16")
    try:
        prefix = reuse(second.net, tmp_path, "mean 1" if change == "preprocessing" else "mean 0")
    finally:
        caffe.set_precision("float32")
    assert not prefix.has("a") and not before.exists()


TWO_SIDES = DATA + STEM + convolution("left", "pool", outputs=8) + convolution("right", "pool", outputs=8)
LEARNED = convolution("learned", "sum", "", 3) + HEAD
COEFFICIENTS = "eltwise_param { coeff: 1 coeff: 2 }"


@pytest.mark.parametrize("one, other", [
    [TWO_SIDES + join("Eltwise", "sum", *sides, settings=COEFFICIENTS) + LEARNED
     for sides in (("left", "right"), ("right", "left"))],
    [TWO_SIDES + convolution("last", side, outputs=7) + join("Concat", "sum", "left", "right", "last") + LEARNED
     for side in ("left", "right")],
    [DATA + STEM + SPLIT + part + SUM + LEARNED for part in (relu("copy") + OTHER_COPY, OTHER_COPY + relu("copy"))],
], ids=["order of bottoms", "bottom", "before and after a layer in place"])
def test_features_of_other_connections_are_not_used(tmp_path, one, other):
    """The layers are the same."""
    first, again, second = make_solver(one), make_solver(one), make_solver(other)
    reuse(first.net, tmp_path)
    steps(first, ["a"])
    assert reuse(again.net, tmp_path).has("a")
    prefix = reuse(second.net, tmp_path)
    assert (prefix.blob, prefix.has("a")) == ("sum", False)


def test_features_of_a_damaged_file_are_recomputed(tmp_path):
    first, second = make_solver(), make_solver()
    reuse(first.net, tmp_path)
    steps(first, ["a"])
    (path,) = tmp_path.glob("*/*.npy")
    path.write_bytes(path.read_bytes()[:100])
    prefix = reuse(second.net, tmp_path)
    second.net.layers[0].batch = "a"
    prefix.has = lambda key: False      # the image is available: the layer called `has` before the damage was detected
    second.step(1)
    assert prefix.misses == 1
    np.testing.assert_array_equal(second.net.blobs["two"].data, first.net.blobs["two"].data)


def flipped(content):
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


@pytest.mark.parametrize("damage", [
    flipped, lambda content: content.replace(b"(12, 18, 16)", b"(18, 12, 16)"),
    lambda content: content.replace(b"(12, 18, 16)", b"(9912, 9918, 9916)"), lambda content: content[:-1],
    lambda content: content[:-32], lambda content: content + b"x", lambda content: b"PK\3\4" + content[4:],
    lambda content: content.replace(b"}", b"(")])
def test_changed_features_are_reported_and_not_used(tmp_path, caplog, damage):
    cache = caffe.FeatureCache(tmp_path, 0, 1)
    features = torch.arange(16 * 12 * 18.0).reshape(16, 12, 18)
    cache.open("f").put("a", features)
    (path,) = tmp_path.glob("*/*.npy")
    content = path.read_bytes()
    assert torch.equal(cache.open("f").get("a"), features)
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    store = cache.open("f")
    assert store.get("a") is None and "a" not in store and f"{path} cannot be read" in caplog.text
    store.put("a", features)
    assert torch.equal(cache.open("f").get("a"), features)


def test_features_of_another_image_are_noticed(tmp_path):
    cache = caffe.FeatureCache(tmp_path, 0, 1)
    store = cache.open("f")
    store.put("a", torch.zeros(2, 3, 4))
    (path,) = tmp_path.glob("*/*.npy")
    content = path.read_bytes()
    store.put("b", torch.ones(2, 3, 4))
    (other,) = {*tmp_path.glob("*/*.npy")} - {path}
    other.write_bytes(content)
    assert cache.open("f").get("a") is not None and cache.open("f").get("b") is None


def test_only_features_are_deleted(tmp_path):
    folder, elsewhere = tmp_path / "features", tmp_path / "elsewhere"
    cache = caffe.FeatureCache(folder, 0, 1)
    cache.open("f").put("a", torch.zeros(2, 3, 4))
    (old,) = folder.iterdir()
    elsewhere.mkdir()
    mine = [folder / "notes" / "a.txt", folder / "note.npy", old / "mine.npy", elsewhere / f"{'0' * 32}.npy"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (folder / ("0" * 16)).symlink_to(elsewhere)
    (old / f".{'1' * 32}.npy.77.tmp").write_text("left by a kill")
    cache.open("g").put("a", torch.zeros(2, 3, 4))
    assert [path.name for path in old.iterdir()] == ["mine.npy"]
    cache.clear()
    assert all(path.read_text() == "mine" for path in mine) and not list(folder.glob("*/[0-9a-f]*.npy"))[1:]
    other = caffe.FeatureCache(tmp_path / "others", 0, 1)
    other.open("f").put("a", torch.zeros(2, 3, 4))
    other.clear()
    assert not other.folder.exists()


def test_lost_features_are_not_those_of_an_empty_image(tmp_path):
    first = make_solver()
    reuse(first.net, tmp_path)
    steps(first, ["a"])
    second = make_solver()
    prefix = reuse(second.net, tmp_path, memory_mb=0)
    layer = second.net.layers[0]
    layer.batch = "a"
    tell = prefix.next_batch
    prefix.next_batch = lambda keys, sizes: tell(keys, sizes, [0])
    for path in tmp_path.rglob("*.npy"):
        path.write_bytes(b"")
    with pytest.raises(OSError, match="can no longer be read") as caught:
        second.step(1)
    assert str(tmp_path) in str(caught.value.filename)


INPUT = 'layer { name: "input" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 36 } } }'


@pytest.mark.parametrize("text, trunk, blob", [(NET, TRUNK, "two"), (FIRE, FIRE_TRUNK, "fire")])
def test_a_test_net_uses_features_cached_by_training(tmp_path, text, trunk, blob):
    test_net = INPUT + trunk.replace(FROZEN, "") + convolution("learned", blob, "", 3)
    solver, net = make_solver(text), Net(parsed(test_net), caffe.TEST)
    assert reuse(net, tmp_path) is None
    net.share_with(solver.net)
    reuse(solver.net, tmp_path)
    steps(solver, ["a"])
    net.blobs["data"].data[0] = picture("a")
    want = net.forward()["learned"].copy()
    prefix = net.reuse_frozen_prefix(caffe.FeatureCache(tmp_path, 1, 1), "mean 0", 3)
    assert prefix.blob == blob and prefix.has("a")
    net.blobs["data"].data[...] = 0
    prefix.next_batch(["a"], [SIZES["a"]])
    np.testing.assert_array_equal(net.forward()["learned"], want)


class Reader(caffe.Layer):
    """Has the image as bottom, but reads only its shape."""

    unread_bottoms = (0,)

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].shape[2]


@pytest.mark.parametrize("unread, reads", [((0,), False), ((), True)])
def test_other_readers_of_the_image(tmp_path, monkeypatch, unread, reads):
    monkeypatch.setattr(Reader, "unread_bottoms", unread)
    assert reuse(make_solver(NET + READER).net, tmp_path).reads_image is reads
    assert reuse(make_solver(BRANCHED["others between"]).net, tmp_path).reads_image is reads
    assert reuse(make_solver().net, tmp_path).reads_image is False
