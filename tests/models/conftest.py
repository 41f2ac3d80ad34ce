"""Nets shared by the tests in this folder."""
import shutil
from pathlib import Path

import pytest

from net_definitions import NETS, is_shipped, model_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A copy of models/, with the nets generated on demand next to the shipped ones."""
    folder = tmp_path_factory.mktemp("project") / "models"
    shutil.copytree(ROOT / "models", folder)
    for net in NETS:
        for name, text in model_files(net, folder=str(folder)).items():
            if not is_shipped(name):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="session")
def tiny(models) -> Path:
    """The folder of the net Tiny."""
    return models / "Tiny"
