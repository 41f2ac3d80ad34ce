"""AnnotatedData: objects follow their images; random choices have SSD's distributions and follow the seed."""
import cv2
import numpy as np
import pytest
from layer_checker import Runner, refused

from caffe.engine import device
from caffe.engine.bases.annotations import projected
from caffe.engine.bases.batch_sampling import random_windows, sampled_windows, satisfying
from caffe.engine.bases.colours import distorted
from caffe.engine.bases.resizing import resized_size, resized_window
from caffe.engine.layer import TRAIN
from caffe.proto import caffe_pb2, prototxt

lmdb = pytest.importorskip("lmdb")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3, 20, 30), dtype=np.uint8)
OBJECTS = [[(4, 0, 0.1, 0.2, 0.5, 0.6, 0), (4, 1, 0.3, 0.1, 0.9, 0.4, 1), (2, 0, 0.6, 0.6, 1.0, 1.0, 0)], [],
           [(1, 0, 0.25, 0.5, 0.75, 1.0, 0)]]


def record(image, objects, **fields):
    datum = fields.pop("datum", None) or caffe_pb2.Datum(channels=3, height=20, width=30, data=image.tobytes(), label=9)
    found = caffe_pb2.AnnotatedDatum(datum=datum, **{"type": caffe_pb2.AnnotatedDatum.BBOX, **fields})
    for label in dict.fromkeys(item[0] for item in objects):
        group = found.annotation_group.add(group_label=label)
        for _, instance, x1, y1, x2, y2, difficult in (item for item in objects if item[0] == label):
            group.annotation.add(instance_id=instance, bbox=dict(xmin=x1, ymin=y1, xmax=x2, ymax=y2,
                                                                 difficult=bool(difficult)))
    return found


