"""A training that is asked to stop."""
import os
import signal

from fast_rcnn.hooks import Hook


class StopIn(Hook):
    """Stops this process in an iteration, counted from 1."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_iteration(self, training):
        if training.iteration + 1 == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)
