"""A small data set."""
import pytest

from datasets.demo_scenes import make_demo_dataset


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory):
    """Six training and two test pictures of four kinds of shapes."""
    return make_demo_dataset(tmp_path_factory.mktemp("data") / "demo", num_train=6, num_test=2)
