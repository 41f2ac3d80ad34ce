"""The kinds of input: for each, some valid examples, the mutations to damage them with, and the program's reader."""
from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
from mutations import (
    Mutation,
    damage_bytes,
    damage_hdf5,
    damage_image,
    damage_message,
    damage_npz,
    damage_text,
    damage_xml,
    damage_yaml,
)

import caffe
from caffe.commands import convert_annoset
from caffe.commands.flags import Flags
from caffe.proto import caffe_pb2

ROOT = Path(__file__).resolve().parents[2]

IMAGE_NET = """name: "images"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 10 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { name: "b" lr_mult: 2 }
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 1 group: 1 dilation: 1
                            weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" value: 0.5 } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { use_global_stats: true eps: 1e-5 } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { axis: 1 bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "norm" type: "LRN" bottom: "conv" top: "norm" lrn_param { local_size: 3 alpha: 0.1 beta: 0.75 k: 1 } }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "pool" top: "up"
        convolution_param { num_output: 4 kernel_size: 2 stride: 2 group: 2 bias_term: false } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "conv" top: "crop" crop_param { axis: 2 offset: 0 } }
layer { name: "sum" type: "Eltwise" bottom: "crop" bottom: "conv" top: "sum" eltwise_param { operation: SUM coeff: 1
        coeff: -1 } }
layer { name: "cut" type: "Slice" bottom: "sum" top: "a" top: "b" slice_param { axis: 1 slice_point: 1 } }
layer { name: "join" type: "Concat" bottom: "b" bottom: "a" top: "join" concat_param { axis: 1 } }
layer { name: "turn" type: "Permute" bottom: "join" top: "turn" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "form" type: "Reshape" bottom: "turn" top: "form" reshape_param { shape { dim: 0 dim: -1 dim: 4 } } }
layer { name: "flat" type: "Flatten" bottom: "form" top: "flat" flatten_param { axis: 1 end_axis: -1 } }
layer { name: "fc" type: "InnerProduct" bottom: "flat" top: "fc" inner_product_param { num_output: 5
        weight_filler { type: "xavier" variance_norm: AVERAGE } } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" dropout_param { dropout_ratio: 0.4 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" softmax_param { axis: 1 } }
"""
LOSS_NET = """name: "losses"
layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 4 dim: 6 } shape { dim: 4 dim: 1 }
        data_filler { type: "uniform" min: -1 max: 1 } data_filler { type: "constant" value: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" param { lr_mult: 1 decay_mult: 0 }
        inner_product_param { num_output: 3 weight_filler { type: "msra" } }
        include { phase: TRAIN not_stage: "deploy" } }
layer { name: "act" type: "PReLU" bottom: "fc" top: "act" prelu_param { channel_shared: false } }
layer { name: "tile" type: "Tile" bottom: "act" top: "tile" tile_param { axis: 1 tiles: 2 } }
layer { name: "power" type: "Power" bottom: "tile" top: "power" power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "sum" type: "Reduction" bottom: "power" top: "sum" reduction_param { operation: SUMSQ axis: 1 coeff: 0.1 }
        loss_weight: 0.1 }
layer { name: "exp" type: "Exp" bottom: "act" top: "exp" exp_param { base: 2 scale: 0.1 shift: 0 } }
layer { name: "log" type: "Log" bottom: "exp" top: "log" log_param { base: 3 shift: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "act" bottom: "y" top: "loss" loss_param { ignore_label: -1
        normalization: VALID } propagate_down: true propagate_down: false }
layer { name: "hinge" type: "HingeLoss" bottom: "log" bottom: "y" top: "hinge" hinge_loss_param { norm: L2 } }
layer { name: "hit" type: "Accuracy" bottom: "act" bottom: "y" top: "hit" accuracy_param { top_k: 1 axis: 1 } }
"""
RECURRENT_NET = """name: "sequences"
layer { name: "x" type: "DummyData" top: "x" top: "cont" top: "id" dummy_data_param { shape { dim: 3 dim: 2 dim: 4 }
        shape { dim: 3 dim: 2 } shape { dim: 5 } data_filler { type: "gaussian" std: 1 } data_filler { value: 1 }
        data_filler { value: 2 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "lstm" recurrent_param { num_output: 3
        weight_filler { type: "uniform" min: -0.1 max: 0.1 } } }
layer { name: "embed" type: "Embed" bottom: "id" top: "embed" embed_param { input_dim: 4 num_output: 3 } }
layer { name: "arg" type: "ArgMax" bottom: "embed" top: "arg" argmax_param { top_k: 2 axis: 1 out_max_val: true } }
layer { name: "spp" type: "SPP" bottom: "image" top: "spp" spp_param { pyramid_height: 2 pool: AVE } }
layer { name: "roi" type: "ROIPooling" bottom: "image" bottom: "rois" top: "roi" roi_pooling_param { pooled_w: 2
        pooled_h: 3 spatial_scale: 0.5 } }
layer { name: "columns" type: "Im2col" bottom: "image" top: "columns" convolution_param { kernel_size: 2 stride: 2 } }
"""
RECURRENT_NET = RECURRENT_NET.replace('layer { name: "spp"', """layer { name: "image" type: "DummyData" top: "image"
        top: "rois" dummy_data_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } shape { dim: 2 dim: 5 } } }
layer { name: "spp\"""", 1)
SOLVER = """net: "net.pt" base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 3 momentum: 0.9 weight_decay: 0.0005
display: 0 average_loss: 2 iter_size: 2 max_iter: 4 snapshot: 0 snapshot_prefix: "small" type: "SGD" random_seed: 3
clip_gradients: 10 regularization_type: "L2" test_interval: 0
"""
OTHER_SOLVER = """net: "net.pt" base_lr: 0.01 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 3 max_iter: 4
type: "Adam" momentum: 0.9 momentum2: 0.999 delta: 1e-8 solver_mode: CPU debug_info: false snapshot_format: HDF5
"""


