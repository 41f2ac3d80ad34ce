"""One exception for everything that the user can fix."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from utils.errors import UserError, is_user_error, message_of

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def one_exception(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function of the public interface to raise errors in files, nets and settings as UserError."""
    @functools.wraps(function)
    def guarded(*args: Arguments.args, **keys: Arguments.kwargs) -> Result:
        try:
            return function(*args, **keys)
        except UserError:
            raise
        except Exception as error:
            if not is_user_error(error):
                raise
            raise UserError(message_of(error)) from error
    return guarded
