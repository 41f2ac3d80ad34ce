"""Names of version 1.0.0 that have moved to commands.options and utils.errors."""
from commands.options import *  # noqa: F403
from utils.errors import UserError, is_user_error, message_of  # noqa: F401
