"""Errors that the user can fix, as opposed to bugs."""


class CaffeError(Exception):
    """A problem with a file, setting or argument that the user can fix. The message says where and how.

    Programs print the message without a traceback. `is_user_error` marks such errors; exceptions of other packages may
    define it too.
    """

    is_user_error = True


class SolverError(CaffeError, ValueError):
    """Invalid or conflicting solver settings. The message names them and says what is expected."""


class WireError(CaffeError, ValueError):
    """A file is damaged, truncated or of another kind. The message names the file and the reason."""