def write(folder, values):
    with lmdb.open(str(folder), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for number, value in enumerate(values):
            transaction.put(b"%03d" % number, value if isinstance(value, bytes) else value.SerializeToString())
    return folder


@pytest.fixture
def database(tmp_path):
    return write(tmp_path / "db", map(record, IMAGES, OBJECTS))


def runner(database, transform="", settings="", batch=1, num_tops=2, phase=TRAIN):
    device.set_random_seed(3)
    return Runner(f"type: 'AnnotatedData' data_param {{ source: '{database}' backend: LMDB batch_size: {batch} }} "
                  f"annotated_data_param {{ {settings} }} transform_param {{ {transform} }}", [], num_tops, phase)


def rows(*items):
    return np.array([[image, *row] for image, objects in items for row in objects], np.float32)[None, None]


# ---- records
def test_batches_have_the_objects_of_their_images(database):
    layer = runner(database, batch=2)
    assert layer.top[0].shape == (2, 3, 20, 30) and layer.top[1].shape == (1, 1, 1, 8)
    for first, second in ((0, 1), (2, 0), (1, 2)):
        images, objects = layer.forward()
        assert (images == IMAGES[[first, second]]).all()
        np.testing.assert_allclose(objects, rows((0, OBJECTS[first]), (1, OBJECTS[second])), rtol=1e-6)


def test_a_batch_without_objects_has_a_row_of_minus_one(tmp_path):
    assert runner(write(tmp_path / "db", [record(IMAGES[0], [])])).forward()[1].tolist() == [[[[-1] * 8]]]


def test_records_without_a_type_have_labels_unless_anno_type_is_given(tmp_path):
    bare = record(IMAGES[0], OBJECTS[0])
    bare.ClearField("type")
    folder = write(tmp_path / "db", [bare])
    assert runner(folder, batch=2).forward()[1].tolist() == [9, 9]
    assert runner(folder, settings="anno_type: BBOX").forward()[1].shape == (1, 1, 3, 8)
    assert (runner(folder, num_tops=1).forward()[0] == IMAGES[:1]).all()


# ---- for YOLO
YOLO = "yolo_data_type: 1 yolo_data_jitter: "


def yolo_rows(objects):
    """The objects that are not difficult: class from 0, centre, width and height."""
    return np.array([[label - 1, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
                     for label, _, x1, y1, x2, y2, difficult in objects if not difficult]).reshape(-1, 5)


def test_objects_for_yolo(database):
    layer = runner(database, settings=YOLO + "0", batch=2)
    assert layer.top[1].shape == (2, 1, 300, 5)
    for pair in ((0, 1), (2, 0)):
        images, objects = layer.forward()
        assert (images == IMAGES[[*pair]]).all() and objects.shape == (2, 1, 300, 5)
        for number, found in zip(pair, objects[:, 0], strict=True):
            wanted = yolo_rows(OBJECTS[number])
            np.testing.assert_allclose(found[:len(wanted)], wanted, rtol=1e-6)
            assert not found[len(wanted):].any()


def test_yolo_gets_at_most_the_first_300_objects(tmp_path):
    many = [(1, number, 0.1, 0.2, 0.3 + number / 1000, 0.6, 0) for number in range(310)]
    objects = runner(write(tmp_path / "db", [record(IMAGES[0], many)]), settings=YOLO + "0").forward()[1][0, 0]
    np.testing.assert_allclose(objects, yolo_rows(many[:300]), rtol=1e-5)


def test_yolo_crops_a_random_window(database):
    """The ramp image reveals the window; its object is clipped to it."""
    ramp = np.stack([np.tile(np.arange(30), (20, 1)), np.tile(np.arange(20)[:, None], (1, 30)), np.zeros((20, 30))])
    folder = write(database.parent / "ramp", [record(ramp.astype(np.uint8), [(3, 0, 0, 0, 1, 1, 0)])])
    layer = runner(folder, settings=YOLO + "0.4 batch_sampler { sampler { max_scale: 0.1 min_scale: 0.1 } }")
    sizes, corners = [], []
    for _ in range(300):
        [image], objects = layer.forward()
        sizes.append(image.shape[1:])
        corners.append((image[1, 0, 0], image[0, 0, 0]))
        assert objects[0, 0, 0].tolist() == [2, 0.5, 0.5, 1, 1]
        assert (np.diff(image[0], axis=1) == 1).all() and (np.diff(image[1], axis=0) == 1).all()
    heights, widths = np.transpose(sizes)
    assert heights.min() == 12 and 19 <= heights.max() <= 20 and widths.min() == 18 and 29 <= widths.max() <= 30
    assert heights.mean() == pytest.approx(15.5, abs=0.4) and abs(np.corrcoef(heights, widths)[0, 1]) < 0.2
    assert np.ptp(corners, axis=0).min() >= 6


def test_each_batch_uses_one_of_several_resize_params(database):
    sizes = {(12, 9): 0.5, (16, 16): 0.3, (8, 20): 0.2}
    layer = runner(database, "".join(f"resize_param {{ prob: {share} height: {height} width: {width} }}"
                                     for (height, width), share in sizes.items()), batch=2)
    found = [layer.forward()[0].shape[2:] for _ in range(400)]
    assert set(found) == set(sizes)
    for size, share in sizes.items():
        assert found.count(size) / 400 == pytest.approx(share, abs=0.08)


# ---- geometry
def test_resized_with_mean_and_mirror(database):
    layer = runner(database, "mirror: true mean_value: 3 scale: 0.5 resize_param { height: 12 width: 9 }")
    wanted = (cv2.resize(IMAGES[0].transpose(1, 2, 0), (9, 12)).transpose(2, 0, 1) - np.float32(3)) / 2
    mirrored = [(label, n, 1 - x2, y1, 1 - x1, y2, hard) for label, n, x1, y1, x2, y2, hard in OBJECTS[0]]
    seen = set()
    for _ in range(12):
        images, objects = layer.forward()
        flip = bool((images[0] == wanted[:, :, ::-1]).all())
        assert flip or (images[0] == wanted).all()
        np.testing.assert_allclose(objects, rows((0, mirrored if flip else OBJECTS[0])), atol=1e-6)
        seen.add(flip)
        for _ in range(2):
            layer.forward()
    assert seen == {True, False}


@pytest.mark.parametrize("mode, shape, size, window", [
    ("WARP", (20, 30), (12, 9), [0, 0, 1, 1]), ("FIT_SMALL_SIZE", (20, 30), (12, 18), [0, 0, 1, 1]),
    ("FIT_SMALL_SIZE", (30, 20), (13, 9), [0, 0, 1, 1]),
    ("FIT_LARGE_SIZE_AND_PAD", (20, 30), (12, 9), [0, -0.5, 1, 1.5]),
    ("FIT_LARGE_SIZE_AND_PAD", (48, 18), (12, 9), [-0.5, 0, 1.5, 1])])
def test_sizes_of_each_resize_mode(mode, shape, size, window):
    param = prototxt.parse(f"height: 12 width: 9 resize_mode: {mode}", caffe_pb2.ResizeParameter())
    assert resized_size(*shape, param) == size
    np.testing.assert_allclose(resized_window(*shape, param), window)


def test_padded_images_and_their_objects(database):
    layer = runner(database, "resize_param { height: 30 width: 15 resize_mode: FIT_LARGE_SIZE_AND_PAD pad_value: 7 "
                             "pad_value: 8 pad_value: 9 interp_mode: NEAREST }")
    images, objects = layer.forward()
    content = cv2.resize(IMAGES[0].transpose(1, 2, 0), (15, 10), interpolation=cv2.INTER_NEAREST).transpose(2, 0, 1)
    assert (images[0, :, 10:20] == content).all() and (images[0, :, :10] == np.array([7, 8, 9])[:, None, None]).all()
    wanted = [(label, n, x1, (1 + y1) / 3, x2, (1 + y2) / 3, hard) for label, n, x1, y1, x2, y2, hard in OBJECTS[0]]
    np.testing.assert_allclose(objects, rows((0, wanted)), atol=1e-6)


def test_height_scale_and_width_scale(database):
    small = "resize_mode: FIT_SMALL_SIZE height: 10 width: 10"
    _, objects = runner(database, f"resize_param {{ {small} height_scale: 5 width_scale: 3 }}").forward()
    np.testing.assert_allclose(objects[0, 0, :, 3:7], np.array(OBJECTS[0])[:, 2:6] * [5, 2, 5, 2], rtol=1e-6)
    with pytest.raises(ValueError, match=r"layer 'tested' .*\[16, 5\] are more than an image of 15 x 10"):
        runner(database, f"resize_param {{ {small} height_scale: 5 width_scale: 16 }}").forward()


def test_crop_size_moves_objects(database):
    images, objects = runner(database, "crop_size: 10", phase=1).forward()
    assert (images[0] == IMAGES[0, :, 5:15, 10:20]).all()
    wanted = [(4, 0, 0, 0, 0.5, 0.7, 0), (4, 1, 0, 0, 1, 0.3, 1), (2, 0, 0.8, 0.7, 1, 1, 0)]
    np.testing.assert_allclose(objects, rows((0, wanted)), atol=1e-6)


def test_emit_constraint(database):
    def shown(emit):        # a crop from (0.27, 0.15) to (0.73, 0.85), which has 0.21 of the last object
        return runner(database, f"crop_size: 14 {emit}", phase=1).forward()[1][0, 0, :, 1:3].tolist()
    assert shown("") == [[4, 0], [4, 1], [2, 0]]
    assert shown("emit_constraint { }") == [[4, 0], [4, 1]]
    assert shown("emit_constraint { emit_type: MIN_OVERLAP emit_overlap: 0.25 }") == [[4, 0], [4, 1]]
    assert shown("emit_constraint { emit_type: MIN_OVERLAP emit_overlap: 0.2 }") == [[4, 0], [4, 1], [2, 0]]


def test_projection_against_a_loop_over_boxes():
    random = np.random.default_rng(1)
    corners, sizes = random.uniform(-0.2, 0.9, (40, 2)), random.uniform(0, 0.4, (40, 2))
    objects = np.hstack([np.arange(80).reshape(40, 2), corners, corners + sizes, np.zeros((40, 1))])
    window = np.array([0.2, 0.1, 0.7, 0.9])
    wanted = []
    for label, instance, x1, y1, x2, y2, hard in objects:
        box = [min(max((x - 0.2) / 0.5, 0), 1) if i % 2 == 0 else min(max((x - 0.1) / 0.8, 0), 1)
               for i, x in enumerate((x1, y1, x2, y2))]
        if box[2] > box[0] and box[3] > box[1]:
            wanted.append([label, instance, *box, hard])
    assert 5 < len(wanted) < 35
    np.testing.assert_allclose(projected(objects, window, None), wanted, rtol=1e-12)


def test_expanded_images_hold_the_original_in_the_mean_colour(database):
    layer = runner(database, "expand_param { prob: 0.5 max_expand_ratio: 3 } mean_value: 104 mean_value: 117.4 "
                             "mean_value: 123")
    ratios = []
    for _ in range(60):
        images, objects = layer.forward()
        for _ in range(2):
            layer.forward()
        _, height, width = images[0].shape
        ratios.append(height / 20)
        x1, y1, *_ = objects[0, 0, 0, 3:7] * [width, height, width, height]
        left, top = round(x1 - 3), round(y1 - 4)
        inside = images[0, :, top:top + 20, left:left + 30] + np.array([104, 117.4, 123], np.float32)[:, None, None]
        np.testing.assert_allclose(inside, IMAGES[0], atol=1e-4)
        outside = np.delete(images[0].reshape(3, -1), [y * width + x for y in range(top, top + 20)
                                                       for x in range(left, left + 30)], axis=1)
        np.testing.assert_allclose(outside, np.broadcast_to([[0], [-0.4], [0]], outside.shape), atol=1e-4)
    assert 15 < sum(ratio == 1 for ratio in ratios) < 45 and 2.5 < max(ratios) <= 3


# ---- windows
def test_windows_are_uniform_in_scale_and_aspect_ratio():
    sampler = caffe_pb2.Sampler(min_scale=0.3, max_scale=0.9, min_aspect_ratio=0.5, max_aspect_ratio=2)
    x1, y1, x2, y2 = random_windows(sampler, 20_000, np.random.default_rng(0)).T
    width, height = x2 - x1, y2 - y1
    assert min(x1.min(), y1.min()) >= 0 and max(x2.max(), y2.max()) <= 1 + 1e-12
    scale, ratio = np.sqrt(width * height), width / height
    assert np.allclose(np.quantile(scale, [0, 0.25, 0.5, 0.75, 1]), [0.3, 0.45, 0.6, 0.75, 0.9], atol=0.01)
    small = ratio[scale < 0.7]                      # no limit by the image: 0.7^2 < 0.5
    assert np.allclose(np.quantile(small, [0, 0.25, 0.5, 0.75, 1]), [0.5, 0.875, 1.25, 1.625, 2], atol=0.02)
    assert (ratio <= 1.0001 / scale ** 2).all() and (ratio >= 0.9999 * scale ** 2).all()
    assert abs(np.median(x1[width < 0.9] / (1 - width[width < 0.9])) - 0.5) < 0.02


def test_constraints_against_a_loop_over_pairs():
    random = np.random.default_rng(2)
    windows = random_windows(caffe_pb2.Sampler(min_scale=0.2, min_aspect_ratio=0.5, max_aspect_ratio=2), 200, random)
    boxes = np.array([[0.1, 0.2, 0.5, 0.6], [0.3, 0.1, 0.9, 0.4]])

    def measures(window, box):
        def area(x1, y1, x2, y2):
            return max(0, x2 - x1) * max(0, y2 - y1)
        both = area(*np.maximum(window[:2], box[:2]), *np.minimum(window[2:], box[2:]))
        return {"jaccard_overlap": both / (area(*window) + area(*box) - both), "sample_coverage": both / area(*window),
                "object_coverage": both / area(*box)}
    for text in ("min_jaccard_overlap: 0.3", "max_jaccard_overlap: 0.1", "min_sample_coverage: 0.4",
                 "min_object_coverage: 0.5 max_object_coverage: 0.9",
                 "min_jaccard_overlap: 0.1 max_sample_coverage: 0.3"):
        constraint = prototxt.parse(text, caffe_pb2.SampleConstraint())
        limits = {field.name: value for field, value in constraint.ListFields()}
        wanted = [any(all(value >= limits.get(f"min_{name}", -1) and value <= limits.get(f"max_{name}", 2)
                          for name, value in measures(window, box).items()) for box in boxes) for window in windows]
        assert satisfying(windows, boxes, constraint).tolist() == wanted and 0 < sum(wanted) < 200, text


def test_samplers_stop_at_max_sample():
    texts = ("max_sample: 2", "max_sample: 1 max_trials: 0", "use_original_image: false", "max_trials: 3",
             "max_sample: 5 sample_constraint { min_jaccard_overlap: 0.9 }")
    samplers = [prototxt.parse(text, caffe_pb2.BatchSampler()) for text in texts]
    windows = sampled_windows(np.empty((0, 4)), samplers, np.random.default_rng(0))
    assert windows.tolist() == [[0, 0, 1, 1]] * 5


def test_images_are_cropped_to_a_sampled_window(database):
    layer = runner(database, settings="batch_sampler { max_sample: 1 max_trials: 50 sampler { min_scale: 0.3 "
                   "max_scale: 0.8 min_aspect_ratio: 0.5 max_aspect_ratio: 2 } "
                   "sample_constraint { min_object_coverage: 1 } }")
    shapes = set()
    for _ in range(20):
        images, objects = layer.forward()
        assert (layer.forward()[0] == IMAGES[1]).all()      # no object satisfies: not cropped
        layer.forward()
        _, height, width = images[0].shape
        places = [(y, x) for y in range(21 - height) for x in range(31 - width)
                  if (IMAGES[0, :, y:y + height, x:x + width] == images[0]).all()]
        assert len(places) == 1
        shapes.add((height, width))
        whole = objects[0, 0, (objects[0, 0, :, 3:7] % 1 > 0).all(1), 3:7]
        for box in whole:       # to two pixels: windows are not rounded for objects
            back = (box * [width, height, width, height] + np.tile(places[0][::-1], 2)) / [30, 20, 30, 20]
            assert min(np.abs(back - row[2:6]).max() for row in OBJECTS[0]) < 0.1
    assert len(shapes) > 10


# ---- colours
def test_each_distortion():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)

    def found(text):
        class Middle:
            random, uniform = staticmethod(lambda: 0.4), staticmethod(lambda low, high: low + 0.75 * (high - low))
            sample = staticmethod(lambda channels, count: [2, 0, 1])
        return distorted(image, prototxt.parse(text, caffe_pb2.DistortionParameter()), Middle)
    assert (found("brightness_prob: 0.3 contrast_prob: 0.3 hue_prob: 0.1") == image).all()
    assert (found("brightness_prob: 0.5 brightness_delta: 32") == (image.astype(int) + 16).clip(0, 255)).all()
    assert (found("contrast_prob: 0.5 contrast_lower: 0.5 contrast_upper: 1.5")
            == np.rint(image * np.float32(1.25)).clip(0, 255)).all()
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    hue, saturation = hsv.copy(), hsv.copy()
    hue[..., 0] = (hsv[..., 0].astype(int) + 9).clip(0, 255)
    saturation[..., 1] = np.rint(hsv[..., 1] * 1.25).clip(0, 255)
    assert (found("hue_prob: 0.5 hue_delta: 18") == cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)).all()
    assert (found("saturation_prob: 0.5 saturation_lower: 0.5 saturation_upper: 1.5")
            == cv2.cvtColor(saturation, cv2.COLOR_HSV2BGR)).all()
    assert (found("random_order_prob: 0.5") == image[..., [2, 0, 1]]).all()
    late = found("brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 1 contrast_upper: 2")
    bright = (image.astype(np.float32) + 16).clip(0, 255)
    assert (late == np.rint(bright * np.float32(1.75)).clip(0, 255)).all()


