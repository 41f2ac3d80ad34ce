"""Detectors of random weights, as finished runs."""
import json

import caffe
from net_definitions import model_files


def make_run(folder, classes=("cat", "dog"), settings="TEST: {SCALES: [120], HAS_RPN: true}\nPIXEL_STDS: 60\n", seed=1):
    """A run's folder with a finished detector."""
    folder.mkdir()
    net = folder / "faster_rcnn_test.pt"
    net.write_text(model_files("Tiny", len(classes) + 1)["Tiny/faster_rcnn_alt_opt/faster_rcnn_test.pt"])
    caffe.set_random_seed(seed)
    caffe.Net(str(net), caffe.TEST).save(str(folder / "model.caffemodel"))
    (folder / "test_cfg.yml").write_text(settings + "NUM_WORKERS: 0\n")
    (folder / "detector.json").write_text(json.dumps({
        "cfg": "test_cfg.yml", "net": net.name, "model": "model.caffemodel",
        "classes": ["__background__", *classes], "anchors": [16, [2, 4, 8], [0.5, 1, 2]]}))
    return folder
