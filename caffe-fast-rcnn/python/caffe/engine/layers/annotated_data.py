"""AnnotatedData: augmented images and their objects from a database."""
from __future__ import annotations

import numpy as np

from ...errors import WireError
from ...proto import caffe_pb2
from ..bases.annotations import BOX, OBJECT, objects_of, parse_annotated_datum, projected
from ..bases.batch_sampling import check_samplers, sampled_windows
from ..bases.colours import check_distortion, distorted
from ..bases.database_images import DatabaseLayer
from ..bases.images import planes
from ..blob import checked_shape
from ..layer import register

_YOLO_OBJECTS = 300     # rows per image that Yolov3 reads


@register("AnnotatedData")
class AnnotatedData(DatabaseLayer):
    """SSD's data layer: batches of AnnotatedDatum records from an LMDB or LevelDB database, in key order, endlessly.

    tops     images (batch_size, C, H, W); optionally objects (1, 1, G, 8): batch index, class, instance, x1, y1, x2, y2
             normalised by the image's width and height, difficult (0 or 1); a single row of -1 if there are no objects.
             (1, 1, 1, 8) until the first forward pass. For records without a type, labels (batch_size) instead. With
             yolo_data_type 1, objects (batch_size, 1, 300, 5) in the format of Yolov3: class, counted from 0, x and y
             of the centre, width, height; difficult objects are left out, unused rows are zero
    param    data_param as in Data: source, batch_size, backend, rand_skip; annotated_data_param: batch_sampler
             (repeated), anno_type (overrides the type of all records), yolo_data_type (0), yolo_data_jitter (0.3);
             transform_param

    Each image and its objects pass through these steps, as far as they are configured:
    distort_param     random brightness, contrast, saturation, hue and channel order
    expand_param      the image is placed at random on a canvas of mean_value, up to max_expand_ratio times as large
    batch_sampler     each draws max_trials random windows and keeps the first max_sample that satisfy sample_constraint
                      with at least one object; the image is cropped to one window of all samplers, if there is any
    yolo_data_type 1  instead of batch_sampler, the image is cropped to a random window whose sides are
                      1 - yolo_data_jitter to 1 times the image's
    resize_param      to height and width, with a random interpolation of interp_mode. If there are several, one is
                      chosen per batch, with probability prob; these add up to 1
    the rest          crop_size, mirror, mean_value and scale, as in Data
    Objects move with the image and are clipped to it; those without area or excluded by emit_constraint are dropped.
    The random seed determines all choices. TRAIN and TEST differ only in crop_size.
    Liu et al., "SSD", 2016, section 2.2. Source: src/caffe/layers/annotated_data_layer.cpp of SSD and MobileNet-YOLO.
    """

    unread_settings = (*DatabaseLayer.unread_settings, "annotated_data_param.label_map_file")

    def setup(self, bottom, top):
        param = self.param.transform_param
        self.emit = param.emit_constraint if param.HasField("emit_constraint") else None
        self.samplers = self.param.annotated_data_param.batch_sampler
        check_samplers(self, self.samplers)
        check_distortion(self, param.distort_param)
        if param.HasField("expand_param") and (param.expand_param.max_expand_ratio < 1 or param.mean_file):
            self.fail("expand_param needs max_expand_ratio at least 1, and mean_value instead of mean_file; found "
                      f"max_expand_ratio {param.expand_param.max_expand_ratio:g}, mean_file '{param.mean_file}'")
        self._take_yolo_settings()
        self.has_objects: bool | None = None        # unknown until the first record
        super().setup(bottom, top)
        self.numbers = np.random.default_rng(self.random.getrandbits(64))

    def _take_yolo_settings(self) -> None:
        param = self.param.annotated_data_param
        if param.yolo_data_type not in (0, 1) or not 0 <= param.yolo_data_jitter < 1:
            self.fail("expected yolo_data_type 0 or 1, and yolo_data_jitter at least 0 and below 1; found "
                      f"{param.yolo_data_type} and {param.yolo_data_jitter:g}")
        self.is_for_yolo = param.yolo_data_type == 1

    def parsed(self, value):
        record = parse_annotated_datum(value)
        is_annotated = record.HasField("type") or self.param.annotated_data_param.HasField("anno_type")
        if self.has_objects is None:
            self.has_objects = is_annotated
        if self.has_objects and not is_annotated:
            raise WireError("has no type, unlike the first one; set anno_type: BBOX")
        return record.datum, objects_of(record) if self.has_objects else record.datum.label

    def _shape(self, top, image_shape):
        super()._shape(top, image_shape)
        if len(top) > 1 and self.has_objects:
            top[1].reshape(*((self.batch_size, 1, _YOLO_OBJECTS, 5) if self.is_for_yolo else (1, 1, 1, 1 + OBJECT)))

    def labels_of_batch(self, labels):
        if not self.has_objects:
            return super().labels_of_batch(labels)
        if self.is_for_yolo:
            return np.stack([_for_yolo(objects) for objects in labels])[:, None]
        rows = np.concatenate([np.insert(objects, 0, item, axis=1) for item, objects in enumerate(labels)])
        return (rows if len(rows) else np.full((1, 1 + OBJECT), -1.0))[None, None]

    def transformed(self, image, label):
        objects = label if self.has_objects else np.empty((0, OBJECT))
        image, objects = self._expanded(self._distorted(image), objects)
        image, objects = self._sampled(image, objects)
        objects[:, BOX] = objects[:, BOX].clip(0, 1)
        image, view = self.transformer.viewed(image)
        objects = projected(objects, view.window, self.emit)
        if view.is_mirrored:
            objects[:, [2, 4]] = 1 - objects[:, [4, 2]]
        self._scale_boxes(objects, image.shape)
        return image, objects if self.has_objects else label

    # ---- the steps
    def _distorted(self, image: np.ndarray) -> np.ndarray:
        if not self.param.transform_param.HasField("distort_param"):
            return image
        if image.dtype != np.uint8 or len(image) != 3:
            self.fail(f"distort_param needs images of 3 channels of uint8, found {len(image)} of {image.dtype}")
        return planes(distorted(np.ascontiguousarray(image.transpose(1, 2, 0)),
                                self.param.transform_param.distort_param, self.random))

    def _expanded(self, image: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        param = self.param.transform_param.expand_param
        if not self.param.transform_param.HasField("expand_param") or self.random.random() > param.prob:
            return image, objects
        ratio, (channels, height, width) = self.random.uniform(1, param.max_expand_ratio), image.shape
        _, rows, columns = checked_shape((channels, int(height * ratio), int(width * ratio)))
        top, left = (int(self.random.uniform(0, most)) for most in (rows - height, columns - width))
        mean = self.transformer.mean_values(channels)
        if image.dtype != np.float32:
            mean = np.rint(mean).clip(0, np.iinfo(image.dtype).max)
        found = np.broadcast_to(mean.astype(image.dtype), (channels, rows, columns)).copy()
        found[:, top:top + height, left:left + width] = image
        window = np.array([-left, -top, columns - left, rows - top]) / [width, height, width, height]
        return found, projected(objects, window, self.emit)

    def _sampled(self, image: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        windows = (self._jittered() if self.is_for_yolo else
                   sampled_windows(objects[:, BOX], self.samplers, self.numbers))
        if not len(windows):
            return image, objects
        window = windows[self.random.randrange(len(windows))]
        sides = np.array([image.shape[2], image.shape[1]])
        left, top = np.minimum((window[:2] * sides).astype(int), sides - 1)
        width, height = np.maximum(((window[2:] - window[:2]) * sides).astype(int), 1)
        return image[:, top:top + height, left:left + width], projected(objects, window, self.emit)

    def _jittered(self) -> np.ndarray:
        """One random window (1, 4) of the image."""
        sides = self.numbers.uniform(1 - self.param.annotated_data_param.yolo_data_jitter, 1, 2)
        corner = self.numbers.uniform(size=2) * (1 - sides)
        return np.concatenate([corner, corner + sides])[None]

    def _scale_boxes(self, objects: np.ndarray, shape: tuple[int, ...]) -> None:
        """For FIT_SMALL_SIZE, normalise boxes by height_scale and width_scale instead of the image's size."""
        param = self.transformer.resize
        if param is None or param.resize_mode != caffe_pb2.ResizeParameter.FIT_SMALL_SIZE:
            return
        scales = np.array([param.width_scale, param.height_scale])
        if not scales.all():
            return
        size = np.array(shape[:0:-1])
        if (size < scales).any():
            self.fail(f"resize_param: width_scale and height_scale {scales.tolist()} are more than an image of "
                      f"{size[0]} x {size[1]} pixels")
        objects[:, BOX] *= np.tile(size / scales, 2)


def _for_yolo(objects: np.ndarray) -> np.ndarray:
    """The first objects that are not difficult, in the format of Yolov3: (300, 5)."""
    kept = objects[objects[:, -1] == 0][:_YOLO_OBJECTS]
    corners, found = kept[:, BOX].reshape(-1, 2, 2), np.zeros((_YOLO_OBJECTS, 5))
    found[:len(kept)] = np.column_stack([kept[:, 0] - 1, corners.mean(1), corners[:, 1] - corners[:, 0]])
    return found
