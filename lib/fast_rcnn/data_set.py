"""Names of version 1.0.0 that have moved: commands.data_set has them."""
from commands.data_set import *  # noqa: F403
