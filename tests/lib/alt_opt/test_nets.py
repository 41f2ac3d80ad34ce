"""Which nets a run of alternating optimisation uses: shipped, generated, or the user's."""
from pathlib import Path

import pytest

from alt_opt.nets import TRAINED, find_nets
from net_definitions import USUAL, Sizes, model_files
from utils.errors import CheckError

MODELS = Path(__file__).resolve().parents[3] / "models"
NO_OHEM = "Tiny/faster_rcnn_alt_opt_no_ohem"


def write(files, folder):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def find(tmp_path):
    """Finds the nets of Tiny; generated ones go to tmp_path/made."""
    def find(ohem=False, num_classes=21, models=None, shipped=MODELS, max_iters=None, sizes=USUAL):
        return find_nets("Tiny", num_classes, ohem, models, shipped, tmp_path / "made", max_iters, sizes)
    return find


def test_shipped_nets_are_used_in_place(find, tmp_path, capsys):
    assert find(ohem=True).folder == MODELS / "Tiny" / "faster_rcnn_alt_opt"
    assert not (tmp_path / "made").exists() and not capsys.readouterr().out


def test_nets_without_mining_are_generated(find, tmp_path, capsys):
    """Their schedules follow --max_iters, as do those of nets for other classes."""
    nets = find(max_iters=(8, 8, 8, 8))
    assert nets.folder == tmp_path / "made" / NO_OHEM
    assert capsys.readouterr().out == (
        f"Nets without hard example mining are not shipped: writing them to {tmp_path / 'made'}\n")
    definition = model_files("Tiny", folder=str(tmp_path / "made"), iterations=(8, 8, 8, 8))
    for step in TRAINED:
        assert "stepsize: 6\n" in nets.solver(step).read_text()
        for path in (nets.solver(step), nets.train_net(step)):
            assert path.read_text() == definition[str(path.relative_to(tmp_path / "made"))]
    assert nets.max_iters["stage1_rpn"] == 8


def test_edited_nets_without_mining_are_kept(find, capsys):
    solver = find().solver("stage1_rpn")
    solver.write_text(solver.read_text().replace("base_lr: 0.02", "base_lr: 0.03"))
    assert find().solver("stage1_rpn") == solver and "base_lr: 0.03" in solver.read_text()
    assert f"Kept as you have edited it: {solver}" in capsys.readouterr().out


def test_generated_nets_for_other_classes_name_the_number_of_classes(find, capsys):
    find(num_classes=5, max_iters=(8, 8, 8, 8))
    text = capsys.readouterr().out
    assert text.startswith("The data set has 5 classes with the background, the shipped nets 21: writing nets for it")
    assert "fall after three quarters" in text and "mining" not in text


def test_other_sizes_are_named_as_options(find, tmp_path, capsys):
    sizes = Sizes(anchor_scales=(2, 3.5), anchor_ratios=(1,), fc6=8, fc7=9, roi_layer="ROIAlign")
    words = "--anchor_scales 2 3.5 --anchor_ratios 1 --fc6 8 --fc7 9 --roi_layer ROIAlign"
    with pytest.raises(CheckError, match=f"--models mine: these nets are used as they are; {words} apply to generated"):
        find(models="mine", sizes=sizes)
    nets = find(ohem=True, sizes=sizes)
    assert capsys.readouterr().out == f"Writing nets with {words} to {tmp_path / 'made'}\n"
    assert "ROIAlign" in nets.train_net("stage1_fast_rcnn").read_text()


def test_a_folder_without_mining_among_the_shipped_nets_is_used(find, tmp_path, capsys):
    """As in earlier versions, or in the user's MODELS_DIR."""
    write(model_files("Tiny", folder=str(tmp_path / "old")), tmp_path / "old")
    edited = tmp_path / "old" / NO_OHEM / "rpn_test.pt"
    edited.write_text(edited.read_text() + "# mine\n")
    nets = find(shipped=tmp_path / "old")
    assert nets.folder == tmp_path / "old" / NO_OHEM
    assert not (tmp_path / "made").exists() and not capsys.readouterr().out
    (nets.folder / "stage1_rpn_train.pt").unlink()      # the remaining edited nets are not ignored
    with pytest.raises(CheckError, match="stage1_rpn_train.pt does not exist"):
        find(shipped=tmp_path / "old")


def test_a_folder_without_nets_is_ignored(find, tmp_path):
    write({f"{NO_OHEM}/notes.txt": ""}, tmp_path / "old")
    assert find(shipped=tmp_path / "old").folder == tmp_path / "made" / NO_OHEM


def test_folders_of_the_user(find, tmp_path):
    write(model_files("Tiny", folder=str(tmp_path / "mine")), tmp_path / "mine")
    for models in (tmp_path / "mine", tmp_path / "mine" / NO_OHEM):
        assert find(models=str(models)).folder == tmp_path / "mine" / NO_OHEM
    with pytest.raises(CheckError, match=f"{MODELS}/Tiny has no folder faster_rcnn_alt_opt_no_ohem; .*make_models.py"):
        find(models=str(MODELS))
