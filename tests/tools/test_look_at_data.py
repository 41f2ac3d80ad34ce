"""tools/look_at_data.py: its figures, its suggested commands in the other tools, and its errors."""
import json
import shlex
import shutil

import cv2
import numpy as np
import pytest
from test_mistakes import ROOT, load_tool

from alt_opt.setup import make_run
from checks.data import train_anchors
from fast_rcnn.config import cfg, cfg_from_file, reset_cfg
from net_definitions import model_files

pytestmark = pytest.mark.usefixtures("default_settings")


@pytest.fixture
def run(capsys):
    """Runs a tool in this process with default settings; returns its exit status, output and errors."""
    def call(name, *words):
        reset_cfg()
        status = load_tool(name).main([str(word) for word in words])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out, printed.err
    return call


@pytest.fixture
def data(tmp_path):
    """Eleven images of 400 x 300 pixels with two small chips and a large board each."""
    folder, rng = tmp_path / "boards", np.random.default_rng(0)
    folder.mkdir()
    for number in range(11):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (300, 400, 3), np.uint8))
        objects = "".join(box_xml(name, *rng.integers(1, 80, 2), side + number)
                          for name, side in (("chip", 20), ("chip", 22), ("board", 130)))
        (folder / f"{number}.xml").write_text(f"<annotation>{objects}</annotation>")
    return folder


def box_xml(name, x, y, side):
    return (f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + side - 1}</xmax>"
            f"<ymax>{y + side - 1}</ymax></bndbox></object>")


def advised(text):
    """The suggested commands at the end of the report: the options by tool."""
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("  python tools/")]
    return {words[1].removeprefix("tools/").removesuffix(".py"): words[2:] for words in commands}


def test_the_report(run, data):
    status, text, _ = run("look_at_data", "--imdb", data, "--set", "TRAIN.SCALES", "(300,)")
    assert status == 0
    assert text.startswith("boards_all: 11 images, 33 objects; sizes in pixels at TRAIN.SCALES [300], TRAIN.MAX_SIZE ")
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.startswith("  ")}
    assert rows["chip"][1:6] == ["22", "11", "26", "x", "26"] and rows["chip"][-3:] == ["100.0%"] * 3
    assert rows["board"][1:6] == ["11", "11", "135", "x", "135"] and rows["all"][1:3] == ["33", "11"]
    assert "\n\nPASCAL VOC: 2 classes, 11 images, 33 boxes\n" in text
    assert rows["300"][-1] != "" and " now " in text and " advised " in text


