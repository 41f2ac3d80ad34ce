"""Settings of the steps of alternating optimisation."""
import pytest

from alt_opt.settings import detector_settings, settings_in_cfg, stage_settings, write_settings
from fast_rcnn.checkpoints import relevant_settings
from fast_rcnn.config import ConfigError, cfg, cfg_from_file, reset_cfg


def test_the_steps_as_published():
    rpn = stage_settings("rpn", 1, True, None, [])["TRAIN"]
    assert (rpn["HAS_RPN"], rpn["BBOX_REG"], rpn["USE_OHEM"], rpn["PROPOSAL_METHOD"]) == (True, False, False, "gt")
    assert rpn["IMS_PER_BATCH"] == 1 and rpn["SNAPSHOT_INFIX"] == "stage1"
    proposals = stage_settings("proposals", 2, True, None, [])["TEST"]
    assert (proposals["RPN_PRE_NMS_TOP_N"], proposals["RPN_POST_NMS_TOP_N"]) == (-1, 2000)
    frcn = stage_settings("fast_rcnn", 2, True, None, [])["TRAIN"]
    assert (frcn["HAS_RPN"], frcn["BBOX_REG"], frcn["USE_OHEM"]) == (False, True, True)
    assert (frcn["PROPOSAL_METHOD"], frcn["BG_THRESH_LO"], frcn["OHEM_USE_NMS"]) == ("rpn", 0.0, False)
    assert (frcn["IMS_PER_BATCH"], frcn["ASPECT_GROUPING"], frcn["SNAPSHOT_INFIX"]) == (2, False, "stage2")
    assert stage_settings("fast_rcnn", 1, False, None, [])["TRAIN"]["USE_OHEM"] is False


def test_the_users_settings_win_over_defaults_but_not_over_the_nature_of_a_step(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("TRAIN: {BATCH_SIZE: 64, OHEM_USE_NMS: true, HAS_RPN: false}\nTEST: {RPN_POST_NMS_TOP_N: 300}\n")
    words = ["TRAIN.BATCH_SIZE", "32", "TRAIN.RPN_POST_NMS_TOP_N", "600"]
    frcn = stage_settings("fast_rcnn", 1, True, str(file), words, seed=11)
    assert frcn["TRAIN"]["BATCH_SIZE"] == 32 and frcn["TRAIN"]["OHEM_USE_NMS"] is True
    seeds = [stage_settings(kind, stage, True, str(file), words, seed=11)["RNG_SEED"]
             for kind in ("rpn", "fast_rcnn") for stage in (1, 2)]
    assert len(set(seeds)) == 4 and seeds[0] == 11
    assert stage_settings("rpn", 1, True, str(file), words)["TRAIN"]["HAS_RPN"] is True
    # How many proposals are made for training is a matter of TRAIN, not of the detector in use
    assert stage_settings("proposals", 1, True, str(file), words)["TEST"]["RPN_POST_NMS_TOP_N"] == 600
    assert detector_settings(frcn)["TEST"]["RPN_POST_NMS_TOP_N"] == 300


def test_the_users_infix_stands_before_that_of_the_stage():
    frcn = stage_settings("fast_rcnn", 2, True, None, ["TRAIN.SNAPSHOT_INFIX", "mine"])
    assert frcn["TRAIN"]["SNAPSHOT_INFIX"] == "mine_stage2"
    with pytest.raises(ConfigError, match="becomes part of a file's name"):
        stage_settings("rpn", 1, True, None, ["TRAIN.SNAPSHOT_INFIX", "a/b"])


def test_settings_hold_inside_a_block_only():
    settings = stage_settings("fast_rcnn", 2, True, None, ["EXP_DIR", "other"])
    cfg.EXP_DIR = "mine"
    with pytest.raises(ZeroDivisionError), settings_in_cfg(settings):
        assert (cfg.EXP_DIR, cfg.TRAIN.USE_OHEM) == ("other", True)
        raise ZeroDivisionError
    assert (cfg.EXP_DIR, cfg.TRAIN.USE_OHEM) == ("mine", False)
    reset_cfg()


def test_cfg_itself_stays_as_it_is_also_after_an_error():
    with pytest.raises(ConfigError, match="multiple of TRAIN.IMS_PER_BATCH"):
        stage_settings("fast_rcnn", 1, True, None, ["TRAIN.IMS_PER_BATCH", "3"])
    assert cfg.TRAIN.IMS_PER_BATCH == 2 and cfg.TRAIN.USE_OHEM is False


def test_written_settings_come_back_as_they_were(tmp_path):
    settings = stage_settings("fast_rcnn", 2, True, None, ["EPS", "1e-14", "PIXEL_STDS", "60"])
    write_settings(tmp_path / "cfg.yml", settings)
    try:
        cfg_from_file(tmp_path / "cfg.yml")
        assert cfg.TRAIN.SCALES == (600,) and cfg.TRAIN.USE_OHEM is True and cfg.EPS == 1e-14
        assert cfg.PIXEL_STDS.tolist() == [[[60.0, 60.0, 60.0]]]
    finally:
        reset_cfg()


def test_only_what_a_step_reads_counts_as_its_input():
    settings = stage_settings("rpn", 1, True, None, [])
    train, test = relevant_settings(settings, "rpn"), relevant_settings(settings, "proposals")
    assert "TRAIN.SCALES" in train and "TEST.SCALES" not in train and "RNG_SEED" in train
    assert "TEST.SCALES" in test and "TRAIN.SCALES" not in test
    fast_rcnn = relevant_settings(settings, "fast_rcnn")
    assert "TRAIN.OHEM_USE_NMS" not in train and "TRAIN.OHEM_USE_NMS" in fast_rcnn
    assert "TRAIN.RPN_BATCHSIZE" in train and "TRAIN.RPN_BATCHSIZE" not in fast_rcnn
    assert not {"DATA_DIR", "GPU_ID", "NUM_WORKERS", "TRAIN.SNAPSHOT_ITERS", "TRAIN.USE_PREFETCH"} & {*train, *test}
