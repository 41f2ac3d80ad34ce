"""Default boxes for the tests of SSD's layers, and the arithmetic of the layers for one box."""
import numpy as np


def priors(count, seed=0):
    """Default boxes of 0.2 to 0.5, half of them close to another one, and their variances, (1, 2, 4 count)."""
    random = np.random.default_rng(seed)
    centres, halves = random.uniform(0.2, 0.8, (count, 2)), random.uniform(0.1, 0.25, (count, 2))
    centres[count // 2:], halves[count // 2:] = centres[:-(count // 2)] + 0.004, 1.01 * halves[:-(count // 2)]
    variances = random.uniform(0.1, 0.3, (count, 4))
    return np.stack([np.hstack([centres - halves, centres + halves]).ravel(), variances.ravel()])[None]


def decode(offset, prior, variance, code):
    """One box."""
    a, b, c, d = (float(o) * float(v) for o, v in zip(offset, variance, strict=True))
    x1, y1, x2, y2 = prior
    width, height = x2 - x1, y2 - y1
    if code == "CORNER":
        return x1 + a, y1 + b, x2 + c, y2 + d
    if code == "CORNER_SIZE":
        return x1 + a * width, y1 + b * height, x2 + c * width, y2 + d * height
    x, y, width, height = (x1 + x2) / 2 + a * width, (y1 + y2) / 2 + b * height, width * np.exp(c), height * np.exp(d)
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def overlap(one, other):
    """Intersection over union."""
    def size(x1, y1, x2, y2):
        return 0 if x2 < x1 or y2 < y1 else (x2 - x1) * (y2 - y1)
    x1, y1, x2, y2 = (max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]))
    if x2 <= x1 or y2 <= y1:
        return 0
    return (x2 - x1) * (y2 - y1) / (size(*one) + size(*other) - (x2 - x1) * (y2 - y1))
