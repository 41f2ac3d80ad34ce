"""Settings of the steps of alternating optimisation."""
import pytest

from alt_opt.settings import stage_settings, write_settings
from fast_rcnn.checkpoints import relevant_settings
from fast_rcnn.config import (
    ConfigError,
    cfg,
    cfg_from_file,
    file_changes,
    flatten,
    pair_changes,
    plain,
    reset_cfg,
    set_cfg,
)
from fast_rcnn.detector_record import detector_settings


def test_the_steps_as_published():
    rpn = stage_settings("rpn", 1, True, {})["TRAIN"]
    assert (rpn["HAS_RPN"], rpn["BBOX_REG"], rpn["USE_OHEM"], rpn["PROPOSAL_METHOD"]) == (True, False, False, "gt")
    assert rpn["IMS_PER_BATCH"] == 1 and rpn["SNAPSHOT_INFIX"] == "stage1"
    proposals = stage_settings("proposals", 2, True, {})["TEST"]
    assert (proposals["RPN_PRE_NMS_TOP_N"], proposals["RPN_POST_NMS_TOP_N"]) == (-1, 2000)
    frcn = stage_settings("fast_rcnn", 2, True, {})["TRAIN"]
    assert (frcn["HAS_RPN"], frcn["BBOX_REG"], frcn["USE_OHEM"]) == (False, True, True)
    assert (frcn["PROPOSAL_METHOD"], frcn["BG_THRESH_LO"], frcn["OHEM_USE_NMS"]) == ("rpn", 0.0, False)
    assert (frcn["IMS_PER_BATCH"], frcn["ASPECT_GROUPING"], frcn["SNAPSHOT_INFIX"]) == (2, False, "stage2")
    assert stage_settings("fast_rcnn", 1, False, {})["TRAIN"]["USE_OHEM"] is False