class Target:
    """A kind of input, read from a file in `folder`, which is initially empty."""

    suffix = ""                         # of the input file
    mutations: tuple[Mutation, ...] = (damage_bytes,)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"input{self.suffix}"

    def seeds(self) -> list[bytes]:
        """Valid inputs."""
        raise NotImplementedError

    def read(self) -> None:
        """Read the file `path` as the program does."""
        raise NotImplementedError


# ---- the engine
class Prototxt(Target):
    """Nets, which are built and run forward, and backward in training."""

    suffix = ".prototxt"
    mutations = (damage_text, damage_text, damage_text, damage_bytes)

    def seeds(self):
        return [text.encode() for text in (IMAGE_NET, LOSS_NET, RECURRENT_NET)]

    def read(self):
        net = caffe.Net(str(self.path), caffe.TRAIN)
        net.forward()
        net.backward()


class Solver(Target):
    """Solvers of a small net, which do two iterations."""

    suffix = ".prototxt"
    mutations = Prototxt.mutations

    def seeds(self):
        (self.folder / "net.pt").write_text(LOSS_NET)
        return [SOLVER.encode(), OTHER_SOLVER.encode()]

    def read(self):
        solver = caffe.get_solver(str(self.path))
        if solver.param.iter_size <= 100:       # a large iter_size is valid, but slow
            solver.step(2)


