"""Names of version 1.0.0 that have moved to commands.data_set."""
from commands.data_set import *  # noqa: F403
