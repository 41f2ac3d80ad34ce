"""Settings: defaults, files, command lines, and errors."""
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from easydict import EasyDict

from fast_rcnn.cfg_checks import check_cfg
from fast_rcnn.config import (
    ConfigError,
    cfg,
    cfg_from_file,
    cfg_from_list,
    file_changes,
    get_output_dir,
    make_settings,
    pair_changes,
    reset_cfg,
)
from roi_data_layer.sampling import RoISettings
from rpn.anchor_targets import AnchorSettings
from rpn.proposals import ProposalSettings

pytestmark = pytest.mark.usefixtures("default_settings")


def test_defaults_work_together_and_are_those_of_py_faster_rcnn():
    check_cfg()
    assert (cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.FG_FRACTION, cfg.TRAIN.BG_THRESH_LO) == (128, 0.25, 0.1)
    assert (cfg.TRAIN.RPN_POST_NMS_TOP_N, cfg.TEST.RPN_POST_NMS_TOP_N) == (2000, 300)
    assert cfg.PIXEL_MEANS.shape == (1, 1, 3) and cfg.RNG_SEED == 3
    assert (Path(cfg.ROOT_DIR) / "lib" / "fast_rcnn" / "config.py").is_file()


def test_defaults_of_functions_are_those_of_the_settings():
    settings = make_settings({"USE_GPU_NMS": False})
    assert AnchorSettings() == AnchorSettings.from_cfg(settings.TRAIN)
    assert RoISettings() == RoISettings.from_cfg(settings.TRAIN)
    assert ProposalSettings() == ProposalSettings.from_cfg(settings, "TEST")


def test_file(tmp_path):
    file = tmp_path / "own.yml"
    file.write_text("EXP_DIR: trial\nTRAIN:\n  SCALES: [400, 500]\n  FG_THRESH: 1\n  RPN_POSITIVE_WEIGHT: 5e-1\n"
                    "TEST: {NMS: 0.4}\nPIXEL_MEANS: [[[1, 2, 3]]]\nPIXEL_STDS: 58\n")
    cfg_from_file(file)
    assert cfg.EXP_DIR == "trial" and cfg.TRAIN.SCALES == (400, 500) and cfg.TEST.NMS == 0.4
    assert cfg.TRAIN.FG_THRESH == 1.0 and isinstance(cfg.TRAIN.FG_THRESH, float)
    assert cfg.TRAIN.RPN_POSITIVE_WEIGHT == 0.5
    np.testing.assert_array_equal(cfg.PIXEL_MEANS, [[[1, 2, 3]]])
    np.testing.assert_array_equal(cfg.PIXEL_STDS, [[[58, 58, 58]]])
    (tmp_path / "empty.yml").write_text("# nothing\n")
    cfg_from_file(tmp_path / "empty.yml")


