"""Errors that the user can mend, as opposed to bugs."""


class CaffeError(Exception):
    """Something that a user can mend: a file, a setting, an argument. The message says where and how.

    Programs print the message of such an error and no traceback. They may know it by `is_user_error`, which classes
    of other packages may have too.
    """

    is_user_error = True


class SolverError(CaffeError, ValueError):
    """Settings of a solver that do not go together. The message names them and says what is expected."""
