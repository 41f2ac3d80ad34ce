"""A model of train_net.py, or of a stage of a run, can be tested with the record next to it."""
import json
import shutil

import pytest

from datasets.all_boxes import stored_classes
from fast_rcnn.config import cfg, reset_cfg

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("default_settings")]
CLASSES = ["__background__", "ball", "brick", "ring", "star"]


def test_snapshots_carry_class_names_anchors_and_settings(demo_data, tmp_path, capsys):
    import test_net
    import train_net
    from make_models import make_models
    nets = make_models("Tiny", 5, out_dir=tmp_path / "models")
    folder = next(path.parent for path in nets if path.name == "train.pt")
    output, imdb = tmp_path / "out", ["--imdb", f"{demo_data}:test", "--cpu"]
    assert train_net.main([*imdb, "--solver", str(folder / "solver.pt"), "--iters", "2", "--output", str(output),
                           "--cfg", "experiments/cfgs/tiny_end2end.yml", "--set", "TRAIN.SCALES", "(96,)",
                           "TEST.SCALES", "(128,)", "TRAIN.SNAPSHOT_ITERS", "1"]) == 0
    assert "it never falls" in capsys.readouterr().out
    for model in ("tiny_faster_rcnn_iter_1", "tiny_faster_rcnn_iter_2"):
        record = json.loads((output / f"{model}.detector.json").read_text())
        assert record["classes"] == CLASSES and record["anchors"] == [16, [2, 4, 8], [0.5, 1, 2]]
    reset_cfg()
    words = [*imdb, "--net", str(output / "tiny_faster_rcnn_iter_2.caffemodel"), "--output", str(tmp_path / "test")]
    assert test_net.main([*words, "--def", str(folder / "test.pt")]) == 0
    assert f"Settings and class names of the net: {output}" in capsys.readouterr().out
    assert stored_classes(tmp_path / "test" / "detections.npz") == tuple(CLASSES)
    assert (cfg.TEST.HAS_RPN, cfg.TEST.SCALES, cfg.PIXEL_STDS.max()) == (True, (128,), 60)
    other = tmp_path / "other.pt"
    other.write_text((folder / "test.pt").read_text().replace("[2, 4, 8]", "[2, 4, 9]"))
    assert test_net.main([*words, "--def", str(other)]) == 2
    assert "those of the trained net" in capsys.readouterr().err


def test_a_finished_run_knows_its_anchors(finished_run):
    note = json.loads((finished_run[0] / "detector.json").read_text())
    assert note["classes"] == CLASSES and note["anchors"] == [16, [2, 4, 8], [0.5, 1, 2]]
    assert note["data set"].endswith(":trainval")


STAGES = {"tiny_rpn_stage1_iter_12": True, "tiny_fast_rcnn_stage1_iter_3": False, "tiny_rpn_stage2_iter_4": True,
          "tiny_fast_rcnn_stage2_iter_60": True}       # model: whether its RPN is trained


def test_models_of_the_stages_have_records(finished_run):
    """Records exist for all final models of stages; those of removed snapshots are removed too."""
    output = finished_run[0]
    assert {path.name for path in output.glob("*_iter_*.detector.json")} == {f"{name}.detector.json" for name in STAGES}
    for name, has_rpn in STAGES.items():
        record = json.loads((output / f"{name}.detector.json").read_text())
        test = record["settings"]["TEST"]
        assert (record["classes"], test["HAS_RPN"], test["SCALES"], test["MAX_SIZE"]) == (CLASSES, has_rpn, [160], 240)
        assert record["anchors"] == ([16, [2, 4, 8], [0.5, 1, 2]] if "_rpn_" in name else None)


def test_models_of_the_stages_are_tested_with_their_records(finished_run, demo_data, tmp_path, capsys):
    import rpn_generate
    import test_net
    imdb, nets = ["--imdb", f"{demo_data}:test", "--cpu"], finished_run[0] / "models/Tiny/faster_rcnn_alt_opt"
    for name in STAGES:
        for suffix in (".caffemodel", ".detector.json"):
            shutil.copy(finished_run[0] / f"{name}{suffix}", tmp_path)

    def use(tool, net, name, output):
        reset_cfg()
        status = tool.main([*imdb, "--def", str(nets / net), "--net", str(tmp_path / f"{name}.caffemodel"),
                            "--output", str(tmp_path / output)])
        printed = capsys.readouterr()
        assert f"Settings and class names of the net: {tmp_path / name}.detector.json" in printed.out
        return status, printed.err
    assert use(rpn_generate, "rpn_test.pt", "tiny_rpn_stage1_iter_12", "proposals.npz")[0] == 0
    assert cfg.TEST.SCALES == (160,)
    assert use(test_net, "faster_rcnn_test.pt", "tiny_fast_rcnn_stage2_iter_60", "two")[0] == 0
    assert cfg.TEST.SCALES == (160,) and stored_classes(tmp_path / "two" / "detections.npz") == tuple(CLASSES)
    status, text = use(test_net, "faster_rcnn_test.pt", "tiny_fast_rcnn_stage1_iter_3", "one")
    assert status == 2 and "tiny_fast_rcnn_stage1_iter_3.caffemodel was trained without an RPN" in text, text