@pytest.mark.parametrize("text, message", [
    ("TRAIN: {USE_OHEN: true}", "unknown key TRAIN.USE_OHEN .did you mean TRAIN.USE_OHEM"),
    ("NMS: 0.3", "unknown key NMS .did you mean T"),
    ("TRAIN: {BATCH_SIZE: 12.5}", "TRAIN.BATCH_SIZE: expected int, found float 12.5"),
    ("TRAIN: {USE_OHEM: 1}", "TRAIN.USE_OHEM: expected bool, found int 1"),
    ("TRAIN: {FG_THRESH: true}", "TRAIN.FG_THRESH: expected float, found bool True"),
    ("TRAIN: {SCALES: 600}", "TRAIN.SCALES: expected a list, found int 600"),
    ("TRAIN: {SCALES: [600, a]}", r"TRAIN.SCALES\[1\]: expected int, found str 'a'"),
    ("PIXEL_MEANS: [1, 2]", "PIXEL_MEANS: expected one or three numbers"),
    (f"PIXEL_MEANS: {10 ** 400}", "PIXEL_MEANS: expected one or three numbers, found int 1000"),
    (f"TRAIN: {{FG_THRESH: {10 ** 400}}}", "TRAIN.FG_THRESH: expected float, found int 1000"),
    (f"EXP_DIR: 0x{'f' * 5000}", "cannot be read as YAML: line 1: a number of 5002 digits"),
    ("TRAIN: 3", "TRAIN is a section"),
    ("[1, 2]", "expected keys and values, found list"),
    ("a: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ("a: [", "cannot be read as YAML"),
])
def test_file_errors_name_file_and_key(tmp_path, text, message):
    file = tmp_path / "bad.yml"
    file.write_text(text)
    before = copy.deepcopy(cfg)
    with pytest.raises(ConfigError, match=f"bad.yml: {message}"):
        cfg_from_file(file)
    assert repr(cfg) == repr(before)


def test_all_errors_of_a_file_are_reported_and_nothing_is_changed(tmp_path):
    file = tmp_path / "bad.yml"
    file.write_text("RNG_SEED: 7\nTRAIN: {NONSENSE: 1, MAX_SIZE: big}\n")
    with pytest.raises(ConfigError, match=r"(?s)TRAIN.NONSENSE.*TRAIN.MAX_SIZE"):
        cfg_from_file(file)
    assert cfg.RNG_SEED == 3
    with pytest.raises(ConfigError, match="nowhere.yml"):
        cfg_from_file(tmp_path / "nowhere.yml")


def test_command_line():
    cfg_from_list(["EXP_DIR", "12", "TRAIN.SCALES", "[400,500]", "RNG_SEED", "1701", "TRAIN.USE_OHEM", "true",
                   "TEST.NMS", "1", "EPS", "1e-3", "PIXEL_STDS", "(1, 2, 4)"])
    assert (cfg.EXP_DIR, cfg.TRAIN.SCALES, cfg.RNG_SEED) == ("12", (400, 500), 1701)
    assert cfg.TRAIN.USE_OHEM is True and cfg.TEST.NMS == 1.0 and cfg.EPS == 1e-3
    np.testing.assert_array_equal(cfg.PIXEL_STDS, [[[1, 2, 4]]])
    with pytest.raises(ConfigError, match="no partner"):
        cfg_from_list(["EXP_DIR"])
    with pytest.raises(ConfigError, match="TRAIN.MAX_SIZE: expected int, found str 'wide'"):
        cfg_from_list(["TRAIN.MAX_SIZE", "wide"])


@pytest.mark.parametrize("changes, message", [
    ({"TRAIN.BATCH_SIZE": 127}, "multiple of TRAIN.IMS_PER_BATCH"),
    ({"TRAIN.FG_THRESH": 1.5}, "TRAIN.FG_THRESH is 1.5: it must lie in 0..1"),
    ({"TRAIN.BG_THRESH_LO": 0.6}, "above TRAIN.BG_THRESH_HI"),
    ({"TRAIN.RPN_NEGATIVE_OVERLAP": 0.8}, "above TRAIN.RPN_POSITIVE_OVERLAP|TRAIN.RPN_POSITIVE_OVERLAP"),
    ({"TRAIN.RPN_POSITIVE_WEIGHT": 1.0}, "between 0 and 1"),
    ({"TRAIN.USE_OHEM": True}, "TRAIN.BG_THRESH_LO is 0.1"),
    ({"TRAIN.USE_OHEM": True, "TRAIN.HAS_RPN": True}, r"^TRAIN.BG_THRESH_LO is 0.1: .*\nTRAIN.BBOX_NORMALIZE[^\n]*$"),
    ({"TRAIN.OHEM_WARMUP": -1}, "TRAIN.OHEM_WARMUP is -1: it must not be negative"),
    ({"TRAIN.OHEM_RANDOM_SHARE": 1.5}, "TRAIN.OHEM_RANDOM_SHARE is 1.5: it must lie in 0..1"),
    ({"TRAIN.HAS_RPN": True}, "BBOX_NORMALIZE_TARGETS_PRECOMPUTED must be True"),
    ({"TRAIN.SCALES": []}, "TRAIN.SCALES is ..: it must not be empty"),
    ({"TEST.SCALES": [600, 0]}, "positive numbers only"),
    ({"TRAIN.IMS_PER_BATCH": 0}, "at least 1"),
    ({"TRAIN.BATCH_SIZE": -2}, "TRAIN.BATCH_SIZE is -2: it must be at least 1, or -1 for all RoIs"),
    ({"TRAIN.BATCH_SIZE": -1, "TRAIN.USE_OHEM": True, "TRAIN.BG_THRESH_LO": 0.0}, "TRAIN.BATCH_SIZE is -1, all RoIs: "
     "with TRAIN.USE_OHEM it is the number of hard ones"),
    ({"PIXEL_STDS": 0}, "PIXEL_STDS"),
    ({"NUM_WORKERS": -1}, "NUM_WORKERS is -1: it must not be negative"),
    ({"TRAIN.BBOX_INSIDE_WEIGHTS": [1, 1]}, "has 2 numbers, 4 are needed"),
    ({"TRAIN.RPN_NORMALIZE_STDS": [1, 1, 1, 1]}, "RPN_NORMALIZE_STDS have 0 and 4 numbers: give four each"),
    ({"TRAIN.RPN_NORMALIZE_MEANS": [0] * 4, "TRAIN.RPN_NORMALIZE_STDS": [1, 1, 1, 0]}, "hold positive numbers only"),
    ({"TRAIN.PROPOSAL_METHOD": "ss"}, "choose one of selective_search, gt, rpn"),
    ({"TEST.PROPOSAL_METHOD": "my boxes", "IMPORTS": ["mine"]}, "choose one of selective_search, gt, rpn"),
    ({"PRECISION": "half"}, "choose one of float32, tf32, bfloat16"),
])
def test_conflicting_settings(changes, message):
    cfg_from_list([word for pair in changes.items() for word in pair])
    with pytest.raises(ConfigError, match=message):
        check_cfg()


def test_data_sets_of_user_modules_may_have_proposal_methods_of_their_own():
    check_cfg(make_settings({"TRAIN.PROPOSAL_METHOD": "edge_boxes", "IMPORTS": ["my_data"]}))


def test_all_conflicts_are_reported_together():
    cfg_from_list(["TRAIN.BATCH_SIZE", "127", "TEST.NMS", "2.0"])
    with pytest.raises(ConfigError, match=r"(?s)TEST.NMS.*TRAIN.BATCH_SIZE"):
        check_cfg()


def test_a_wrong_type_assigned_in_python_is_detected():
    cfg.TRAIN.MAX_SIZE = "big"
    with pytest.raises(ConfigError, match="TRAIN.MAX_SIZE: expected int, found str 'big'"):
        check_cfg()


def test_attributes_cannot_be_misspelled():
    with pytest.raises(ConfigError, match="USE_OHEM"):
        cfg.TRAIN.USE_OHEN = True
    with pytest.raises(AttributeError, match="did you mean RNG_SEED"):
        cfg.RNG_SED  # noqa: B018


def test_reset_keeps_the_objects_and_removes_changes():
    train = cfg.TRAIN
    cfg.TRAIN.SCALES, cfg.PIXEL_MEANS[...] = (1,), 0
    cfg["EXTRA"] = 1
    reset_cfg()
    assert cfg.TRAIN is train and train.SCALES == (600,) and cfg.PIXEL_MEANS[0, 0, 0] == 102.9801
    assert "EXTRA" not in cfg


def test_copies_for_other_processes():
    for other in (copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        other.TRAIN.MAX_SIZE = 5
        assert cfg.TRAIN.MAX_SIZE == 1000


def test_settings_from_changes_are_frozen_and_do_not_change_cfg(tmp_path):
    (tmp_path / "own.yml").write_text("TRAIN: {BATCH_SIZE: 64, MAX_SIZE: 500}\n")
    settings = make_settings({"TRAIN.BATCH_SIZE": 32, "TRAIN.FG_THRESH": 1}, file_changes(tmp_path / "own.yml"),
                             pair_changes(["TRAIN.MAX_SIZE", "400"]))
    assert (settings.TRAIN.BATCH_SIZE, settings.TRAIN.MAX_SIZE, settings.TRAIN.FG_THRESH) == (64, 400, 1.0)
    assert cfg.TRAIN.BATCH_SIZE == 128
    with pytest.raises(ConfigError, match="did you mean TRAIN.BATCH_SIZE"):
        make_settings({"TRAIN.BATCHSIZE": 1})
    for change in (lambda: setattr(settings.TRAIN, "MAX_SIZE", 1), lambda: settings.TRAIN.update(MAX_SIZE=1),
                   lambda: settings.TRAIN.__setitem__("MAX_SIZE", 1), lambda: settings.TRAIN.pop("MAX_SIZE"),
                   settings.TRAIN.clear, lambda: settings.TRAIN.setdefault("NEW", 1),
                   lambda: settings.TRAIN.__delitem__("MAX_SIZE")):
        with pytest.raises(ConfigError, match="MAX_SIZE|NEW") as caught:
            change()
        assert "these settings are frozen" in str(caught.value)
    assert settings.TRAIN.MAX_SIZE == 400 and "NEW" not in settings.TRAIN


def test_copies_of_frozen_settings_can_be_changed():
    settings = make_settings({"USE_GPU_NMS": False})
    for other in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        other.TRAIN.MAX_SIZE, other.PIXEL_MEANS[...] = 5, 0
        assert settings.TRAIN.MAX_SIZE == 1000 and settings.PIXEL_MEANS[0, 0, 0] == 102.9801


def test_settings_are_an_easydict():
    assert isinstance(cfg, EasyDict) and isinstance(cfg.TRAIN, EasyDict)
    assert sorted(cfg) == sorted(make_settings()) and "freeze" not in cfg


@pytest.mark.parametrize("text, found", [
    ("[one, two.three]", ("one", "two.three")), ("['one', \"two\"]", ("one", "two")), ("('one',)", ("one",)),
    ("[]", ())])
def test_modules_to_import_need_no_quotes(text, found):
    cfg_from_list(["IMPORTS", text])
    assert cfg.IMPORTS == found and cfg.IMPORTS_DIR == ""


@pytest.mark.parametrize("text, message", [
    ("one", "IMPORTS: expected a list, found str 'one'"), ("[1]", r"IMPORTS\[0\]: expected str, found int 1"),
    ("[one", "IMPORTS: expected a list")])
def test_modules_to_import_are_a_list_of_names(text, message):
    with pytest.raises(ConfigError, match=message):
        cfg_from_list(["IMPORTS", text])


def test_modules_are_searched_in_the_folder_of_the_file_that_names_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yml").write_text("IMPORTS: [one]\n")
    cfg_from_file("sub/a.yml")
    assert (cfg.IMPORTS, cfg.IMPORTS_DIR) == (("one",), str(tmp_path / "sub"))
    (tmp_path / "b.yml").write_text("EXP_DIR: other\n")
    cfg_from_file("b.yml")
    assert (cfg.IMPORTS, cfg.IMPORTS_DIR) == (("one",), str(tmp_path / "sub"))


def test_output_folder(tmp_path):
    cfg.ROOT_DIR = str(tmp_path)
    folder = get_output_dir("path/to my:train", "net")
    assert folder == str(tmp_path / "output" / "default" / "path_to_my_train" / "net") and Path(folder).is_dir()
