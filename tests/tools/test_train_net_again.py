"""tools/train_net.py in a folder that holds an earlier run: nothing is lost unless the user says so."""
import pytest

from fast_rcnn.config import reset_cfg
from fast_rcnn.hooks import Hook
from utils.errors import UserError
from utils.files import read_json_lines

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("default_settings")]


class Fails(Hook):
    """Makes training fail after an iteration, by default the third."""

    def __init__(self, iteration=3):
        self._iteration = iteration

    def after_iteration(self, training):
        if training.iteration == self._iteration:
            raise UserError("failed as wanted")


@pytest.fixture
def train(demo_data, tmp_path, capsys):
    """Trains the Tiny net for some iterations with a checkpoint after two; returns the exit status and the output."""
    import train_net
    from make_models import make_models
    folder = next(path.parent for path in make_models("Tiny", 5, out_dir=tmp_path / "nets") if path.name == "train.pt")

    def call(iterations, *options):
        reset_cfg()
        status = train_net.main(["--imdb", f"{demo_data}:test", "--cpu", "--solver", str(folder / "solver.pt"),
                                 "--iters", str(iterations), "--output", str(tmp_path / "out"), "--cfg",
                                 "experiments/cfgs/tiny_end2end.yml", *options, "--set", "TRAIN.SCALES", "(96,)",
                                 "TRAIN.SNAPSHOT_ITERS", "2"])
        printed = capsys.readouterr()
        return status, printed.out + printed.err
    return call


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def check_is_refused(result, output, before):
    status, text = result
    assert status == 2 and text.count("\n") <= 2, text
    assert f"error: {output} holds a run already (" in text
    assert "Choose: --resume continues it, --restart discards it, --output DIR starts another one" in text
    assert content(output) == before


def test_a_checkpoint_is_kept_until_the_user_decides(train, tmp_path, monkeypatch):
    output = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("fast_rcnn.hooks._makers", [Fails])
        assert train(4)[0] == 2
    before = content(output)
    assert output / "checkpoints/faster_rcnn_end2end_solver/checkpoint.json" in before
    check_is_refused(train(4), output, before)
    status, text = train(4, "--resume", "--rand")       # another seed
    assert status == 2 and "the checkpoint is of other settings" in text, text
    assert content(output) == before
    status, text = train(1, "--resume")
    assert status == 2 and "2 iterations are trained already, more than 1. Choose: more --iters" in text, text
    assert content(output) == before
    status, text = train(4, "--resume")
    assert status == 0 and "resumes after iteration 2," in text, text


def test_a_finished_run_is_kept_until_the_user_decides(train, tmp_path):
    output = tmp_path / "out"
    status, text = train(1, "--resume")
    assert status == 0 and "training starts from the beginning" in text, text
    before = content(output)
    check_is_refused(train(1), output, before)
    status, text = train(1, "--resume", "--lr", "0.5")
    assert status == 2 and "the finished training is of other settings" in text and "base_lr 0.01 -> 0.5" in text, text
    del before[output / "own_files.json"]       # names the solver with another learning rate, too
    assert before.items() <= content(output).items()
    model = output / "tiny_faster_rcnn_iter_1.caffemodel"
    status, text = train(1, "--resume")
    assert status == 0 and text.splitlines()[-1] == f"Final model: {model}", text
    assert model.read_bytes() == before[model]
    status, text = train(2, "--restart")
    assert status == 0 and "resumes after" not in text, text
    assert (output / "tiny_faster_rcnn_iter_2.caffemodel").exists()


def test_a_restart_discards_the_checkpoints_and_the_end_of_the_run(train, tmp_path, monkeypatch):
    assert train(4)[0] == 0
    status, text = train(4, "--restart", "--weights", str(tmp_path / "nets/Tiny/faster_rcnn_end2end/solver.pt"))
    assert status == 2 and (tmp_path / "out/end_states/faster_rcnn_end2end_solver/checkpoint.json").exists(), text
    with monkeypatch.context() as patched:
        patched.setattr("fast_rcnn.hooks._makers", [lambda: Fails(1)])
        assert "failed as wanted" in train(2, "--restart")[1]
    status, text = train(2, "--resume")
    assert status == 0 and "training starts from the beginning" in text, text


def test_the_models_of_another_solver_are_not_replaced(train, tmp_path, demo_data):
    output = tmp_path / "out"
    assert train(2, "--val_imdb", f"{demo_data}:test")[0] == 0
    before = content(output)
    other = tmp_path / "other"
    other.mkdir()
    for path in (tmp_path / "nets/Tiny/faster_rcnn_end2end").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    solver = ("--solver", str(other / "solver.pt"))
    status, text = train(2, "--resume", *solver)
    assert status == 2 and text.count("\n") <= 2, text
    assert "holds models of another training (tiny_faster_rcnn_iter_2.caffemodel, " in text
    assert "to resume. Choose: the solver that wrote them, --restart discards it" in text
    check_is_refused(train(3, "--val_imdb", f"{demo_data}:test", *solver), output, before)
    assert train(1, "--resume", *solver)[0] == 0


def test_a_longer_training_continues_from_its_end_and_is_validated(train, tmp_path, demo_data):
    assert train(2)[0] == 0
    status, text = train(4, "--resume", "--val_imdb", f"{demo_data}:test", "--val_every", "1")
    assert status == 0 and "resumes after iteration 2," in text, text
    lines = read_json_lines(tmp_path / "out" / "validation" / "faster_rcnn_end2end_solver.jsonl")
    assert [line["iteration"] for line in lines] == [2, 3, 4]
    assert (tmp_path / "out" / "tiny_faster_rcnn_iter_2.caffemodel").exists()       # of the shorter training
    assert not (tmp_path / "out" / "tiny_faster_rcnn_iter_3.caffemodel").exists()
    assert (tmp_path / "out" / "tiny_faster_rcnn_best.detector.json").exists()
    status, text = train(2, "--resume")
    assert status == 2 and "4 iterations are trained already, more than 2" in text, text
    status, text = train(4, "--restart", "--val_imdb", f"{demo_data}:test", "--val_net", str(tmp_path / "none.pt"))
    assert status == 2 and "--val_net: there is no file" in text


def test_a_validation_net_that_is_no_detector_is_refused_before_training(train, tmp_path, demo_data):
    nets = tmp_path / "nets/Tiny"
    for name, words in (("faster_rcnn_end2end/train.pt", "layer 'input-data': this net is for training"),
                        ("faster_rcnn_alt_opt/rpn_test.pt", "has no output cls_prob and no bbox_pred")):
        status, text = train(1, "--val_imdb", f"{demo_data}:test", "--val_net", str(nets / name))
        assert status == 2 and words in text and "iter 1/1" not in text, text
    renamed = nets / "faster_rcnn_end2end/test.pt"
    renamed.write_text(renamed.read_text().replace('name: "fc7"', 'name: "fc7_cells"'))
    status, text = train(1, "--val_imdb", f"{demo_data}:test")
    assert status == 2 and "layer 'fc7_cells': the net that is trained has no layer of this name" in text
    assert "iter 1/1" not in text, text
