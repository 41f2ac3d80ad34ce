"""User errors end in a helpful message and exit status 2."""
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands.options import choose_device, device_of, tool
from fast_rcnn.config import ConfigError, cfg, reset_cfg
from utils.errors import UserError, is_user_error

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ["train_faster_rcnn_alt_opt", "train_net", "test_net", "rpn_generate", "reval", "demo", "look_at_data",
         "export_detector", "convert_data", "convert_weights", "make_models"]
pytestmark = pytest.mark.usefixtures("default_settings")


def load_tool(name):
    """Load tools/<name>.py by path, because a test file may have the same name."""
    spec = importlib.util.spec_from_file_location(f"{name}_tool", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(capsys):
    """Runs a tool in this process; returns its exit status and output."""
    def call(name, *words):
        status = load_tool(name).main([str(word) for word in words])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out + printed.err
    return call


@pytest.mark.parametrize("name", TOOLS)
def test_help_has_examples(run, name):
    status, text = run(name, "--help")
    assert status == 0 and f"tools/{name}.py" in text.split("examples:")[1]


@pytest.mark.parametrize("name", TOOLS)
def test_an_unknown_option_is_an_error(run, name):
    assert run(name, "--no_such_option")[0] == 2


def test_an_option_that_took_the_photographs_is_named(run):
    hint = "--classes takes all words up to the next option: write them before it, or after --"
    for words, has_hint in ((["--classes", "cat", "a.jpg"], True), (["--csv"], False),
                            (["--classes", "cat", "--", "a.jpg"], False)):
        status, text = run("demo", *words)
        assert status == 2 and (hint in text) == has_hint


@pytest.mark.parametrize("name", [*TOOLS, "demo_job"])
def test_missing_packages_are_reported_in_one_line(name):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([sys.executable, "-S", str(ROOT / "tools" / f"{name}.py"), "--help"], env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "has no numpy, opencv, pyyaml, protobuf" in done.stderr and ". .venv/bin/activate" in done.stderr


def test_missing_data_and_weights_are_reported_together_with_how_to_get_them(run, tmp_path):
    status, text = run("train_faster_rcnn_alt_opt", "--net_name", "VGG16", "--weights", tmp_path / "no.caffemodel",
                       "--output", tmp_path / "out", "--set", "DATA_DIR", tmp_path)
    assert status == 2
    assert "VOC" in text and "data/scripts/fetch_voc2007.sh" in text
    assert "no.caffemodel" in text and "tools/convert_weights.py" in text
    assert not (tmp_path / "out").exists()


def test_how_to_get_weights_depends_on_the_net(run, tmp_path, demo_data):
    for net in ("ZF", "VGG_CNN_M_1024"):
        status, text = run("train_faster_rcnn_alt_opt", "--net_name", net, "--imdb", f"{demo_data}:trainval",
                           "--output", tmp_path / "out", "--cpu")
        assert status == 2 and f"{net}'s have no public address" in text and "imagenet_models.tgz" in text


@pytest.mark.parametrize("name, how", [
    ("voc_2007_test", "data/scripts/fetch_voc2007.sh"), ("voc_2012_train", "data/scripts/fetch_voc2012.sh"),
    ("voc_2012_train+voc_2007_train", "data/scripts/fetch_voc2012.sh"), ("voc_2010_train", "see data/README.md")])
def test_how_to_get_voc_depends_on_the_year(run, tmp_path, name, how):
    status, text = run("reval", tmp_path, "--imdb", name, "--set", "DATA_DIR", tmp_path)
    assert status == 2 and "tools/test_net.py writes it" in text
    (tmp_path / "detections.npz").write_bytes(b"")
    status, text = run("reval", tmp_path, "--imdb", name, "--set", "DATA_DIR", tmp_path)
    assert status == 2 and text.count(how) == 1 and text.count("data/") == 1, text
    assert (ROOT / how.split()[-1]).is_file()


def test_end_to_end_training_reports_data_and_weights_together(run, tmp_path):
    status, text = run("train_net", "--solver", ROOT / "models/ZF/faster_rcnn_end2end/solver.pt", "--weights",
                       "data/imagenet_models/ZF.v2.caffemodel", "--set", "DATA_DIR", tmp_path)
    assert status == 2 and "fetch_voc2007.sh" in text and "ZF's have no public address" in text


ALT_OPT = "train_faster_rcnn_alt_opt"


@pytest.mark.parametrize("words, message", [
    (["--net_name", "VGG17"], "there is no such net; choose one of VGG16"),
    (["--set", "TRAIN.BATCHSIZE", "4"], "did you mean TRAIN.BATCH_SIZE?"),
    (["--set", "TRAIN.IMS_PER_BATCH", "3"], "TRAIN.BATCH_SIZE (128) must be a multiple"),
    (["--set", "TRAIN.SCALES"], "has no partner"),
    (["--cfg", "nowhere.yml"], "nowhere.yml"),
    (["--max_iters", "1", "2", "0", "4"], "0 is less than 1"),
    (["--resume", "--restart"], "not allowed with"),
    (["--imdb", "no/such/folder:train"], "no/such/folder"),
    (["--test_imdb", "no/such/folder:test"], "error: --test_imdb no/such/folder:test: no/such/folder"),
    (["--output", str(ROOT / "README.md")], "README.md cannot be made: file exists"),
    (["--models", "no/such/models"], "expected one stage1_rpn_solver*.pt, found none"),
])
def test_errors_of_the_driver(run, tmp_path, demo_data, words, message):
    defaults = ["--net_name", "Tiny", "--imdb", f"{demo_data}:trainval", "--output", tmp_path / "out", "--cpu"]
    status, text = run(ALT_OPT, *defaults, *words)
    assert status == 2 and message in text, text


@pytest.mark.parametrize("tool_name", [ALT_OPT, "train_net", "test_net", "rpn_generate", "demo", "reval"])
@pytest.mark.parametrize("name, content, message", [
    ("mine_absent", None, "there is no module mine_absent in {0}, the folder of the settings, or on PYTHONPATH\n"),
    ("mine_broken", "import json\n\n1 / 0\n", "{0}/mine_broken.py:3: ZeroDivisionError: division by zero\n"),
    ("mine_cut", "def f(:\n", "{0}/mine_cut.py:1: SyntaxError: invalid syntax\n"),
    ("mine_taken", "from datasets.factory import register\nregister('mine', list)\nregister('mine', list)\n",
     "{0}/mine_taken.py:3: DatasetError: a data set named 'mine' is registered already\n"),
    ("../up", None, "'../up': expected names of modules, such as my_module or my_package.data\n"),
])
def test_modules_that_cannot_be_imported(run, tmp_path, monkeypatch, tool_name, name, content, message):
    monkeypatch.setattr("datasets.registry.registered", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    if content:
        (tmp_path / f"{name}.py").write_text(content)
    (tmp_path / "a.yml").write_text(f"IMPORTS: [{name}]\n")
    words = {ALT_OPT: ["--net_name", "Tiny"], "train_net": ["--solver", __file__], "reval": [tmp_path],
             "demo": [__file__, "--def", __file__, "--net", __file__]}
    status, text = run(tool_name, *words.get(tool_name, ["--def", __file__, "--net", __file__]), "--cfg",
                       tmp_path / "a.yml")
    assert status == 2 and text == f"error: IMPORTS: {message.format(tmp_path)}"


def test_user_nets_for_another_number_of_classes(run, tmp_path, demo_data):
    status, text = run(ALT_OPT, "--net_name", "Tiny", "--imdb", f"{demo_data}:trainval", "--output",
                       tmp_path / "out", "--models", ROOT / "models", "--cpu")
    assert status == 2
    assert "layer 'cls_score': num_output is 21, expected 5: the data set has 5 classes" in text
    assert "tools/make_models.py --net Tiny --classes 5" in text
    assert "faster_rcnn_test.pt:" in text and "stage2_fast_rcnn_train.pt:" in text


def test_the_solvers_of_a_copied_folder_train_the_copies(run, tmp_path, demo_data):
    mine = tmp_path / "mine" / "Tiny" / "faster_rcnn_alt_opt"
    shutil.copytree(ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt", mine)
    words = ["--net_name", "Tiny", "--imdb", f"{demo_data}:trainval", "--cpu", "--output", tmp_path / "out"]
    status, text = run(ALT_OPT, *words, "--models", tmp_path / "mine")
    assert status == 2 and f"its copy in {mine} is trained" in text
    assert f"{mine}/stage1_rpn_train.pt:" in text and f"{ROOT}/models" not in text.split("error:")[1]
    (mine / "stage2_rpn_train.pt").unlink()
    status, text = run(ALT_OPT, *words, "--models", tmp_path / "mine")
    assert status == 2 and "stage2_rpn_solver60k80k.pt: trains" in text and "change its train_net" in text


def test_errors_of_the_other_tools(run, tmp_path, demo_data):
    from make_models import make_models
    imdb = ["--imdb", f"{demo_data}:test"]
    net = ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / "faster_rcnn_test.pt"
    weights = tmp_path / "w.caffemodel"
    weights.write_bytes(b"")
    made = make_models("Tiny", num_classes=5, out_dir=tmp_path / "made")
    no_ohem = next(path for path in made if path.match("*_no_ohem/stage1_fast_rcnn_solver*.pt"))
    for words, message in [
            (["test_net", *imdb], "which detector? Give --run DIR, or --def FILE and --net FILE"),
            (["test_net", *imdb, "--run", tmp_path], "has no finished detector"),
            (["test_net", *imdb, "--run", tmp_path / "no"], f"error: --run: there is no folder {tmp_path}/no"),
            (["test_net", *imdb, "--def", net, "--net", "no.caffemodel"], "--net: there is no file no.caffemodel"),
            (["test_net", *imdb, "--def", net, "--net", weights, "--cpu", "--set", "TEST.HAS_RPN", "True"],
             "num_output is 21, expected 5"),
            (["test_net", *imdb, "--def", net, "--net", weights, "--cpu"], "add --set TEST.HAS_RPN True"),
            (["train_net", *imdb, "--solver", no_ohem, "--set", "TRAIN.PROPOSAL_METHOD", "rpn"],
             "give --proposals FILE"),
            (["train_net", *imdb, "--solver", no_ohem, "--proposals", "p.npz", "--set", "TRAIN.PROPOSAL_METHOD", "gt"],
             "--proposals p.npz: would not be used, as PROPOSAL_METHOD is gt"),
            (["train_net", *imdb, "--solver", no_ohem], "has no proposals 'selective_search'"),
            (["rpn_generate", *imdb, "--def", "no.pt", "--net", weights], "--def: there is no file no.pt"),
            (["rpn_generate", *imdb, "--def", net.with_name("stage1_rpn_train.pt"), "--net", weights, "--cpu"],
             "layer 'input-data': this net is for training"),
            (["test_net", *imdb, "--def", net.with_name("stage1_rpn_train.pt"), "--net", weights, "--cpu"],
             "layer 'input-data': this net is for training"),
            (["reval", tmp_path, *imdb], "tools/test_net.py writes it"),
            (["demo", "no.jpg", "--def", net, "--net", weights], "no.jpg: there is no such photograph"),
            (["demo", "", "--def", net, "--net", weights], "the name of a photograph or folder is empty"),
            (["demo", tmp_path, "--def", net, "--net", weights], "no photographs in"),
            (["train_net", "--solver", "no.pt"], "--solver: there is no file no.pt"),
            (["train_net", *imdb, "--solver", ROOT / "models/Tiny/faster_rcnn_end2end/solver.pt",
              "--cfg", ROOT / "experiments/cfgs/tiny_end2end.yml"], "tools/make_models.py --classes 5"),
    ]:
        reset_cfg()
        status, text = run(*words)
        assert status == 2 and message in text, (words, text)


def test_a_broken_image_is_named_before_the_first_is_tested(run, tmp_path, demo_data):
    import cv2
    import numpy as np
    from make_models import make_models

    import caffe
    data, nets = tmp_path / "data", make_models("Tiny", num_classes=5, out_dir=tmp_path / "made")
    shutil.copytree(demo_data, data)
    last = data / "JPEGImages" / f"{(data / 'ImageSets/Main/test.txt').read_text().split()[-1]}.jpg"
    whole = last.read_bytes()
    png = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))[1].tobytes()
    for tool_name, file, output in [("test_net", "faster_rcnn_test.pt", tmp_path / "tested"),
                                    ("rpn_generate", "rpn_test.pt", tmp_path / "proposals" / "p.npz")]:
        net = next(path for path in nets if path.match(f"faster_rcnn_alt_opt/{file}"))
        caffe.Net(str(net), caffe.TEST).save(str(tmp_path / "w.caffemodel"))
        words = [tool_name, "--imdb", f"{data}:test", "--def", net, "--net", tmp_path / "w.caffemodel", "--output",
                 output, "--cpu", "--set", "TEST.HAS_RPN", "True", "NUM_WORKERS", "0", "TEST.SCALES", "(60,)"]
        last.write_bytes(png[:33] + bytes(len(png) - 45) + png[-12:])       # a valid header without image data
        reset_cfg()
        status, text = run(*words)
        assert status == 2 and f"--imdb {data}:test: images that cannot be decoded: fix or remove them\n{last}" in text
        assert "decoding images once: 2/2" in text and "ETA" in text and "im_detect" not in text
        last.write_bytes(whole)
        reset_cfg()
        status, text = run(*words)
        assert status == 0 and "decoding images once: 1/1" in text        # the other image has not changed


def test_proposals_of_a_net_that_is_not_an_rpn(run, tmp_path, demo_data):
    import caffe
    net = ROOT / "models" / "Tiny" / "faster_rcnn_alt_opt" / "faster_rcnn_test.pt"
    caffe.Net(str(net), caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    status, text = run("rpn_generate", "--imdb", f"{demo_data}:test", "--def", net, "--net",
                       tmp_path / "w.caffemodel", "--cpu")
    assert status == 2 and "has no output rois and no scores" in text and "rpn_test.pt" in text


@pytest.mark.parametrize("text, message", [
    ("{", "damaged JSON"), ('{"cfg": "a", "net": "b", "model": "c"}', "its 'classes' is missing")])
def test_a_damaged_record_of_a_detector(run, tmp_path, demo_data, text, message):
    (tmp_path / "detector.json").write_text(text)
    for words in (["test_net", "--imdb", f"{demo_data}:test"], ["demo", tmp_path]):
        status, printed = run(*words, "--run", tmp_path)
        assert status == 2 and f"{tmp_path}/detector.json: damaged" in printed and message in printed
        assert "with --resume, writes it again" in printed


def test_a_damaged_manifest(run, tmp_path, demo_data):
    (tmp_path / "manifest.json").write_text("{")
    status, text = run(ALT_OPT, "--net_name", "Tiny", "--imdb", f"{demo_data}:trainval", "--output", tmp_path, "--cpu",
                       "--resume")
    assert status == 2 and "manifest.json: damaged JSON" in text and "delete it" in text


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_models_cannot_be_written_into_a_file(run, tmp_path, out):
    (tmp_path / "file").write_text("")
    status, text = run("make_models", "--net", "Tiny", "--out", tmp_path / out)
    assert status == 2 and f"--out: the folder {tmp_path / out} cannot be made" in text


def test_impossible_models(run, tmp_path):
    status, text = run("make_models", "--net", "Tiny", "--classes", "1", "--out", tmp_path)
    assert status == 2 and "error: 1 classes: at least 2" in text


@pytest.mark.parametrize("option", [["--pictures", "0"], ["--max_iters", "1", "2", "3", "-4"]])
def test_invalid_numbers_for_the_demo(run, tmp_path, option):
    status, text = run("demo_job", "--data", tmp_path / "data", "--output", tmp_path / "out", *option)
    assert status == 2 and f"{option[-1]} is less than 1" in text and not (tmp_path / "data").exists()


def test_nets_without_mining_need_the_option_no_ohem(run, tmp_path, demo_data):
    from make_models import make_models
    make_models("Tiny", num_classes=5, out_dir=tmp_path)
    words = ["--net_name", "Tiny", "--imdb", f"{demo_data}:trainval", "--output", tmp_path / "out", "--cpu", "--models"]
    status, text = run(ALT_OPT, *words, tmp_path / "Tiny" / "faster_rcnn_alt_opt_no_ohem")
    assert status == 2 and "add --no_ohem" in text and "make_models" not in text
    status, text = run(ALT_OPT, *words, tmp_path / "Tiny" / "faster_rcnn_alt_opt", "--no_ohem")
    assert status == 2 and "leave out --no_ohem" in text and "make_models" not in text


def test_a_demo_with_another_number_of_classes(run, tmp_path):
    from make_models import make_models
    make_models("Tiny", num_classes=5, out_dir=tmp_path)
    net, weights = tmp_path / "Tiny" / "faster_rcnn_alt_opt" / "faster_rcnn_test.pt", tmp_path / "w.caffemodel"
    weights.write_bytes(b"")
    picture = ROOT / "experiments" / "benchmarks" / "bccd_ohem.png"
    words = ["demo", picture, "--def", net, "--net", weights, "--cpu", "--output", tmp_path / "out"]
    status, text = run(*words)
    assert status == 2 and "expected 21: PASCAL VOC has 21 classes" in text and "--classes NAME" in text
    assert "data set" not in text
    status, text = run(*words, "--classes", "a", "b")
    assert status == 2 and "expected 3: --classes has 3 classes with the background" in text


@pytest.mark.parametrize("count, problem", [
    ("0", "is less than 1"), ("-5", "is less than 1"), ("2147483648", "is more than 2147483647")])
def test_an_impossible_number_of_iterations(run, count, problem):
    status, text = run("train_net", "--solver", ROOT / "models/Tiny/faster_rcnn_end2end/solver.pt", "--iters", count)
    assert status == 2 and f"--iters: {count} {problem}" in text


def test_a_solver_that_would_learn_nothing(run, tmp_path, demo_data):
    solver = tmp_path / "solver.pt"
    solver.write_text((ROOT / "models/Tiny/faster_rcnn_end2end/solver.pt").read_text().replace("0.01", "-1"))
    status, text = run("train_net", "--solver", solver, "--imdb", f"{demo_data}:test", "--cpu")
    assert status == 2 and "solver.pt:5: base_lr is -1" in text, text


def test_results_that_cannot_be_written_are_reported_before_they_are_computed(run, tmp_path, demo_data):
    """The weights are not a caffemodel, which would be reported when the net is loaded."""
    from make_models import make_models
    folder = next(path for path in make_models("Tiny", 5, out_dir=tmp_path / "made") if path.name == "train.pt").parent
    weights = tmp_path / "w.caffemodel"
    weights.write_bytes(b"")
    detector = ["--def", folder / "test.pt", "--net", weights]
    photos = demo_data / "JPEGImages"
    imdb, rpn = ["--imdb", f"{demo_data}:test"], ["--set", "TEST.HAS_RPN", "True"]
    end2end = ["--solver", folder / "solver.pt", "--cfg", ROOT / "experiments" / "cfgs" / "tiny_end2end.yml"]
    for words, message in [
            (["test_net", *imdb, *detector, "--output", weights, *rpn], f"the folder {weights} cannot be made"),
            (["rpn_generate", *imdb, *detector, "--output", "/proc/x/p.npz"], "the folder /proc/x cannot be made"),
            (["rpn_generate", *imdb, *detector, "--output", "/proc/p.npz"], "cannot write into /proc"),
            (["rpn_generate", *imdb, *detector, "--output", tmp_path], "is a folder, expected the name of a file"),
            (["demo", photos, *detector, "--output", weights], f"the folder {weights} cannot be made"),
            (["train_net", *imdb, *end2end, "--output", weights], f"the folder {weights} cannot be made"),
            (["train_net", *imdb, *end2end, "--output", tmp_path / "\udce9"], "is not UTF-8: rename it, or choose"),
    ]:
        reset_cfg()
        status, text = run(*words)
        assert status == 2 and message in text, (words, text)


def test_a_missing_gpu(run, demo_data):
    import caffe
    if caffe.has_gpu():
        pytest.skip("this machine has a GPU")
    status, text = run(ALT_OPT, "--net_name", "Tiny", "--imdb", f"{demo_data}:trainval", "--gpu", "0",
                       "--output", demo_data / "out")
    assert status == 2 and "no CUDA GPU" in text


@pytest.mark.parametrize("number, message", [("5", "--gpu 5: no GPU 5; there are 2, numbered from 0"),
                                             ("-1", "--gpu -1: GPUs are numbered from 0")])
def test_an_invalid_gpu_number(run, tmp_path, demo_data, monkeypatch, number, message):
    import torch

    import caffe
    monkeypatch.setattr(caffe, "has_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    status, text = run(ALT_OPT, "--net_name", "Tiny", "--imdb", f"{demo_data}:trainval", f"--gpu={number}",
                       "--output", tmp_path / "out")
    assert status == 2 and message in text, text


@pytest.mark.parametrize("name, option", [(ALT_OPT, "--max_iters"), (ALT_OPT, "--epochs"), ("demo_job", "--max_iters")])
def test_one_length_of_training_for_all_stages_or_four(name, option, run, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    parse = load_tool(name).parser().parse_args
    assert parse([option, "20"]) == parse([option, "20", "20", "20", "20"]) != parse([option, "20", "20", "20", "30"])
    status, text = run(name, option, "1", "2")
    assert status == 2 and f"argument {option}: expected one value, or four, found 2" in text


def test_a_caffe_that_cannot_detect_gpus(monkeypatch):
    import caffe
    monkeypatch.delattr(caffe, "has_gpu")
    for words, device in [([], None), (["--gpu", "1"], 1), (["--cpu"], None)]:
        args = load_tool("test_net").parser().parse_args(words)
        assert choose_device(args.gpu, args.cpu) == device


def test_a_precision_that_the_processor_lacks(monkeypatch, capsys):
    import caffe
    args = load_tool("test_net").parser().parse_args(["--cpu"])
    for precision, has, words in [("bfloat16", False, "float32 here"), ("bfloat16", True, ""), ("float32", False, "")]:
        monkeypatch.setattr(caffe, "has_bfloat16", lambda has=has: has)
        cfg.PRECISION = precision
        assert device_of(args) is None
        printed = capsys.readouterr().out
        assert words in printed and bool(words) == bool(printed)


def test_bugs_keep_their_traceback():
    @tool
    def broken(argv=None):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        broken()
    assert is_user_error(ConfigError("x")) and is_user_error(UserError("x")) and not is_user_error(ValueError("x"))