class Caffemodel(Target):
    """Weights of a small net."""

    suffix = ".caffemodel"
    mutations = (damage_message(caffe_pb2.NetParameter), damage_bytes)

    def __init__(self, folder):
        super().__init__(folder)
        (folder / "net.pt").write_text(IMAGE_NET)
        caffe.set_random_seed(1)
        self.net = caffe.Net(str(folder / "net.pt"), caffe.TEST)

    def seeds(self):
        self.net.save(str(self.path))
        new = self.path.read_bytes()
        old, stored = caffe_pb2.NetParameter(), caffe_pb2.NetParameter.FromString(new)
        types = {"Convolution": 4, "InnerProduct": 14}
        for layer in stored.layer:
            if layer.type in types:
                weights = old.layers.add(name=layer.name, type=types[layer.type], blobs=layer.blobs).blobs[0]
                sides = [1] * (4 - len(weights.shape.dim)) + list(weights.shape.dim)
                weights.num, weights.channels, weights.height, weights.width = sides
                weights.ClearField("shape")
        return [new, old.SerializeToString()]

    def read(self):
        self.net.copy_from(str(self.path))


class CaffemodelHDF5(Caffemodel):
    """The same in HDF5."""

    suffix = ".caffemodel.h5"
    mutations = (damage_hdf5, damage_bytes)

    def seeds(self):
        self.net.save_hdf5(str(self.path))
        return [self.path.read_bytes()]


class Solverstate(Target):
    """States of a solver, with the weights next to them."""

    suffix = ".solverstate"
    mutations = (damage_message(caffe_pb2.SolverState), damage_bytes)
    text = SOLVER

    def __init__(self, folder):
        super().__init__(folder)
        (folder / "net.pt").write_text(LOSS_NET)
        (folder / "solver.pt").write_text(self.text.replace('"small"', f'"{folder}/small"'))
        caffe.set_random_seed(1)
        self.solver = caffe.get_solver(str(folder / "solver.pt"))

    def seeds(self):
        self.solver.step(1)
        return [Path(self.solver.snapshot()).read_bytes()]

    def read(self):
        self.solver.restore(str(self.path))


class SolverstateHDF5(Solverstate):
    """The same in HDF5."""

    suffix = ".solverstate.h5"
    mutations = (damage_hdf5, damage_bytes)
    text = SOLVER + "snapshot_format: HDF5"


class HDF5Data(Target):
    """Records of an HDF5Data layer."""

    suffix = ".h5"
    mutations = (damage_hdf5, damage_bytes)

    def seeds(self):
        (self.folder / "list.txt").write_text(str(self.path))
        (self.folder / "net.pt").write_text(
            'layer { name: "data" type: "HDF5Data" top: "x" top: "y" '
            f'hdf5_data_param {{ source: "{self.folder}/list.txt" batch_size: 2 }} }}')
        rng = np.random.default_rng(0)
        with h5py.File(self.path, "w") as file:
            file["x"], file["y"] = rng.random((5, 3, 2)).astype("f4"), np.arange(5, dtype="f4")
        return [self.path.read_bytes()]

    def read(self):
        net = caffe.Net(str(self.folder / "net.pt"), caffe.TRAIN)
        for _ in range(4):
            net.forward()


class ImageDataList(Target):
    """The list of an ImageData layer."""

    suffix = ".txt"
    mutations = (damage_text, damage_bytes)

    def seeds(self):
        make_images(self.folder)
        (self.folder / "net.pt").write_text(
            f'layer {{ name: "data" type: "ImageData" top: "x" top: "y" image_data_param {{ source: "{self.path}" '
            f'root_folder: "{self.folder}/" batch_size: 2 new_height: 6 new_width: 8 }} }}')
        return [b"a.png 0\nb.jpg 3\na.png 1\n"]

    def read(self):
        net = caffe.Net(str(self.folder / "net.pt"), caffe.TRAIN)
        for _ in range(3):
            net.forward()


