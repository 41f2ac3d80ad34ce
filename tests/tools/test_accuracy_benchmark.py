"""experiments/benchmarks/accuracy.py with fake tools; its results are in accuracy.md."""
import importlib
import json
import time
from pathlib import Path

import numpy as np
import pytest

import caffe
from utils.child_process import run_child

pytestmark = pytest.mark.usefixtures("clean_settings")
BENCHMARK = "accuracy"
FORKED_STEPS = Path(__file__).resolve().parents[1] / "end_to_end" / "forked_steps.py"
CLASSES = ("__background__", "ball", "brick", "ring", "star")


def part(name):
    return importlib.import_module(f"accuracy_parts.{name}")


@pytest.fixture
def data_sets(program, monkeypatch):
    """Recipes for the demo data set: a net, the same net in bfloat16, and a peer."""
    recipes = part("recipes")
    tiny = recipes.AlternatingRecipe("Tiny", "some.caffemodel", (6, 4, 5, 8), {
        "TRAIN.SCALES": [96], "TRAIN.IMS_PER_BATCH": 2}, cfg="demo.yml", fc6=64, anchor_scales=(1, 2.5))
    peer = recipes.Peer("torchvision_peer.py", "Tiny", ("--size", "96"), is_goal=True)
    found = {"demo": recipes.DataSet({"Tiny": tiny, **recipes.in_bfloat16({"Tiny": tiny})}, is_shown=True,
                                     peers={"peer": peer}, published=(("somebody", "0.9"),),
                                     goals=(recipes.Goal(0.6, 180), recipes.Goal(0.7)))}
    monkeypatch.setattr(program, "DATA_SETS", found)
    monkeypatch.setattr(program, "has_bfloat16", lambda: True)
    return found


def evaluation(ap50):
    figures = {"ap50": ap50, "ap75": ap50 / 2, "ap": ap50 / 2 + 0.05}
    return {"mean": figures, "classes": {"ball": figures, "ring": {**figures, "ap50": None}}}


class Player:
    """Fakes the tools: records their commands and writes the files that they would write."""

    def __init__(self):
        self.commands, self.stop_at, self.ap50 = [], None, lambda seed, iteration: 0.5 + iteration / 80 + seed / 100

    def __call__(self, command, name, log):
        options = {word: command[index + 1] for index, word in enumerate(command[:-1]) if word.startswith("--")}
        self.commands.append((Path(command[1]).name, options))
        if len(self.commands) == self.stop_at:
            raise KeyboardInterrupt
        output = Path(options.get("--output", ""))
        {"train_faster_rcnn_alt_opt.py": self.train, "test_net.py": self.test, "torchvision_peer.py": self.peer,
         "make_models.py": lambda *_: None, "train_net.py": self.train_end_to_end}[Path(command[1]).name](
             output, options)

    def train(self, output, options):
        (output / "logs").mkdir(parents=True)
        record = {"stage": "stage1_rpn", "iteration": 1, "loss": 0.5, "losses": {"a": 0.5}, "lr": 0.1, "seconds": 1.0}
        (output / "logs" / "stage1_rpn.jsonl").write_text(json.dumps(record) + "\n")
        for iteration in (2, 4, 6, 8):
            (output / f"tiny_fast_rcnn_stage2_iter_{iteration}.caffemodel").write_bytes(b"")
        (output / "detector.json").write_text("{}")

    def train_end_to_end(self, output, options):
        output.mkdir(parents=True)
        for iteration in (3, 6):
            (output / f"x_faster_rcnn_iter_{iteration}.caffemodel").write_bytes(b"")
            (output / f"x_faster_rcnn_iter_{iteration}.detector.json").write_text(str(iteration))

    def test(self, output, options):
        from datasets.all_boxes import save_detections
        from datasets.factory import get_imdb
        output.mkdir(parents=True)
        iteration, seed = int(Path(options["--net"]).stem), int(output.parents[1].name.split("_")[-2])
        (output / "evaluation.json").write_text(json.dumps(evaluation(self.ap50(seed, iteration))))
        boxes = [[np.array([[5, 5, 60, 60, 0.9]], np.float32)] * 2 for _ in CLASSES]
        save_detections(output / "detections.npz", boxes, get_imdb(options["--imdb"]).image_index, CLASSES)

    def peer(self, output, options):
        result = output / "tests" / options["--images"]
        result.mkdir(parents=True)
        (result / "evaluation.json").write_text(json.dumps(evaluation(0.4)))
        points = [{"seconds": 60.0 * number, "images": int(options["--images"]) * number // 2,
                   **evaluation(0.2 * number)["mean"]} for number in (1, 2)]
        (output / "points.json").write_text(json.dumps(points))


