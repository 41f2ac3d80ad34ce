"""The Fast R-CNN detector: settings, training, testing."""