class AnnotatedRecord(Target):
    """A record read by an AnnotatedData layer with all processing steps."""

    mutations = (damage_message(caffe_pb2.AnnotatedDatum), damage_bytes)

    def seeds(self):
        pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
        (self.folder / "net.pt").write_text(
            'layer { name: "data" type: "AnnotatedData" top: "x" top: "y" data_param { batch_size: 2 backend: LMDB '
            f'source: "{self.folder}/db" }} annotated_data_param {{ batch_sampler {{ sampler {{ min_scale: 0.3 }} '
            'sample_constraint { min_jaccard_overlap: 0.5 } } } transform_param { mirror: true distort_param { '
            'hue_prob: 0.5 hue_delta: 9 } expand_param { max_expand_ratio: 2 } resize_param { height: 6 width: 5 } '
            'emit_constraint { } } }')
        found = []
        for datum in (caffe_pb2.Datum(encoded=True, data=cv2.imencode(".png", pixels)[1].tobytes(), label=3),
                      caffe_pb2.Datum(channels=3, height=6, width=8, data=pixels.tobytes())):
            record = caffe_pb2.AnnotatedDatum(datum=datum, type=caffe_pb2.AnnotatedDatum.BBOX)
            for label in (1, 2):
                record.annotation_group.add(group_label=label).annotation.add(
                    instance_id=1, bbox=dict(xmin=0.2, ymin=0.1, xmax=0.7, ymax=0.8, difficult=True))
            found.append(record.SerializeToString())
        return found

    def read(self):
        shutil.rmtree(self.folder / "db", ignore_errors=True)
        with lmdb.open(str(self.folder / "db"), map_size=1 << 22) as environment, \
                environment.begin(write=True) as transaction:
            transaction.put(b"0", self.path.read_bytes())
        net = caffe.Net(str(self.folder / "net.pt"), caffe.TRAIN)
        for _ in range(3):
            net.forward()


class AnnotatedSet(Target):
    """A file of objects for convert_annoset: XML, JSON or text."""

    mutations = (damage_xml, damage_text, damage_bytes)

    def seeds(self):
        cv2.imwrite(str(self.folder / "a.png"), np.zeros((36, 48, 3), np.uint8))
        (self.folder / "list.txt").write_text(f"a.png {self.path.name}\n")
        (self.folder / "labels").write_text("item { name: 'cat' label: 1 } item { name: 'dog' label: 2 }")
        objects = [{"category_id": "cat", "bbox": [1, 2, 9, 9.5]},
                   {"category_id": "dog", "iscrowd": 1, "bbox": [0, 0, 48, 36]}]
        content = {"image": {"width": 48, "height": 36}, "annotation": objects}
        return [annotation("a.png").encode(), json.dumps(content, indent=1).encode(), b"1 2 3 20 30\n2 0 0 48 36\n"]

    def read(self):
        """Raises the error that the command would print."""
        shutil.rmtree(self.folder / "db", ignore_errors=True)
        kind = {b"<": "xml", b"{": "json"}.get(self.path.read_bytes()[:1], "txt")
        flags = Flags("convert_annoset", "", "")
        convert_annoset.add_flags(flags)
        convert_annoset.run(flags.read([
            "-anno_type=detection", f"-label_type={kind}", f"-label_map_file={self.folder}/labels", f"{self.folder}/",
            f"{self.folder}/list.txt", f"{self.folder}/db"]))


