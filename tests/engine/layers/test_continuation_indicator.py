"""ContinuationIndicator."""
import pytest
from layer_checker import Runner, refused


def test_the_first_time_step_begins_all_sequences():
    runner = Runner("type: 'ContinuationIndicator' continuation_indicator_param { time_step: 3 batch_size: 2 }", [])
    assert runner.forward()[0].tolist() == [[0, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize("settings", ["", "time_step: 3", "batch_size: 2"])
def test_bad_input(settings):
    refused(f"type: 'ContinuationIndicator' continuation_indicator_param {{ {settings} }}", [],
            "time_step and batch_size must be at least 1, found")
    refused("type: 'ContinuationIndicator'", [(3, 2)], "takes 0 bottom")