ALL = ("mirror: true mean_value: 104 resize_param { height: 12 width: 12 interp_mode: LINEAR interp_mode: AREA "
       "interp_mode: NEAREST interp_mode: CUBIC interp_mode: LANCZOS4 } emit_constraint { emit_type: CENTER } "
       "distort_param { brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5 "
       "contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5 saturation_lower: 0.5 "
       "saturation_upper: 1.5 random_order_prob: 0.1 } expand_param { prob: 0.5 max_expand_ratio: 4 }")
SAMPLERS = "batch_sampler { max_sample: 1 max_trials: 1 } " + " ".join(
    "batch_sampler { sampler { min_scale: 0.3 min_aspect_ratio: 0.5 max_aspect_ratio: 2 } max_sample: 1 max_trials: 50 "
    f"sample_constraint {{ min_jaccard_overlap: {overlap} }} }}" for overlap in (0.1, 0.5, 0.9))


def test_all_steps_together_follow_the_seed(database):
    runs = []
    for _ in range(2):
        layer = runner(database, ALL, SAMPLERS, batch=4)
        runs.append([layer.forward() for _ in range(5)])
    for (images, objects), (again, others) in zip(*runs, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(objects, others)
        boxes = objects[0, 0, objects[0, 0, :, 0] >= 0, 3:7]
        assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert len({objects.tobytes() for _, objects in runs[0]}) == 5


def test_encoded_images(tmp_path):
    datum = caffe_pb2.Datum(encoded=True, data=cv2.imencode(".png", IMAGES[0, 0])[1].tobytes())
    folder = write(tmp_path / "db", [record(None, OBJECTS[0], datum=datum)])
    images, objects = runner(folder).forward()
    assert (images == IMAGES[:1, :1]).all() and objects.shape == (1, 1, 3, 8)
    assert runner(folder, "force_color: true distort_param { hue_prob: 1 }").forward()[0].shape == (1, 3, 20, 30)


# ---- mistakes
PLAIN = caffe_pb2.Datum(channels=3, height=20, width=30, data=IMAGES[0].tobytes())
BAD = {"is no AnnotatedDatum with an image; layers of type Data": PLAIN, "is no AnnotatedDatum: ": b"hello world!!",
       "has 4 values": record(None, [], datum=caffe_pb2.Datum(channels=3, height=2, width=2, data=b"1234")),
       "cannot decode": record(None, [], datum=caffe_pb2.Datum(encoded=True, data=b"junk")),
       r"has a box that is not finite: \[nan, 0.0, 1.0, 1.0\]": record(IMAGES[0], [(1, 0, np.nan, 0, 1, 1, 0)])}


@pytest.mark.parametrize("told", BAD)
def test_a_bad_record_is_named_and_the_next_pass_continues(tmp_path, told):
    good = record(IMAGES[0], OBJECTS[0])
    layer = runner(write(tmp_path / "db", [good, BAD[told], good]))
    for _ in range(2):
        assert layer.forward()[1].shape == (1, 1, 3, 8)
        with pytest.raises(ValueError, match=rf"layer 'tested' .*database '.*db', record '001' {told}|{told}"):
            layer.forward()
        assert layer.forward()[1].shape == (1, 1, 3, 8)


def test_a_record_without_a_type_after_one_with_a_type(tmp_path):
    bare = record(IMAGES[0], [])
    bare.ClearField("type")
    with pytest.raises(ValueError, match="record '001' has no type, unlike the first one; set anno_type: BBOX"):
        runner(write(tmp_path / "db", [record(IMAGES[0], []), bare]), batch=2).forward()


@pytest.mark.parametrize("settings, transform, told", [
    ("batch_sampler { } batch_sampler { sampler { min_scale: 0 } }", "", "batch_sampler 1 .*0 < min_scale"),
    ("batch_sampler { sampler { min_scale: 0.5 max_scale: 0.4 } }", "", "found 0.5 and 0.4"),
    ("batch_sampler { sampler { max_scale: 1.5 } }", "", "max_scale <= 1"),
    ("batch_sampler { sampler { min_aspect_ratio: 3 } }", "", "min_aspect_ratio <= max_aspect_ratio"),
    ("batch_sampler { max_trials: 4294967295 }", "", "max_trials must be at most 10000"),
    ("", "expand_param { max_expand_ratio: 0.5 }", "max_expand_ratio at least 1"),
    ("", "expand_param { max_expand_ratio: 2 } mean_file: 'mean'", "mean_value instead of mean_file"),
    ("", "distort_param { brightness_delta: -1 }", "brightness_delta must be at least 0"),
    ("", "distort_param { contrast_lower: 2 contrast_upper: 1 }", "contrast_lower <= contrast_upper, found 2 and 1"),
    ("", "resize_param { height: 3 }", "set height and width"),
    ("", "resize_param { height: 3 width: 4 } resize_param { height: 5 width: 4 }", "must add up to 1, found 2"),
    ("yolo_data_type: 2", "", "expected yolo_data_type 0 or 1"),
    ("yolo_data_type: 1 yolo_data_jitter: 1", "", "below 1; found 1 and 1"),
    ("", "resize_param { height: 3 width: 4 } crop_size: 4", "crop_size 4 is more than an image of 3 x 4")])
def test_bad_settings(database, settings, transform, told):
    refused(f"type: 'AnnotatedData' data_param {{ source: '{database}' backend: LMDB batch_size: 1 }} "
            f"annotated_data_param {{ {settings} }} transform_param {{ {transform} }}", [], told, num_tops=2)


def test_images_that_do_not_fit_the_settings(database, tmp_path):
    with pytest.raises(ValueError, match="one shape, found .*set crop_size or resize_param, or batch_size: 1"):
        runner(database, "expand_param { max_expand_ratio: 3 }", batch=3).forward()
    with pytest.raises(ValueError, match="expected one pad_value, or one for each of 3 channels, found 2"):
        runner(database, "resize_param { height: 3 width: 4 resize_mode: FIT_LARGE_SIZE_AND_PAD pad_value: 1 "
                         "pad_value: 2 }").forward()
    grey = caffe_pb2.Datum(channels=1, height=4, width=5, data=bytes(20))
    with pytest.raises(ValueError, match="distort_param needs images of 3 channels of uint8, found 1"):
        runner(write(tmp_path / "grey", [record(None, [], datum=grey)]), "distort_param { }").forward()