# ---- data sets
def make_images(folder: Path) -> None:
    """a.png and b.jpg, 48 x 36 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(str(folder / name), cv2.resize(pixels, (48, 36)))


def annotation(name: str) -> str:
    """XML of an image with two objects."""
    boxes = [("cat", 5, 6, 20, 30), ("dog", 10, 3, 40, 33)]
    objects = "".join(f"<object><name>{label}</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>"
                      f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>\n"
                      for label, x1, y1, x2, y2 in boxes)
    return (f"<annotation>\n<folder>JPEGImages</folder><filename>{name}</filename>\n<size><width>48</width>"
            f"<height>36</height><depth>3</depth></size>\n{objects}</annotation>\n")


class DataSet(Target):
    """A data set of two images in VOC's layout."""

    file = ""       # path of the damaged file in the data set

    def __init__(self, folder):
        super().__init__(folder)
        self.root = folder / "set"
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (self.root / part).mkdir(parents=True, exist_ok=True)
        make_images(self.root / "JPEGImages")
        for name, file in (("a", "a.png"), ("b", "b.jpg")):
            (self.root / "Annotations" / f"{name}.xml").write_text(annotation(file))
        (self.root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
        self.path = self.root / self.file

    def seeds(self):
        return [self.path.read_bytes()]

    def read(self):
        self.read_set(self.root)

    def read_set(self, path: Path):
        """Read everything that training reads of a data set."""
        from commands.data_set import load_imdb, prepare_to_train
        from fast_rcnn.config import reset_cfg
        reset_cfg()
        imdb = load_imdb(str(path))
        prepare_to_train(imdb, str(path))
        imdb.append_flipped_images()
        for entry in imdb.roidb:
            assert entry["boxes"].shape == (len(entry["gt_classes"]), 4) and np.isfinite(entry["boxes"]).all()
            assert (entry["boxes"] >= 0).all() and (entry["boxes"][:, 2:] >= entry["boxes"][:, :2]).all()
        return imdb


class Xml(DataSet):
    """An annotation."""

    file = "Annotations/a.xml"
    mutations = (damage_xml, damage_text, damage_bytes)


class OtherFormat(DataSet):
    """A data set in another format than VOC's: two images and the damaged file."""

    content = ""
    mutations = (damage_text, damage_bytes)
    others: dict[str, str] = {}     # undamaged files: path and text

    def __init__(self, folder):
        Target.__init__(self, folder)
        self.root = folder / "set"
        (self.root / "images").mkdir(parents=True, exist_ok=True)
        make_images(self.root / "images")
        for name, text in {**self.others, self.file: self.content}.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)
        self.path = self.root / self.file


class Coco(OtherFormat):
    """COCO's JSON."""

    file = "annotations/instances_train.json"
    content = json.dumps({
        "images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 36}, {"id": 5, "file_name": "b.jpg"}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog", "supercategory": "pet"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2.5, 10, 12], "iscrowd": 0},
                        {"id": 2, "image_id": 1, "category_id": 90, "bbox": [4, 5, 20, 20], "iscrowd": 1},
                        {"id": 3, "image_id": 5, "category_id": 90, "segmentation": [[1, 2, 9, 2, 9, 8]]}]}, indent=1)


class YoloLabels(OtherFormat):
    """YOLO's label file."""

    file = "labels/a.txt"
    content = "0 0.5 0.5 0.25 0.25\n1 0.4 0.4 0.1 0.2\n1 0.1 0.1 0.5 0.1 0.5 0.5\n"
    others = {"labels/b.txt": "1 0.5 0.5 0.5 0.5\n", "classes.txt": "cat\ndog\n"}


class YoloYaml(OtherFormat):
    """YOLO's description."""

    file = "data.yaml"
    content = "path: .\ntrain: images\nval: [images]\nnames:\n  0: cat\n  1: dog\nnc: 2\n"
    others = {"labels/a.txt": "0 0.5 0.5 0.25 0.25\n", "labels/b.txt": "1 0.5 0.5 0.5 0.5\n"}
    mutations = (damage_yaml, damage_text, damage_bytes)


class CsvBoxes(OtherFormat):
    """A CSV file with a header."""

    file = "train.csv"
    content = ("filename,width,height,class,xmin,ymin,xmax,ymax\na.png,48,36,cat,1,2,20,30\na.png,48,36,dog,4,5,9,9\n"
               "b.jpg,48,36,cat,3,4,20,20\n")


class LabelMe(OtherFormat):
    """LabelMe's JSON."""

    file = "annotations/a.json"
    content = json.dumps({
        "version": "5.4.1", "flags": {}, "imagePath": "..\\images\\a.png", "imageData": None,
        "imageWidth": 48, "imageHeight": 36,
        "shapes": [{"label": "cat", "points": [[1, 2], [20, 30.5]], "shape_type": "rectangle", "flags": {}},
                   {"label": "dog", "points": [[1, 2], [9, 9], [20, 3]], "shape_type": "polygon", "group_id": None},
                   {"label": "__ignore__", "points": [[5, 5], [7, 7]], "shape_type": "circle"}]}, indent=1)
    others = {"annotations/b.json": content.replace("a.png", "b.jpg")}


