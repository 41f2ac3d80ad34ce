"""Settings files load, and the scripts in experiments/ and data/ call the tools correctly."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fast_rcnn.cfg_checks import check_cfg
from fast_rcnn.config import cfg_from_file, reset_cfg

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*(ROOT / "experiments" / "scripts").glob("*.sh"), *(ROOT / "data" / "scripts").glob("*.sh")])


@pytest.mark.parametrize("file", sorted((ROOT / "experiments" / "cfgs").glob("*.yml")), ids=lambda path: path.name)
def test_settings_load_without_conflicts(file):
    reset_cfg()
    try:
        cfg_from_file(file)
        check_cfg()
    finally:
        reset_cfg()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.fixture
def project(tmp_path) -> Path:
    """A project with the experiment scripts and fake tools that print their arguments."""
    for folder in ("tools", "models/Tiny", "models/VGG16", "experiments/scripts"):
        (tmp_path / folder).mkdir(parents=True)
    for script in (ROOT / "experiments" / "scripts").glob("*.sh"):
        (tmp_path / "experiments" / "scripts" / script.name).write_text(script.read_text())
    for tool in ("train_faster_rcnn_alt_opt", "train_net", "test_net"):
        (tmp_path / "tools" / f"{tool}.py").write_text(
            "import sys; print(sys.argv); print('Final model: a b.caffemodel' if 'train' in sys.argv[0] else '')\n")
    return tmp_path


def run(project: Path, script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", str(project / "experiments" / "scripts" / f"{script}.sh"), *arguments],
                          capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})


def test_alternating_optimisation(project):
    done = run(project, "faster_rcnn_alt_opt", "cpu", "Tiny", "a/b:train,a/b:test", "--resume",
               "--set", "TRAIN.SCALES", "[4, 5]")
    expected = ["tools/train_faster_rcnn_alt_opt.py", "--cpu", "--net_name", "Tiny", "--imdb", "a/b:train",
                "--test_imdb", "a/b:test", "--cfg", "experiments/cfgs/tiny.yml", "--resume",
                "--set", "TRAIN.SCALES", "[4, 5]"]
    assert (done.returncode, str(expected) in done.stdout) == (0, True), done.stderr
    [log] = (project / "output" / "logs").iterdir()
    assert str(expected) in log.read_text()


def test_the_interpreter_of_the_virtual_environment_is_used(project):
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho environment $@\n")
    python.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHON"}
    script = project / "experiments" / "scripts" / "faster_rcnn_alt_opt.sh"
    done = subprocess.run(["bash", str(script), "0", "Tiny", "pascal_voc"], capture_output=True, text=True,
                          env=environment)
    assert done.returncode == 0 and "environment tools/train_faster_rcnn_alt_opt.py --gpu 0" in done.stdout
    python.unlink()
    (project / "bin").mkdir()
    (project / "bin" / "python3").write_text("#!/bin/sh\necho system $@\n")
    (project / "bin" / "python3").chmod(0o755)
    path = f"{project / 'bin'}:{environment['PATH']}"
    done = subprocess.run(["bash", str(script), "0", "Tiny", "pascal_voc"], capture_output=True, text=True,
                          env={**environment, "PATH": path})
    assert "system tools/train_faster_rcnn_alt_opt.py" in done.stdout


@pytest.mark.parametrize("net, cfg", [("VGG16", "faster_rcnn_alt_opt_no_ohem"), ("Tiny", "tiny")])
def test_alternating_optimisation_without_mining_has_its_own_settings(project, net, cfg):
    done = run(project, "faster_rcnn_alt_opt", "0", net, "pascal_voc", "--resume", "--no_ohem")
    expected = ["--cfg", f"experiments/cfgs/{cfg}.yml", "--resume", "--no_ohem"]
    assert done.returncode == 0 and str(expected)[1:] in done.stdout, done.stdout


def test_end_to_end(project):
    done = run(project, "faster_rcnn_end2end", "1", "VGG16", "pascal_voc", "--set", "RNG_SEED", "7")
    folder, cfg = "models/VGG16/faster_rcnn_end2end", "experiments/cfgs/faster_rcnn_end2end.yml"
    train = ["tools/train_net.py", "--gpu", "1", "--solver", f"{folder}/solver.pt",
             "--weights", "data/imagenet_models/VGG16.v2.caffemodel", "--imdb", "voc_2007_trainval",
             "--iters", "70000", "--cfg", cfg, "--set", "RNG_SEED", "7"]
    test = ["tools/test_net.py", "--gpu", "1", "--def", f"{folder}/test.pt", "--net", "a b.caffemodel",
            "--imdb", "voc_2007_test", "--cfg", cfg, "--set", "RNG_SEED", "7"]
    assert done.returncode == 0, done.stderr
    assert str(train) in done.stdout and str(test) in done.stdout


@pytest.mark.parametrize("net, cfg", [("VGG16", "faster_rcnn_end2end_ohem"), ("Tiny", "tiny_end2end_ohem")])
def test_end_to_end_with_mining(project, net, cfg):
    done = run(project, "faster_rcnn_end2end", "cpu", net, "pascal_voc", "--resume", "--ohem", "--iters", "9",
               "--set", "RNG_SEED", "7")
    folder, settings = f"models/{net}/faster_rcnn_end2end_ohem", ["--set", "RNG_SEED", "7"]
    assert done.returncode == 0, done.stderr
    assert f"'--solver', '{folder}/solver.pt'" in done.stdout and f"'--def', '{folder}/test.pt'" in done.stdout
    assert str(["--cfg", f"experiments/cfgs/{cfg}.yml", "--resume", "--iters", "9", *settings])[1:] in done.stdout
    assert str(["--imdb", "voc_2007_test", "--cfg", f"experiments/cfgs/{cfg}.yml", *settings])[1:] in done.stdout
    assert "'--ohem'" not in done.stdout


def test_options_of_the_user_replace_those_of_the_script(project):
    for cfg in (["--cfg", "a b.yml"], ["--cfg=a b.yml"]):
        done = run(project, "faster_rcnn_end2end", "cpu", "Tiny", "pascal_voc", "--epochs", "2", *cfg)
        assert done.returncode == 0 and "--iters" not in done.stdout, done.stderr
        assert str(["--epochs", "2", *cfg])[1:] in done.stdout
        assert str(["--imdb", "voc_2007_test", "--cfg", "a b.yml"])[1:] in done.stdout


def test_a_failed_training_is_not_tested(project):
    (project / "tools" / "train_net.py").write_text("raise SystemExit(3)\n")
    done = run(project, "faster_rcnn_end2end", "0", "VGG16", "pascal_voc")
    assert done.returncode == 3 and "tools/test_net.py" not in done.stdout


@pytest.mark.parametrize("arguments, words", [
    (["0"], "usage: "), (["0", "VGG", "pascal_voc"], "unknown net 'VGG': choose one of Tiny, VGG16"),
    (["0", "VGG16", "voc"], "unknown data set 'voc'")])
def test_wrong_arguments_are_named(project, arguments, words):
    done = run(project, "faster_rcnn_alt_opt", *arguments)
    assert done.returncode == 2 and words in done.stderr


def fetch(folder: Path, *arguments: str, command: str = 'fetch "$@"') -> subprocess.CompletedProcess:
    """Run `fetch` of fetch.sh, or another command with its functions, as if `folder` were data/."""
    scripts = folder / "scripts"
    scripts.mkdir(exist_ok=True)
    (scripts / "fetch.sh").write_text((ROOT / "data" / "scripts" / "fetch.sh").read_text())
    return subprocess.run(["bash", "-c", f'source "{scripts}/fetch.sh"; {command}', "fetch", *arguments],
                          capture_output=True, text=True)


def test_fetch_checks_downloads(tmp_path):
    (tmp_path / "source.txt").write_text("hello\n")
    url, good = f"file://{tmp_path}/source.txt", "b1946ac92492d2347c6235b4d2611184"     # md5 of hello
    assert fetch(tmp_path, url, "sub/good.txt", "md5", good).returncode == 0
    assert (tmp_path / "sub" / "good.txt").read_text() == "hello\n"
    assert "is there" in fetch(tmp_path, url, "sub/good.txt", "md5", good).stdout
    assert fetch(tmp_path, url, "sub/sha.txt", "sha256", "5891b5b5").returncode == 0

    wrong = fetch(tmp_path, url, "sub/wrong.txt", "md5", "00000000")
    assert wrong.returncode == 1 and "did not give the file expected" in wrong.stderr
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == ["good.txt", "sha.txt"]
    assert "move it away" in fetch(tmp_path, url, "sub/good.txt", "md5", "00").stderr


def test_an_archive_that_cannot_be_unpacked_is_an_error(tmp_path):
    (tmp_path / "models.tgz").write_bytes(b"hello\n")
    use = 'if use_archive "$@"; then echo used; fi'
    done = fetch(tmp_path, "models.tgz", "b1946ac92492d2347c6235b4d2611184", command=use)
    assert done.returncode == 1 and "could not be unpacked" in done.stderr
    assert "unpacked data" not in done.stdout and "used" not in done.stdout
    assert "is damaged" in fetch(tmp_path, "models.tgz", "00", command=use).stderr
    assert fetch(tmp_path, "other.tgz", "00", command=use).returncode == 0      # a missing archive is not an error here