def test_user_settings_override_defaults_but_not_requirements_of_a_step(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("TRAIN: {BATCH_SIZE: 64, OHEM_USE_NMS: true, HAS_RPN: false}\nTEST: {RPN_POST_NMS_TOP_N: 300}\n")
    changes = {**file_changes(file), **pair_changes(["TRAIN.BATCH_SIZE", "32", "TRAIN.RPN_POST_NMS_TOP_N", "600"])}
    frcn = stage_settings("fast_rcnn", 1, True, changes, seed=11)
    assert frcn["TRAIN"]["BATCH_SIZE"] == 32 and frcn["TRAIN"]["OHEM_USE_NMS"] is True
    seeds = [stage_settings(kind, stage, True, changes, seed=11)["RNG_SEED"]
             for kind in ("rpn", "fast_rcnn") for stage in (1, 2)]
    assert len(set(seeds)) == 4 and seeds[0] == 11
    assert stage_settings("rpn", 1, True, changes)["TRAIN"]["HAS_RPN"] is True
    # The number of proposals for training is set by TRAIN, not by TEST
    assert stage_settings("proposals", 1, True, changes)["TEST"]["RPN_POST_NMS_TOP_N"] == 600
    assert detector_settings(frcn)["TEST"]["RPN_POST_NMS_TOP_N"] == 300


def test_the_users_infix_precedes_that_of_the_stage():
    frcn = stage_settings("fast_rcnn", 2, True, {"TRAIN.SNAPSHOT_INFIX": "mine"})
    assert frcn["TRAIN"]["SNAPSHOT_INFIX"] == "mine_stage2"
    with pytest.raises(ConfigError, match="becomes part of a file's name"):
        stage_settings("rpn", 1, True, {"TRAIN.SNAPSHOT_INFIX": "a/b"})


def test_cfg_takes_the_settings_of_a_step_which_stays_unchanged():
    settings = stage_settings("fast_rcnn", 2, True, {"EXP_DIR": "other"})
    before, train, cfg.EXP_DIR = plain(settings), cfg.TRAIN, "mine"
    try:
        set_cfg(settings)
        assert plain(cfg) == before and cfg.TRAIN is train
        assert (cfg.EXP_DIR, cfg.TRAIN.USE_OHEM) == ("other", True)
        cfg.TRAIN.USE_OHEM, cfg.PIXEL_MEANS[...] = False, 0
        assert plain(settings) == before
    finally:
        reset_cfg()


def test_the_settings_of_a_step_cannot_be_changed():
    settings = stage_settings("rpn", 1, True, {})
    with pytest.raises(ConfigError, match="BATCH_SIZE cannot be changed: these settings are frozen"):
        settings.TRAIN.BATCH_SIZE = 4
    with pytest.raises(ValueError, match="read-only"):
        settings.PIXEL_MEANS[...] = 0


def test_modules_to_import_go_to_every_step_and_the_detector(tmp_path):
    (tmp_path / "a.yml").write_text("IMPORTS: [one]\n")
    changes = {**file_changes(tmp_path / "a.yml"), **pair_changes(["IMPORTS", "[one, two]"])}
    for kind in ("rpn", "proposals", "fast_rcnn"):
        settings = stage_settings(kind, 1, True, changes)
        found = detector_settings(settings)
        assert (found["IMPORTS"], found["IMPORTS_DIR"]) == (["one", "two"], str(tmp_path))
        inputs = relevant_settings(plain(settings), kind)
        assert inputs["IMPORTS"] == ["one", "two"] and "IMPORTS_DIR" not in inputs
        without = stage_settings(kind, 1, True, {})
        assert dict(flatten(plain(settings))).keys() - dict(flatten(plain(without))) == {"IMPORTS", "IMPORTS_DIR"}


def test_cfg_itself_stays_unchanged_also_after_an_error():
    with pytest.raises(ConfigError, match="multiple of TRAIN.IMS_PER_BATCH"):
        stage_settings("fast_rcnn", 1, True, {"TRAIN.IMS_PER_BATCH": 3})
    assert cfg.TRAIN.IMS_PER_BATCH == 2 and cfg.TRAIN.USE_OHEM is False


def test_written_settings_round_trip(tmp_path):
    settings = stage_settings("fast_rcnn", 2, True, {"EPS": 1e-14, "PIXEL_STDS": 60})
    write_settings(tmp_path / "cfg.yml", settings)
    try:
        cfg_from_file(tmp_path / "cfg.yml")
        assert cfg.TRAIN.SCALES == (600,) and cfg.TRAIN.USE_OHEM is True and cfg.EPS == 1e-14
        assert cfg.PIXEL_STDS.tolist() == [[[60.0, 60.0, 60.0]]]
    finally:
        reset_cfg()


def test_only_settings_that_a_step_reads_are_its_inputs():
    settings = stage_settings("rpn", 1, True, {})
    train, test = relevant_settings(settings, "rpn"), relevant_settings(settings, "proposals")
    assert "TRAIN.SCALES" in train and "TEST.SCALES" not in train and "RNG_SEED" in train
    assert "TEST.SCALES" in test and "TRAIN.SCALES" not in test
    fast_rcnn = relevant_settings(settings, "fast_rcnn")
    assert "TRAIN.OHEM_USE_NMS" not in train and "TRAIN.OHEM_USE_NMS" in fast_rcnn
    assert "TRAIN.RPN_BATCHSIZE" in train and "TRAIN.RPN_BATCHSIZE" not in fast_rcnn
    assert not {"DATA_DIR", "GPU_ID", "NUM_WORKERS", "TRAIN.SNAPSHOT_ITERS", "TRAIN.USE_PREFETCH"} & {*train, *test}


def test_random_rois_are_inputs_of_mining_steps_if_used():
    """Runs of versions without these settings can be resumed."""
    used = stage_settings("fast_rcnn", 1, True, {"TRAIN.OHEM_WARMUP": 200})
    default = stage_settings("fast_rcnn", 1, True, {})
    assert used.TRAIN.OHEM_WARMUP == 200 and default.TRAIN.OHEM_RANDOM_SHARE == 0
    inputs = [relevant_settings(plain(settings), "fast_rcnn") for settings in (used, default)]
    assert inputs[0].keys() - inputs[1].keys() == {"TRAIN.OHEM_WARMUP"} and "TRAIN.OHEM_RANDOM_SHARE" not in inputs[1]
    assert "TRAIN.OHEM_WARMUP" not in relevant_settings(plain(used), "rpn")