class Cvat(OtherFormat):
    """CVAT's XML for images."""

    file = "annotations.xml"
    content = ('<annotations><version>1.1</version>\n<image id="0" name="a.png" width="48" height="36">'
               '<box label="cat" xtl="1.0" ytl="2.0" xbr="20.0" ybr="30.0" rotation="30"/>'
               '<polygon label="dog" points="1.0,2.0;9.0,9.0;4.0,20.0"/></image>\n<image id="1" name="b.jpg">'
               '<box label="dog" xtl="1" ytl="2" xbr="9" ybr="9"><attribute name="difficult">true</attribute></box>'
               '<ellipse label="cat" cx="9" cy="9" rx="4" ry="5"/></image></annotations>')
    mutations = (damage_xml, damage_text, damage_bytes)


class Kitti(OtherFormat):
    """KITTI's label file."""

    file = "labels/a.txt"
    content = ("Car 0.00 0 -1.58 1.00 2.00 20.00 30.00 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
               "DontCare -1 -1 -10 5.00 6.00 30.00 30.00 -1 -1 -1 -1000 -1000 -1000 -10\n")
    others = {"labels/b.txt": content}


class WiderFace(OtherFormat):
    """WIDER FACE's list."""

    file = "wider_face_train_bbx_gt.txt"
    content = "a.png\n2\n1 2 20 20 0 0 0 0 0 0\n4 5 9 9 0 0 0 1 0 0\nb.jpg\n1\n3 3 9 9 0 0 0 0 0 0\n"


class ImageList(DataSet):
    """The list of a split's images."""

    file = "ImageSets/Main/train.txt"
    mutations = (damage_text, damage_bytes)


class Image(DataSet):
    """An image file; the size that the data set reports must be that of the decoded image."""

    file = "JPEGImages/a.png"
    mutations = (damage_image, damage_bytes)

    def seeds(self):
        pixels = cv2.imread(str(self.path))
        files = [cv2.imencode(suffix, image)[1].tobytes() for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp")
                 for image in (pixels, pixels[..., 0])]
        return [*files, cv2.imencode(".png", np.dstack([pixels, pixels[..., :1]]))[1].tobytes(),
                cv2.imencode(".png", pixels.astype(np.uint16) * 200)[1].tobytes()]

    def read(self):
        from utils.images import read_image
        imdb = self.read_set(self.root)
        for index, (width, height) in enumerate(imdb.image_sizes()[:imdb.num_images]):
            shape = read_image(imdb.image_path_at(index)).shape
            assert shape == (height, width, 3), f"the data set says {width} x {height}, decoded are {shape}"


class Description(DataSet):
    """The YAML file of a data set."""

    file = "set.yml"
    mutations = (damage_yaml, damage_text, damage_bytes)

    def seeds(self):
        return [b"images: JPEGImages\nannotations: Annotations\nimage_sets:\n  train: ImageSets/Main/train.txt\n"
                b"classes: [cat, dog]\nzero_based: false\nuse_difficult: true\n"]

    def read(self):
        self.read_set(self.path)


class Proposals(DataSet):
    """Proposals of a data set, in npz."""

    file = "proposals.npz"
    mutations = (damage_npz, damage_bytes)

    def seeds(self):
        from datasets.proposals_file import save_proposals
        rng = np.random.default_rng(0)
        corners = rng.uniform(0, 20, (2, 5, 2))
        save_proposals(self.path, np.concatenate([corners, corners + 15], 2), rng.random((2, 5)), ["a", "b"])
        return [self.path.read_bytes()]

    def read(self):
        from commands.data_set import use_proposals
        from datasets.factory import get_imdb
        imdb = get_imdb(str(self.root))
        use_proposals(imdb, "rpn", str(self.path))
        for entry in imdb.roidb:
            assert len(entry["boxes"]) == len(entry["max_overlaps"])


