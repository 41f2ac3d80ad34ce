"""The example of docs/plugins.md: its data set, layers and net are imported in every process of a run."""
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from make_models import make_models

from datasets.demo_scenes import make_demo_dataset
from datasets.factory import get_imdb
from utils.files import read_json

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
TEXT = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
SETTINGS = """\
IMPORTS: [my_data, my_layers]
PIXEL_STDS: 60
TRAIN: {SCALES: [160], MAX_SIZE: 240, BATCH_SIZE: 16, RPN_POST_NMS_TOP_N: 60, SNAPSHOT_ITERS: 2}
TEST: {SCALES: [160], MAX_SIZE: 240}
"""


def block(section, language):
    [found] = re.findall(rf"```{language}\n(.*?)```", SECTIONS[section], re.DOTALL)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The document's project folder, with six training and two test images."""
    folder = tmp_path_factory.mktemp("plugins") / "project"
    folder.mkdir()
    data = make_demo_dataset(folder.parent / "demo", num_train=6, num_test=2)
    with open(folder / "boxes.csv", "w", newline="") as file:
        write = csv.writer(file).writerow
        for split in ("trainval", "test"):
            imdb = get_imdb(f"{data}:{split}")
            for index, entry in enumerate(imdb.gt_roidb()):
                picture = Path(imdb.image_path_at(index))
                shutil.copy(picture, folder / picture.name)
                for box, label in zip(entry["boxes"].tolist(), entry["gt_classes"], strict=True):
                    write([picture.name, *box, imdb.classes[label]])
    (folder / "my_data.py").write_text(block("A data set", "python"))
    (folder / "my_layers.py").write_text(block("A layer", "python"))
    (folder / "settings.yml").write_text(SETTINGS)
    words = block("A net", "sh").split()
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options == {"--net": "Tiny", "--classes": "5", "--out": "project/models"}
    make_models("Tiny", 5, out_dir=folder / "models")
    layers = re.findall(r"layer \{.*?\}(?: \})?\n", block("A net", ""), re.DOTALL)
    for net in (folder / "models" / "Tiny" / "faster_rcnn_alt_opt").glob("*t*.pt"):
        text = net.read_text()
        for layer in layers:
            name = re.search(r'name: "(\w+)"', layer)[1]
            text = re.sub(rf'layer {{ name: "{name}" .*\n', lambda _, layer=layer: layer, text)
        if "solver" not in net.name:
            assert all(layer in text for layer in layers)
        net.write_text(text)
    return folder


def start(tool, *words, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.Popen([sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, words), "--cpu"], cwd=cwd,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={**environment, "OMP_NUM_THREADS": "1"})


def run(tool, *words, cwd):
    with start(tool, *words, cwd=cwd) as process:
        text, _ = process.communicate(timeout=300)
    return process.returncode, text


def training(*words):
    """The command of the document, with fewer iterations, to be run in the parent of the project folder."""
    return ("train_faster_rcnn_alt_opt", "--cfg", "project/settings.yml", "--imdb", "boxes_train", "--test_imdb",
            "boxes_test", "--net_name", "Tiny", "--models", "project/models", "--max_iters", 4, 3, 3, 3, "--output",
            "output/boxes", *words)


def train(project, *words):
    return run(*training(*words), cwd=project.parent)


@pytest.fixture(scope="module")
def finished(project):
    status, text = train(project)
    assert status == 0, text
    return project.parent / "output" / "boxes", text


def test_the_documented_project_trains_and_is_tested(finished):
    output, text = finished
    assert "boxes_train: 6 images, 4 classes" in text and "mean AP" in text
    inputs = [step["inputs"] for step in read_json(output / "manifest.json")["steps"].values()]
    assert [each["cfg.IMPORTS"] for each in inputs] == ["['my_data', 'my_layers']"] * 6


def test_the_run_is_resumed_and_used_from_anywhere(project, finished, tmp_path):
    output, _ = finished
    status, text = train(project, "--resume")
    assert status == 0 and text.count(": kept") == 6
    status, text = run("test_net", "--run", output, "--imdb", "boxes_test", "--output", tmp_path / "out", cwd=tmp_path)
    assert status == 0 and "mean AP" in text, text
    status, text = run("demo", "--run", output, next(project.glob("*.jpg")), "--output", tmp_path / "out", cwd=tmp_path)
    assert status == 0 and (tmp_path / "out").glob("*.png"), text


def test_a_repeated_step_imports_them_too(project, finished, tmp_path):
    """Names on the command line are still imported from the settings file's folder; steps depend on the names.

    The run is stopped when the driver and two children have imported them.
    """
    output = tmp_path / "copy"
    shutil.copytree(finished[0], output)
    (project / "my_other.py").write_text("print('imported again')\n")
    text, words = "", training("--resume", "--output", output, "--set", "IMPORTS", "[my_data, my_layers, my_other]")
    with start(*words, cwd=project.parent) as process:
        while text.count("imported again") < 3 and (line := process.stdout.readline()):
            text += line
        process.terminate()
        text += process.stdout.read()
    assert process.returncode == 130, text
    assert "stage1_rpn  is repeated: cfg.IMPORTS: ['my_data', 'my_layers'] -> ['my_data', 'my_layers', '" in text
    assert text.count("imported again") == 3


def test_train_net_imports_them(project, tmp_path):
    solver = project / "models" / "Tiny" / "faster_rcnn_alt_opt" / "stage1_rpn_solver60k80k.pt"
    status, text = run("train_net", "--solver", solver, "--iters", 2, "--imdb", "boxes_train", "--output",
                       tmp_path / "out", "--cfg", project / "settings.yml", "--set", "TRAIN.HAS_RPN", "True",
                       "TRAIN.BBOX_REG", "False", "TRAIN.PROPOSAL_METHOD", "gt", cwd=tmp_path)
    assert status == 0 and "Final model" in text, text


def test_settings_in_a_data_sets_folder_are_not_imported(tmp_path):
    """Settings are read only from files that the user names."""
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "cfg.yml").write_text("IMPORTS: [evil]\n")
    data = make_demo_dataset(tmp_path / "demo", num_train=1, num_test=1)
    for file in ("cfg.yml", "evil.py"):
        shutil.copy(tmp_path / file, data)
    assert len(get_imdb(f"{data}:test").roidb) == 1 and "evil" not in sys.modules
