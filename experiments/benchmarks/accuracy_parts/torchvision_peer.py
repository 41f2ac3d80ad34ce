#!/usr/bin/env python3
"""Trains torchvision's Faster R-CNN from VGG16's convolutions, and tests it during training; resumes if interrupted.

The recipe is that of torchvision's references/detection: SGD with momentum 0.9, weight decay 1e-4 and a learning rate
of 0.02 for 16 images, so 0.0025 for a batch of 2; linear warm-up over 1,000 iterations or the first epoch; drops to a
tenth at 16/26 and 22/26 of the training; horizontal flips; batches grouped by aspect ratio. Detector, losses,
thresholds and anchors (32 to 512 pixels, three aspect ratios) are torchvision's defaults. Convolutions 1 and 2 are
frozen, as in ours. Images are preprocessed as the weights expect: RGB minus their mean, not divided by a standard
deviation. --precision bfloat16 trains with torch.autocast, as the reference's --amp does; tests run in float32.

Writes to --output: points.json (see runs.py), tests/<images seen>/ and checkpoint.npz.
"""
from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[3] / "tools")]
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torchvision.models import vgg16  # noqa: E402
from torchvision.models.detection import FasterRCNN  # noqa: E402
from torchvision.models.detection.rpn import AnchorGenerator  # noqa: E402

import _init_paths  # noqa: E402, F401
from accuracy_parts.peer_options import peer_parser  # noqa: E402
from caffe.proto import binary, caffe_pb2  # noqa: E402
from commands.options import positive, tool, writable_folder  # noqa: E402
from datasets.all_boxes import evaluate_by_name, save_detections  # noqa: E402
from datasets.factory import get_imdb  # noqa: E402
from datasets.imdb import imdb as Imdb  # noqa: E402
from utils.child_process import INTERRUPTED, StopRequest  # noqa: E402
from utils.files import read_json, write_json  # noqa: E402
from utils.folder_lock import FolderLock  # noqa: E402
from utils.images import read_image  # noqa: E402
from utils.npz import write_npz  # noqa: E402

BATCH = 2
RATE = 0.02 * BATCH / 16
WARM_UP = 1000                      # iterations; starts at a thousandth of the learning rate
DROPS = 16 / 26, 22 / 26            # fractions of the training after which the learning rate is divided by 10
FROZEN = 10                         # modules: convolutions 1 and 2 with their ReLUs and pooling
MEANS = 123.68, 116.779, 103.939    # RGB means of the images that the weights were trained on
SHAPES = 2.0 ** np.linspace(-1, 1, 7)       # limits between groups of aspect ratios (width / height)
CHECKPOINT_SECONDS = 300


def make_model(num_classes: int, weights: Path, size: Sequence[int]) -> FasterRCNN:
    """The detector; `size` is the images' shorter side and the limit of the longer one, in pixels."""
    trunk = vgg16(weights=None).features[:-1]
    load_convolutions(trunk, weights)
    trunk[:FROZEN].requires_grad_(False)
    trunk.out_channels = 512
    anchors = AnchorGenerator(sizes=((32, 64, 128, 256, 512),), aspect_ratios=((0.5, 1.0, 2.0),))
    return FasterRCNN(trunk, num_classes, min_size=size[0], max_size=size[1], rpn_anchor_generator=anchors,
                      image_mean=[mean / 255 for mean in MEANS], image_std=[1 / 255] * 3)