@pytest.fixture
def player(program, monkeypatch):
    played = Player()
    monkeypatch.setattr(part("trainings"), "run_child", played)
    monkeypatch.setattr(part("trainings"), "first_detector", lambda trained, path: path.write_bytes(b""))
    return played


@pytest.fixture
def call(program, data_sets, player, demo_data, tmp_path, monkeypatch):
    """Calls the program on the demo data set, with outputs in a temporary folder."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "some.caffemodel").write_bytes(b"")
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: object())
    return lambda *words: program.main([str(demo_data), "--weights", str(tmp_path / "weights"), "--output",
                                        str(tmp_path / "out"), "--report", str(tmp_path / "report" / "accuracy.md"),
                                        *words])


@pytest.mark.slow
def test_the_report(call, player, tmp_path):
    assert call("--seeds", "3", "4") == 0
    text = (tmp_path / "report" / "accuracy.md").read_text()
    assert "| net | seed | minutes | AP50 | AP75 | AP | ball | ring |" in text
    assert "| Tiny | 4 | 0.0 | 0.640 | 0.320 | 0.370 | 0.640 |  |" in text
    assert "| Tiny | **mean** | 0.0 | 0.635 |" in text and "| Tiny | deviation | 0.0 | 0.007 |" in text
    assert "| somebody | 0.9 |  | 0.635 (Tiny) |  |" in text
    assert "| goal | 0.600 | 180 | 0.635 (Tiny) | **met** |" in text
    assert "| goal | 0.700 |  | 0.635 (Tiny) | **missed** |" in text
    goal = "| goal: as good as peer in half of its 2.0 minutes | 0.400 | 1.0 | 0.635 in 0.0 minutes (Tiny) | **met** |"
    assert goal in text
    assert "* bfloat16 changes Tiny's AP50 by +0.000, within the noise of its seeds (0.014, two" in text
    assert "| 0.4 | 0.0 | 0.0 | 2.0 |" in text and "| 0.6 | 0.0 | 0.0 |  |" in text
    assert "--net_name Tiny --anchor_scales 1 2.5 --fc6 64 --max_iters 6 4 5 8 --cfg experiments/cfgs/demo.yml" in text
    assert "python experiments/benchmarks/accuracy.py demo --seeds 3 4" in text
    pictures = {path.name for path in (tmp_path / "report").iterdir()} - {"accuracy.md"}
    assert pictures == {"accuracy_demo_curves.png", "accuracy_demo_Tiny_losses.png", "accuracy_demo_detections.jpg",
                        "accuracy_demo_Tiny_bfloat16_losses.png"}
    assert all(name in text for name in pictures)


def test_commands_of_a_run(call, player, demo_data, tmp_path):
    assert call("--seeds", "5", "--nets", "Tiny_bfloat16", "peer") == 0
    names = [name for name, _ in player.commands]
    assert names == ["train_faster_rcnn_alt_opt.py", *["test_net.py"] * 5, "torchvision_peer.py"]
    train, *tests, peer = [options for _, options in player.commands]
    assert train["--imdb"] == f"{demo_data}:trainval" and train["--seed"] == "5" and "--resume" in train
    assert {options["--imdb"] for options in tests} == {f"{demo_data}:test"}
    assert [Path(options["--net"]).stem for options in tests] == ["0", "2", "4", "6", "8"]
    assert peer["--images"] == str(2 * (6 + 4 + 5 + 8)) and peer["--size"] == "96"
    [folder] = (tmp_path / "out" / "demo").glob("Tiny_bfloat16_5_*")
    assert not (folder / "snapshots").exists()


@pytest.fixture
def end_to_end(data_sets, monkeypatch):
    """The demo data set with an end-to-end recipe, `Joint`, that sees as many images as the peer."""
    recipes = part("recipes")
    joint = recipes.EndToEndRecipe("Tiny", "some.caffemodel", (6,), {"TRAIN.SCALES": [96]}, fc6=64, lr=(0.003,))
    peer = recipes.replace(data_sets["demo"].peers["peer"], images=6)
    monkeypatch.setitem(data_sets, "demo", recipes.replace(
        data_sets["demo"], recipes={"Joint": joint, **data_sets["demo"].recipes}, peers={"peer": peer}))


def test_an_end_to_end_run(call, player, end_to_end, demo_data, tmp_path):
    kept = []
    player.test = lambda output, options, test=player.test: (
        kept.append(Path(options["--net"]).with_suffix(".detector.json").read_text()), test(output, options))
    assert call("--seeds", "5", "--nets", "Joint", "peer") == 0
    names = [name for name, _ in player.commands]
    assert names == ["make_models.py", "train_net.py", "test_net.py", "test_net.py", "torchvision_peer.py"]
    make, train, *tests, _ = [options for _, options in player.commands]
    assert (make["--net"], make["--classes"], make["--fc6"]) == ("Tiny", str(len(CLASSES)), "64")
    nets = Path(make["--out"]) / "Tiny" / "faster_rcnn_end2end_ohem"
    assert Path(train["--solver"]) == nets / "solver.pt" and Path(tests[0]["--def"]) == nets / "test.pt"
    assert (train["--iters"], train["--lr"], train["--imdb"]) == ("6", "0.003", f"{demo_data}:trainval")
    assert "--resume" in train and kept == ["3", "6"]       # each snapshot is tested with its own record
    text = (tmp_path / "report" / "accuracy.md").read_text()
    assert "end to end, `make_models.py --net Tiny --fc6 64`, then `train_net.py --iters 6 --lr 0.003" in text
    assert "| goal: as good as peer in half of its 2.0 minutes | 0.400 | 1.0 | 0.625 in 0.0 minutes (Joint)" in text
    [result] = [json.loads(path.read_text()) for path in (tmp_path / "out" / "demo").glob("Joint_*/result.json")]
    assert [point["images"] for point in result["points"]] == [3, 6]


def test_an_interrupted_end_to_end_run_resumes(call, player, end_to_end, tmp_path):
    player.stop_at = 2
    assert call("--nets", "Joint", "--seeds", "3") == 130
    player.stop_at = 5
    assert call("--nets", "Joint", "--seeds", "3") == 130       # in the first test
    assert call("--nets", "Joint", "--seeds", "3") == 0
    assert [name for name, _ in player.commands] == [*["make_models.py", "train_net.py"] * 2, *["test_net.py"] * 3]


def test_a_peer_may_be_trained_on_another_number_of_images(call, player, data_sets, monkeypatch, tmp_path):
    peer = part("recipes").replace(data_sets["demo"].peers["peer"], images=1234)
    monkeypatch.setitem(data_sets, "demo", part("recipes").replace(data_sets["demo"], peers={"peer": peer}))
    assert call("--seeds", "3", "--nets", "peer") == 0 and player.commands[0][1]["--images"] == "1234"
    text = (tmp_path / "report" / "accuracy.md").read_text()
    assert "* peer: `accuracy_parts/torchvision_peer.py --size 96`, from some.caffemodel; 1,234 images seen\n" in text


def test_finished_runs_are_not_repeated_and_an_interrupted_one_resumes(call, player, tmp_path):
    player.stop_at = 11
    assert call("--nets", "Tiny", "--seeds", "3", "4") == 130
    text = (tmp_path / "report" / "accuracy.md").read_text()
    assert "| Tiny | 3 |" in text and "| Tiny | 4 |" not in text
    player.stop_at = None
    assert call("--nets", "Tiny", "--seeds", "3", "4") == 0
    seeds_tests = [Path(options["--output"]).name for name, options in player.commands if name == "test_net.py"]
    assert seeds_tests == [*"02468", *"0246", *"68"]        # seed 4 was interrupted in the test of iteration 6
    assert [name for name, _ in player.commands].count("train_faster_rcnn_alt_opt.py") == 2
    count = len(player.commands)
    assert call("--nets", "Tiny", "--seeds", "4") == 0 and len(player.commands) == count
    assert "| Tiny | 3 |" in (tmp_path / "report" / "accuracy.md").read_text()    # finished by an earlier call


def test_a_changed_recipe_is_a_new_run(call, player, data_sets, program, monkeypatch, tmp_path):
    assert call("--nets", "Tiny", "--seeds", "3") == 0
    old = data_sets["demo"]
    player.ap50 = lambda seed, iteration: 0.1
    changed = part("recipes").replace(old.recipes["Tiny"], fc6=32)
    monkeypatch.setitem(data_sets, "demo", part("recipes").replace(old, recipes={"Tiny": changed}))
    assert call("--nets", "Tiny", "--seeds", "3") == 0
    rows = [line for line in (tmp_path / "report" / "accuracy.md").read_text().splitlines() if "| Tiny | 3 |" in line]
    assert rows == ["| Tiny | 3 | 0.0 | 0.100 | 0.050 | 0.100 | 0.100 |  |"]


def test_choosing_never_reads_the_test_split(program, data_sets, player, demo_data, tmp_path, monkeypatch):
    from datasets import factory
    asked = []
    find = factory.get_imdb
    for module in ("data", "report"):
        monkeypatch.setattr(part(module), "get_imdb", lambda name, *more: asked.append(name) or find(name, *more))
    (tmp_path / "some.caffemodel").write_bytes(b"")
    words = [str(demo_data), "--nets", "Tiny", "--seeds", "3", "--choose", "--weights", str(tmp_path), "--output",
             str(tmp_path / "out")]
    monkeypatch.setattr(player, "test", lambda output, options: (output.mkdir(parents=True), (
        output / "evaluation.json").write_text(json.dumps(evaluation(0.3)))))
    assert program.main(words) == 0
    names = [options["--imdb"] for _, options in player.commands] + asked
    assert {name.rpartition(":")[2] for name in names} == {"train", "val", "trainval"}
    train, val = (factory.get_imdb(f"{tmp_path}/out/choose/demo/demo.yml:{split}").image_index
                  for split in ("train", "val"))
    assert len(train) == 5 and len(val) == 1
    assert sorted([*train, *val]) == sorted(factory.get_imdb(f"{demo_data}:trainval").image_index)
    text = (tmp_path / "out" / "choose" / "accuracy.md").read_text()
    assert "`test` is not read" in text and "goal" not in text and text.rstrip().endswith("--choose\n```")


def test_parts_do_not_depend_on_the_order_of_images(program):
    names = [f"photo {number}" for number in range(103)]
    train, val = part("data").parts_of(names)
    assert part("data").parts_of(reversed(names)) == (train, val)
    assert len(val) == 25 and sorted(train + val) == sorted(names) and val != names[:25]


def test_missing_requirements_are_reported_before_training(call, program, player, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    assert call() == 2
    assert "peer needs torchvision, which is not installed: pip install torchvision" in capsys.readouterr().err
    assert call("--weights", str(tmp_path / "other")) == 2
    assert "some.caffemodel; --weights DIR names their folder" in capsys.readouterr().err
    monkeypatch.setattr(program, "has_bfloat16", lambda: False)
    assert call("--nets", "Tiny", "Tiny_bfloat16") == 2
    assert "error: Tiny_bfloat16: this processor has no bfloat16 instr" in capsys.readouterr().err
    assert program.main(["nowhere"]) == 2
    assert "there is no recipe for a data set nowhere: choose demo" in capsys.readouterr().err
    assert player.commands == []


def test_photographs_that_may_not_be_shown_stay_in_the_run(call, data_sets, monkeypatch, tmp_path):
    monkeypatch.setitem(data_sets, "demo", part("recipes").replace(data_sets["demo"], is_shown=False))
    assert call("--nets", "Tiny", "--seeds", "3") == 0
    assert not list((tmp_path / "report").glob("*.jpg")) and list((tmp_path / "out").rglob("*_detections.jpg"))
    assert ".jpg" not in (tmp_path / "report" / "accuracy.md").read_text()


def test_goals_with_a_time_limit_count_only_tests_within_it(program):
    points = [{"seconds": 60 * number, "ap50": ap} for number, ap in ((10, 0.8), (20, 0.7), (30, 0.9))]
    results = {"one": [{"points": points}], "two": [{"points": points[:1]}, {"points": points[1:]}]}
    within = part("report").best_within
    assert within(results, 25) == (0.75, "two") and within(results, 5)[0] == 0 and within(results, None)[0] == 0.9
    goals = [part("recipes").Goal(0.7, minutes) for minutes in (25, 5)]
    rows = part("report").comparisons(part("recipes").DataSet({}, is_shown=False, goals=goals), results)
    assert "| goal | 0.700 | 25 | 0.750 (two) | **met** |" in rows
    assert "| goal | 0.700 | 5 | not tested by then |  |" in rows


def test_the_clock_sums_attempts(program, tmp_path):
    clock = part("clock").Clock(tmp_path)
    assert clock.seconds() == 0 and np.isnan(clock.load)
    looks = []
    with clock.running(lambda: looks.append(1)):
        time.sleep(0.05)
    middle = time.time()
    again = part("clock").Clock(tmp_path)
    with pytest.raises(KeyboardInterrupt), again.running():
        time.sleep(0.05)
        raise KeyboardInterrupt
    assert 0.05 <= clock.seconds() < again.seconds() and looks and again.load > 0
    assert again.seconds(middle) == pytest.approx(clock.seconds())
    assert part("clock").Clock(tmp_path).seconds() == again.seconds()


def test_snapshots_of_the_last_stage_are_kept(program, data_sets, tmp_path):
    split = part("data").published_split("demo", tmp_path)
    run = part("runs").make_run(data_sets, split, "Tiny", 3, tmp_path, tmp_path)
    run.trained.mkdir(parents=True)
    for name in ("squeezenet_fast_rcnn_stage2_iter_20", "x_fast_rcnn_stage1_iter_20", "x_rpn_stage2_iter_30"):
        (run.trained / f"{name}.caffemodel").write_bytes(name.encode())
    for _ in range(2):
        part("trainings").training_of(run).keep_snapshots()
    assert [path.name for path in (run.folder / "snapshots").iterdir()] == ["20.caffemodel"]


def test_settings_of_all_recipes_exist(program, tmp_path):
    runs, known = part("runs"), part("recipes").DATA_SETS
    for name, data_set in known.items():
        for net in data_set.nets:
            run = runs.make_run(known, part("data").published_split(name, tmp_path), net, 3, tmp_path, tmp_path)
            *_, settings = run.recipe.step_settings(3).values()
            assert (settings.PRECISION == "bfloat16") == net.endswith("bfloat16")
            assert settings.TRAIN.SCALES == settings.TEST.SCALES
            assert len(run.recipe.images_seen()) == len(run.recipe.iterations)
            if "_end2end" in net:
                assert settings.RNG_SEED == 3 and settings.TRAIN.USE_OHEM == run.recipe.ohem
                short = part("recipes").SHORT
                four_stages = data_set.recipes[net.replace("_end2end", "").replace(short, "")]
                seen, expected = sum(run.recipe.images_seen()), sum(four_stages.images_seen())
                assert seen < expected if short in net else seen == expected


def test_command_line_of_a_recipe(program):
    recipe = part("recipes").AlternatingRecipe("Tiny", None, (4, 3, 2, 5), {"TRAIN.BATCH_SIZE": 8},
                                               anchor_ratios=(0.5, 2), fc6=64, lr=(0.003, 0.0007, 0.003, 0.0007))
    assert recipe.driver_words("cfgs", {"NUM_WORKERS": 0}) == (
        "--net_name Tiny --anchor_ratios 0.5 2 --fc6 64 --max_iters 4 3 2 5 --lr 0.003 0.0007 0.003 0.0007 --cfg "
        "cfgs/faster_rcnn_alt_opt.yml --set TRAIN.BATCH_SIZE 8 NUM_WORKERS 0").split()


def run_with_forked_steps(command, *more):
    """Like `run_child`, but the steps of a training are forked, which is faster."""
    python, tool, *words = command
    trains = Path(tool).name == "train_faster_rcnn_alt_opt.py"
    return run_child([python, str(FORKED_STEPS) if trains else tool, *words], *more)


@pytest.mark.slow
def test_the_tools_themselves(program, data_sets, demo_data, tmp_path, monkeypatch):
    recipes = part("recipes")
    tiny = recipes.AlternatingRecipe("Tiny", None, (1, 1, 1, 1), {
        **recipes.image_size(64, 100), "NUM_WORKERS": 0, "TRAIN.RPN_POST_NMS_TOP_N": 20}, cfg="demo.yml", fc6=16)
    joint = recipes.EndToEndRecipe("Tiny", None, (1,), tiny.settings, fc6=16)
    monkeypatch.setitem(data_sets, "demo", recipes.DataSet({"Tiny": tiny, "Joint": joint}, is_shown=True))
    monkeypatch.setattr(part("trainings"), "run_child", run_with_forked_steps)
    monkeypatch.setenv("PYTHONPATH", "")
    assert program.main([str(demo_data), "--seeds", "3", "--output", str(tmp_path), "--report",
                         str(tmp_path / "r" / "a.md")]) == 0
    for name, images in (("Tiny", 4 * 2), ("Joint", 1)):
        [result] = [json.loads(path.read_text()) for path in tmp_path.glob(f"demo/{name}_*/result.json")]
        assert result["seconds"] > 1 and result["points"][-1]["images"] == images
        assert set(result["mean"]) == {"ap50", "ap75", "ap", "voc_area", "voc_11_points"}
    run_folder = next(tmp_path.glob("demo/Tiny_*/run"))
    part("trainings").first_detector(run_folder, tmp_path / "first.caffemodel")
    weights = [caffe.Net(str(run_folder / "faster_rcnn_test.pt"), caffe.TEST, weights=str(path)).params
               for path in (tmp_path / "first.caffemodel", *sorted(run_folder.glob("tiny_*_iter_1.caffemodel")))]
    first, (early, _, _, rpn) = weights[0], weights[1:]         # fast_rcnn_stage1, _stage2, rpn_stage1, _stage2
    assert all((first[name][0].data == early[name][0].data).all() for name in ("conv1_1", "cls_score", "bbox_pred"))
    assert all((first[name][0].data == rpn[name][0].data).all() for name in first if name.startswith("rpn"))
    pictures = {path.name for path in (tmp_path / "r").iterdir()}
    assert pictures == {"a.md", "a_demo_Tiny_losses.png", "a_demo_Joint_losses.png", "a_demo_curves.png",
                        "a_demo_detections.jpg"}
