"""BatchReindex."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


@pytest.mark.parametrize("indices", [[3, 1, 1, 0, 3, 3], [2]])
def test_batch_reindex(indices):
    check("type: 'BatchReindex'", [randn(4, 3, 2), np.array(indices, float)],
          lambda x, i: np.array([x[int(k)] for k in i]), learns=[0])


def test_bad_input():
    refused("type: 'BatchReindex'", [(4, 3), (2, 1)], "one axis")
    refused("type: 'BatchReindex'", [(), (2,)], "at least one axis, found a scalar")
    runner = Runner("type: 'BatchReindex'", [randn(4, 3), np.array([4.0])])
    with pytest.raises(ValueError, match=r"indices must be in 0..3, found 4"):
        runner.forward()
