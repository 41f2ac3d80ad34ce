"""The data set of a command."""
import pickle

import numpy as np
import pytest

from commands.data_set import check_reads_proposals, find_validation_set
from datasets.imdb import imdb
from datasets.registry import registered
from datasets.roidb import objects_entry
from utils.errors import UserError


class Data(imdb):
    def __init__(self):
        super().__init__("data", ("background", "cat"))
        self.image_index = ["a", "b"]

    def gt_roidb(self):
        return [objects_entry([[0, 0, 9, 9]], [1]) for _ in self.image_index]


class Pickled(Data):
    """As in py-faster-rcnn."""

    def rpn_roidb(self):
        with open(self.config["rpn_file"], "rb") as file:
            return self.create_roidb_from_box_list(pickle.load(file), self.gt_roidb())


class Limited(Data):
    def rpn_roidb(self):
        return [{**entry, "boxes": np.round(entry["boxes"])} for entry in super().rpn_roidb()]


def test_a_data_set_that_cannot_read_proposals_is_found_before_they_are_made():
    for data in (Data(), Limited()):
        check_reads_proposals(data)
        assert data.config["rpn_file"] is None
    with pytest.raises(UserError, match=r"(?s)Pickled.rpn_roidb cannot read .*\.npz.*remove this method from Pickled"):
        check_reads_proposals(Pickled())


def test_a_validation_set_that_only_prints_is_refused_before_training(monkeypatch):
    class Classic(Data):
        def evaluate_detections(self, all_boxes, output_dir):
            assert [[boxes.shape for boxes in images] for images in all_boxes] == [[(0, 5)] * 2] * 2

    monkeypatch.setitem(registered, "classic_val", Classic)
    with pytest.raises(UserError, match="data: its evaluate_detections returns NoneType instead of an Evaluation"):
        find_validation_set("classic_val", ("background", "cat"))
