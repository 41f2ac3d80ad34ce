"""train_net.py caches outputs of frozen layers, with the same results; with --features, trainings share them."""
import pytest

import caffe
from fast_rcnn.config import reset_cfg

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("default_settings")]


def test_trainings_share_cached_features(demo_data, tmp_path, capsys):
    import train_net
    from make_models import make_models
    nets = make_models("Tiny", 5, out_dir=tmp_path / "models")
    [solver] = [path for path in nets if path.name.startswith("stage2_rpn_solver") and "no_ohem" not in str(path)]
    [net] = [path for path in nets if path.name == "stage2_rpn_train.pt" and "no_ohem" not in str(path)]
    features, found = tmp_path / "features", {}
    for name, more in {"first": ["--features", str(features)], "second": ["--features", str(features)],
                       "own": [], "without": ["REUSE_FEATURES", "False"]}.items():
        reset_cfg()
        assert train_net.main(["--imdb", f"{demo_data}:test", "--cpu", "--solver", str(solver), "--iters", "6",
                               "--output", str(tmp_path / name), "--cfg", "experiments/cfgs/tiny.yml",
                               "--set", "TRAIN.HAS_RPN", "True", "TRAIN.USE_OHEM", "False", "TRAIN.BBOX_REG", "False",
                               "TRAIN.PROPOSAL_METHOD", "gt", "TRAIN.IMS_PER_BATCH", "1", "TRAIN.SCALES", "(96,)",
                               "NUM_WORKERS", "0", *more]) == 0
        assert ("are frozen: computed once" in capsys.readouterr().out) == (name != "without")
        files = {path: path.stat().st_mtime_ns for path in features.rglob("*.npy")}
        found[name] = files, [blob.data.tolist() for blob in caffe.Net(
            str(net), caffe.TRAIN, weights=str(next((tmp_path / name).glob("*_iter_6.caffemodel")))).params[
                "rpn_cls_score"]]
    assert len(found["first"][0]) == 4 and found["second"] == found["first"]      # 2 images and their flipped copies
    assert found["without"][1] == found["own"][1] == found["first"][1]
    assert not list((tmp_path / "own").rglob("*.npy"))      # deleted at the end