@pytest.mark.parametrize("options", [["--net_name", "Tiny"], ["--net_name", "ZF", "--set", "TRAIN.SCALES", "(300,)"]])
def test_the_suggested_commands_train_nets_with_these_anchors_and_settings(run, data, tmp_path, options,
                                                                                     monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = run("look_at_data", "--imdb", data, *options)[1]
    commands = advised(text)
    assert run("make_models", *commands["make_models"])[0] == 0
    reset_cfg()
    trained = make_run(load_tool("train_faster_rcnn_alt_opt").parser().parse_args(
        [*commands["train_faster_rcnn_alt_opt"], "--weights", "none", "--cpu", "--output", str(tmp_path / "out"),
         "--max_iters", "1", "1", "1", "1"]))
    trained.lock.release()
    layout, train = train_anchors(trained.nets.train_net("stage1_rpn")), trained.settings["stage1_rpn"].TRAIN
    make = commands["make_models"]
    scales, ratios, out = (make.index(option) for option in ("--scales", "--ratios", "--out"))
    assert layout.scales == tuple(map(float, make[scales + 1:ratios]))
    assert layout.ratios == tuple(map(float, make[ratios + 1:out]))
    again = run("look_at_data", "--imdb", data, "--models", make[out + 1], *settings_of(commands))[1]
    assert "Anchors and sizes fit the data. To train:" in again and "make_models" not in advised(again)
    (words,) = advised(again).values()
    assert "--models" in words and words[words.index("--models") + 1] == make[out + 1]
    assert train.SCALES == trained.settings["stage1_proposals"].TEST.SCALES
    assert train.RPN_MIN_SIZE == 10 or "Tiny" in options


def settings_of(commands):
    words = commands["train_faster_rcnn_alt_opt"]
    return words[words.index("--set"):] if "--set" in words else []


def test_the_figures_as_json(run, data, tmp_path):
    (tmp_path / "my.yml").write_text("TRAIN: {SCALES: [300], RPN_MIN_SIZE: 30}\n")
    status, text, log = run("look_at_data", "--imdb", data, "--net_name", "Tiny", "--json",
                            "--cfg", tmp_path / "my.yml")
    found = json.loads(text)
    assert status == 0 and log == ""
    assert found["data set"] == "boards_all" and found["objects"] == 33 and found["thresholds"] == [0.3, 0.5, 0.7]
    assert found["net"].endswith("Tiny/faster_rcnn_alt_opt/stage1_rpn_train.pt")
    assert found["present"]["layout"] == {"stride": 16, "scales": [2, 4, 8], "ratios": [0.5, 1, 2], "border": 0}
    assert [each["name"] for each in found["classes"]] == ["board", "chip"]
    assert found["settings"]["TRAIN.RPN_MIN_SIZE"] == 10
    assert found["commands"][-1][0] == "tools/train_faster_rcnn_alt_opt.py"
    assert str(tmp_path / "my.yml") in found["commands"][-1]


def test_default_settings_are_those_of_the_nets_training(run, data):
    text = run("look_at_data", "--imdb", data, "--net_name", "Tiny")[1]
    reset_cfg()
    cfg_from_file(ROOT / "experiments" / "cfgs" / "tiny.yml")
    assert f"at TRAIN.SCALES {list(cfg.TRAIN.SCALES)}, TRAIN.MAX_SIZE {cfg.TRAIN.MAX_SIZE}" in text
    assert "--cfg" not in advised(text)["train_faster_rcnn_alt_opt"]


def test_nets_for_training_end_to_end(run, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = run("look_at_data", "--imdb", data, "--models", ROOT / "models" / "ZF" / "faster_rcnn_end2end", "--cfg",
               ROOT / "experiments" / "cfgs" / "faster_rcnn_end2end.yml")[1]
    commands = advised(text)
    assert run("make_models", *commands["make_models"])[0] == 0
    solver = load_tool("train_net").parser().parse_args(commands["train_net"]).solver
    assert (tmp_path / solver).is_file() and solver.endswith("ZF/faster_rcnn_end2end/solver.pt")


def test_nets_of_the_user_are_changed_by_hand(run, data, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    net = model_files("ZF", 3)["ZF/faster_rcnn_alt_opt/stage1_rpn_train.pt"]
    (own / "train.prototxt").write_text(net.replace("'feat_stride': 16", "'feat_stride': 16\\n'scales': [1, 3]"))
    text = run("look_at_data", "--imdb", data, "--models", own)[1]
    assert "scales 1 3, ratios 0.5 1 2" in text and "make_models" not in advised(text)
    assert "  param_str of each layer with a feat_stride: 'scales': [" in text


def test_folders_without_usable_nets(run, data, tmp_path):
    status, _, text = run("look_at_data", "--imdb", data, "--models", tmp_path / "none")
    assert (status, text) == (2, f"error: there is no folder {tmp_path}/none\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "solver.pt").write_text('train_net: "x"\n')
    status, _, text = run("look_at_data", "--imdb", data, "--models", tmp_path / "empty")
    assert status == 2 and f"error: {tmp_path}/empty: holds no training net with a layer that labels anchors" in text
    status, _, text = run("look_at_data", "--imdb", data, "--models", ROOT / "models")
    assert status == 2 and "have different anchors (" in text and "scales 2 4 8, ratios 0.5 1 2" in text
    status, _, text = run("look_at_data", "--imdb", data, "--net_name", "VGG61")
    assert status == 2 and "--net_name VGG61: there is no such net; choose one of VGG16" in text
    assert run("look_at_data", "--imdb", data, "--net_name", "ZF", "--models", ROOT / "models")[0] == 2


def test_data_without_objects(run, data):
    shutil.copy(data / "1.png", data / "2.png")
    for path in data.glob("*.xml"):
        path.write_text("<annotation></annotation>")
    status, _, text = run("look_at_data", "--imdb", data)
    assert status == 2 and text.startswith(f"error: --imdb {data}: ") and text.count("\n") == 1


@pytest.mark.parametrize("options, expected", [
    (["--net_name", "ZF"], "--net_name ZF"), (["--net_name", "ZF", "--models", ROOT / "models"], "--models {models}")])
def test_training_suggests_the_command(data, tmp_path, capsys, options, expected):
    """Running the command shows the same figures."""
    settings = ["TRAIN.SCALES", "(200,)"]
    if "--models" in options:
        shutil.copytree(ROOT / "models" / "ZF", tmp_path / "nets" / "ZF")
        for path, text in model_files("ZF", 3, folder=str(tmp_path / "nets")).items():
            if path.startswith("ZF/faster_rcnn_alt_opt/"):
                (tmp_path / "nets" / path).write_text(text)
        options[-1] = tmp_path / "nets"
    made = make_run(load_tool("train_faster_rcnn_alt_opt").parser().parse_args(
        ["--imdb", str(data), *map(str, options), "--weights", "none", "--cpu", "--output", str(tmp_path / "out"),
         "--max_iters", "1", "1", "1", "1", "--set", *settings]))
    made.lock.release()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "overlap every anchor" in line]
    command = shlex.split(line.partition("Better anchors and settings: ")[2])
    assert line.startswith("Warning: 22 of 33 objects") and "The most are chip: 22 of 22." in line
    expected = expected.format(models=tmp_path / "nets" / "ZF" / "faster_rcnn_alt_opt")
    assert command == ["python", "tools/look_at_data.py", "--imdb", str(data), *expected.split(), "--set", *settings]
    reset_cfg()
    assert load_tool("look_at_data").main(command[2:]) == 0
    assert "  200 now " in capsys.readouterr().out


@pytest.mark.slow
def test_printed_circuit_boards(run, shared_data):
    """Objects of about 35 pixels are too small for a stride of 16: other anchors alone do not suffice."""
    if not (shared_data / "DeepPCB").is_dir():
        pytest.skip(f"{shared_data} has no DeepPCB")
    found = json.loads(run("look_at_data", "--imdb", f"{shared_data}/DeepPCB:trainval", "--json")[1])
    assert found["present"]["below"][0] > 0.98 * found["objects"]
    same_size = next(option for option in found["options"] if option["scales"] == [600])
    assert same_size["missed"] > 0.05 > 0.03 > found["advised"]["missed"]
    assert found["advised"]["scales"] == [800]