def load_convolutions(trunk: nn.Sequential, path: Path) -> None:
    """Copy the 13 convolutions of a caffemodel trained on BGR images into a trunk for RGB."""
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    blobs = {layer.name: [binary.blob_values(blob) for blob in layer.blobs] for layer in net.layer if layer.blobs}
    names = [f"conv{group}_{index}" for group, count in enumerate((2, 2, 3, 3, 3), 1) for index in range(1, count + 1)]
    convolutions = [module for module in trunk if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for name, module in zip(names, convolutions, strict=True):
            weight, bias = (torch.from_numpy(np.array(values, np.float32)) for values in blobs[name])
            weight = weight.reshape(module.weight.shape)
            module.weight.copy_(weight.flip(1) if name == "conv1_1" else weight)
            assert module.bias is not None
            module.bias.copy_(bias.reshape(-1))


# ---- the data
def batches(imdb: Imdb, seed: int) -> Iterator[list[tuple[int, bool]]]:
    """Yield batches of (image index, whether it is flipped), epoch by epoch, grouped by aspect ratio."""
    shapes = np.searchsorted(SHAPES, [width / height for width, height in imdb.image_sizes()])
    rng, waiting = np.random.default_rng(seed), defaultdict[int, list[tuple[int, bool]]](list)
    while True:
        for index in rng.permutation(imdb.num_images):
            group = waiting[shapes[index]]
            group.append((int(index), bool(rng.random() < 0.5)))
            if len(group) == BATCH:
                yield group.copy()
                group.clear()


def load_example(imdb: Imdb, objects: Sequence[Any], index: int, mirrored: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """An image (3, H, W), RGB in 0..1, and its targets; torchvision's boxes end one pixel after the last one."""
    image = load_image(imdb, index)
    boxes = torch.from_numpy(np.array(objects[index]["boxes"], np.float32)) + torch.tensor([0.0, 0, 1, 1])
    if mirrored:
        image = image.flip(2)
        boxes[:, [0, 2]] = image.shape[2] - boxes[:, [2, 0]]
    return image, {"boxes": boxes, "labels": torch.from_numpy(np.array(objects[index]["gt_classes"], np.int64))}


def load_image(imdb: Imdb, index: int) -> Tensor:
    """An image (3, H, W), RGB in 0..1."""
    pixels = np.ascontiguousarray(read_image(imdb.image_path_at(index))[:, :, ::-1])
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


# ---- training
class Training:
    """The model, its optimizer, and the progress: iterations done, and seconds of training without tests."""

    def __init__(self, model: FasterRCNN, iterations: int, warm_up: int, precision: str = "float32") -> None:
        self.model, self.iterations, self.warm_up, self.precision = model, iterations, warm_up, precision
        self.parameters = [weight for weight in model.parameters() if weight.requires_grad]
        self.solver = torch.optim.SGD(self.parameters, lr=RATE, momentum=0.9, weight_decay=1e-4)
        self.done, self.seconds = 0, 0.0

    def step(self, examples: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> float:
        """Run one iteration; returns the sum of its losses."""
        rate = RATE * 0.1 ** sum(self.done >= drop * self.iterations for drop in DROPS)
        if self.done < self.warm_up:
            rate *= 1e-3 + (1 - 1e-3) * self.done / self.warm_up
        self.solver.param_groups[0]["lr"] = rate
        images, targets = zip(*examples, strict=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss = sum(self.model.train()(list(images), list(targets)).values())
        self.solver.zero_grad()
        loss.backward()
        self.solver.step()
        self.done += 1
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        momentum = {f"momentum/{number}": self.solver.state[weight]["momentum_buffer"].numpy()
                    for number, weight in enumerate(self.parameters) if self.solver.state[weight]}
        weights = {f"weights/{name}": value.numpy() for name, value in self.model.state_dict().items()}
        write_npz(path, done=np.array(self.done), seconds=np.array(self.seconds),
                  random=torch.get_rng_state().numpy(), **weights, **momentum)

    def load(self, path: Path) -> None:
        """Resume from a checkpoint."""
        with np.load(path, allow_pickle=False) as file:
            self.done, self.seconds = int(file["done"]), float(file["seconds"])
            torch.set_rng_state(torch.from_numpy(file["random"]))
            self.model.load_state_dict({name.removeprefix("weights/"): torch.from_numpy(file[name])
                                        for name in file.files if name.startswith("weights/")})
            for number, weight in enumerate(self.parameters):
                if f"momentum/{number}" in file.files:
                    self.solver.state[weight]["momentum_buffer"] = torch.from_numpy(file[f"momentum/{number}"])


def detect(model: FasterRCNN, imdb: Imdb, num_classes: int) -> list[list[np.ndarray]]:
    """Detections [class][image] in our format: (n, 5), inclusive corners and score."""
    found: list[list[np.ndarray]] = [[] for _ in range(num_classes)]
    with torch.inference_mode():
        for index in range(imdb.num_images):
            result = {name: value.numpy() for name, value in model.eval()([load_image(imdb, index)])[0].items()}
            rows = np.column_stack([result["boxes"] - (0, 0, 1, 1), result["scores"]]).astype(np.float32)
            for label, of_class in enumerate(found):
                of_class.append(rows[result["labels"] == label])
    return found


def test(model: FasterRCNN, imdb: Imdb, classes: Sequence[str], output: Path) -> dict[str, Any]:
    """Detect and evaluate; returns the mean average precisions."""
    detections = detect(model, imdb, len(classes))
    output.mkdir(parents=True, exist_ok=True)
    save_detections(output / "detections.npz", detections, imdb.image_index, classes)
    return evaluate_by_name(imdb, detections, classes, output).as_json()["mean"]


def train(args: argparse.Namespace) -> int:
    """Train, testing at each point; returns the exit status."""
    start, imdb = time.monotonic(), get_imdb(args.imdb)
    test_imdb, objects, order = get_imdb(args.test_imdb, imdb.classes), imdb.gt_roidb(), batches(imdb, args.seed)
    iterations = max(args.images // BATCH, args.points)
    stops = {iterations * number // args.points for number in range(1, args.points + 1)}
    torch.manual_seed(args.seed)
    training = Training(make_model(imdb.num_classes, args.weights, args.size), iterations,
                        min(WARM_UP, imdb.num_images // BATCH - 1), args.precision)
    checkpoint, record = args.output / "checkpoint.npz", args.output / "points.json"
    points = read_json(record) if record.is_file() else []
    if checkpoint.is_file():
        training.load(checkpoint)
    for _ in range(training.done):
        next(order)
    training.seconds += time.monotonic() - start
    saved = time.monotonic()
    with StopRequest() as stop:
        while training.done < iterations and not stop.requested:
            start = time.monotonic()
            loss = training.step([load_example(imdb, objects, *chosen) for chosen in next(order)])
            training.seconds += time.monotonic() - start
            if training.done in stops or training.done % 20 == 0:
                print(f"torchvision  iter {training.done}/{iterations}  loss {loss:.4f}  {training.seconds:.0f} s",
                      flush=True)
            if training.done in stops:
                images = training.done * BATCH
                means = test(training.model, test_imdb, imdb.classes, args.output / "tests" / str(images))
                points = [point for point in points if point["images"] < images]
                points.append({"seconds": training.seconds, "images": images, **means})
                write_json(record, points)
            if training.done in stops or stop.requested or time.monotonic() > saved + CHECKPOINT_SECONDS:
                training.save(checkpoint)
                saved = time.monotonic()
    return 0 if training.done == iterations else INTERRUPTED


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = peer_parser(__doc__ or "")
    parser.add_argument("--size", type=positive, nargs=2, default=[600, 1000], metavar=("SHORTER", "LONGER"),
                        help="shorter side of images in pixels, and limit of the longer one (default: 600 1000)")
    args = parser.parse_args(argv)
    with FolderLock(writable_folder(args.output, "--output")):
        return train(args)


if __name__ == "__main__":
    sys.exit(main())