# ---- the detector
class Cfg(Target):
    """A file of settings."""

    suffix = ".yml"
    mutations = (damage_yaml, damage_text, damage_bytes)

    def seeds(self):
        return [path.read_bytes() for path in sorted((ROOT / "experiments" / "cfgs").glob("*.yml"))]

    def read(self):
        from fast_rcnn.config import cfg, cfg_from_file, reset_cfg
        from utils.images import ImageSettings
        reset_cfg()
        cfg_from_file(self.path)
        ImageSettings.from_cfg(cfg, "TRAIN")


class TrainNet(Target):
    """The checks of a prototxt before training."""

    suffix = ".pt"
    mutations = Prototxt.mutations

    def seeds(self):
        folder = ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt"
        return [(folder / name).read_bytes() for name in ("stage1_rpn_train.pt", "stage1_fast_rcnn_train.pt")]

    def read(self):
        from checks.nets import check_train_net
        from fast_rcnn.config import cfg, reset_cfg
        from utils.errors import raise_all
        reset_cfg()
        cfg.TRAIN.HAS_RPN = b"gt_boxes" in self.path.read_bytes()
        cfg.TRAIN.USE_OHEM = cfg.TRAIN.BBOX_REG = not cfg.TRAIN.HAS_RPN
        raise_all(check_train_net(self.path, cfg.TRAIN, 21))


class TestNet(Target):
    """The net of a detector, built."""

    suffix = ".pt"
    mutations = Prototxt.mutations

    def seeds(self):
        return [(ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / name).read_bytes()
                for name in ("faster_rcnn_test.pt", "rpn_test.pt")]

    def read(self):
        caffe.Net(str(self.path), caffe.TEST)


class Checkpoint(Target):
    """The record of a checkpoint."""

    suffix = ""
    mutations = (damage_text, damage_bytes)

    def __init__(self, folder):
        super().__init__(folder)
        self.path = folder / "checkpoint.json"
        (folder / "iter_10").mkdir()
        (folder / "iter_10" / "checkpoint_iter_10.solverstate").write_bytes(b"state")

    def seeds(self):
        state = "iter_10/checkpoint_iter_10.solverstate"
        entry = {"iteration": 10, "run": "hash", "seed": 3, "state": state}
        hashed = {**entry, "files": {state: hashlib.sha256(b"state").hexdigest()}}
        return [json.dumps(value, indent=1).encode() for value in (entry, {**hashed, "previous": hashed})]

    def read(self):
        from fast_rcnn.checkpoints import Checkpoints
        Checkpoints(self.folder, "hash").newest()


KINDS: dict[str, type[Target]] = {
    "prototxt": Prototxt, "solver": Solver, "caffemodel": Caffemodel, "caffemodel_h5": CaffemodelHDF5,
    "solverstate": Solverstate, "solverstate_h5": SolverstateHDF5, "hdf5": HDF5Data, "image_data": ImageDataList,
    "annotated_data": AnnotatedRecord, "annoset": AnnotatedSet,
    "xml": Xml, "coco": Coco, "yolo": YoloLabels, "yolo_yaml": YoloYaml, "csv": CsvBoxes, "labelme": LabelMe,
    "cvat": Cvat, "kitti": Kitti, "wider_face": WiderFace,
    "list": ImageList, "image": Image, "yaml": Description, "npz": Proposals, "cfg": Cfg,
    "train_net": TrainNet, "test_net": TestNet, "checkpoint": Checkpoint}


def make_target(kind: str, folder: Path) -> tuple[Target, list[bytes]]:
    """The target of a kind in a new folder, and its valid inputs."""
    shutil.rmtree(folder, ignore_errors=True)
    target = KINDS[kind](folder)
    return target, target.seeds()
