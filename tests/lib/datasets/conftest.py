"""A small data set."""
import pytest
from folders_made import CAT, DOG, OX, voc_folder


@pytest.fixture
def pets(tmp_path):
    """Three images; 'dog' only in the training split, 'ox' only in the test split."""
    return voc_folder(tmp_path / "pets", {"a": [CAT, DOG], "b 1": [DOG], "c": [CAT, OX]},
                      {"train": ["a", "b 1"], "test": ["c"]})
