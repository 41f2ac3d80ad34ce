"""Training reports the blob up to which frozen layers are computed once for each image."""
import io

import pytest
from test_tiny import roidb, settings  # noqa: F401  (fixtures)

from fast_rcnn.config import cfg_from_list
from fast_rcnn.train import train_net
from fast_rcnn.train_log import TrainLog


@pytest.mark.parametrize("net, stage, report", [
    ("SqueezeNet", 1, "18 layers up to pool3"), ("SqueezeNet", 2, "61 layers up to fire9/concat"),
    ("Tiny", 1, None), ("Tiny", 2, "16 layers up to conv5_2")])
@pytest.mark.parametrize("part, solver", [("rpn", "rpn_solver60k80k"), ("fast_rcnn", "fast_rcnn_solver30k40k")])
@pytest.mark.slow
def test_the_log_names_the_last_frozen_blob(net, stage, report, part, solver, roidb, models, tmp_path):     # noqa: F811
    cfg_from_list(["TRAIN.HAS_RPN", str(part == "rpn"), "TRAIN.USE_OHEM", str(part != "rpn"),
                   "TRAIN.BBOX_REG", str(part != "rpn"), "NUM_WORKERS", "0"])
    stream = io.StringIO()
    train_net(models / f"{net}/faster_rcnn_alt_opt/stage{stage}_{solver}.pt", roidb, tmp_path / "snapshots",
              max_iters=2, log=TrainLog("step", 2, stream=stream), features=tmp_path / "features")
    found = [line.removeprefix("step").strip() for line in stream.getvalue().splitlines() if "frozen" in line]
    assert found == ([f"{report} are frozen: computed once for each image"] if report else [])
