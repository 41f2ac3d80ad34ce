"""The engine's log, in Caffe's format, so that scripts that parse such logs keep working.

As in pycaffe, it goes to stderr by default. The environment variable GLOG_minloglevel sets the minimum level: 0 is
INFO, 1 WARNING, 2 ERROR, 3 FATAL. In a program that configures Python's logging, its handlers get the lines instead.
"""
from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
LEVEL_VARIABLE = "GLOG_minloglevel"
_LOG = logging.getLogger("caffe")


class LogFormatter(logging.Formatter):
    """`I0210 13:39:22.381027 25210 solver.py:204] text`: level, date, time, process ID, source file and line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as a line of the log."""
        when = datetime.datetime.fromtimestamp(record.created)
        return (f"{record.levelname[0]}{when:%m%d %H:%M:%S.%f} {record.process} {record.filename}:{record.lineno}] "
                f"{super().format(record)}")


def least_level() -> int:
    """The minimum level set in the environment; INFO if it is unset or invalid."""
    wanted = os.environ.get(LEVEL_VARIABLE, "0").strip()
    return LEVELS[min(int(wanted), len(LEVELS) - 1)] if wanted.isdecimal() else logging.INFO


class _DefaultHandler(logging.StreamHandler):
    """Prints to stderr if the program has no handlers of its own.

    If INFO lines are suppressed, the remaining messages are printed without the fields of a log line.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)      # not StreamHandler's, which would bind the current sys.stderr
        self.setFormatter(LogFormatter())

    @property
    def stream(self) -> Any:        # type: ignore[override]
        """The current sys.stderr."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, unless the program has handlers of its own."""
        if record.levelno >= least_level() and not logging.getLogger().handlers:
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, as a bare message if INFO lines are suppressed."""
        return super().format(record) if least_level() == logging.INFO else logging.Formatter().format(record)


DEFAULT_HANDLER = _DefaultHandler()
_LOG.addHandler(DEFAULT_HANDLER)
_LOG.setLevel(logging.INFO)


def is_shown(logger: logging.Logger, level: int) -> bool:
    """Whether lines of this level are shown anywhere; to be checked before composing expensive ones."""
    others = logging.getLogger().handlers or any(handler is not DEFAULT_HANDLER for handler in _LOG.handlers)
    return logger.isEnabledFor(level) and (bool(others) or level >= least_level())


@contextlib.contextmanager
def quiet_construction() -> Iterator[None]:
    """Log only warnings about nets that are built in the block."""
    log = logging.getLogger("caffe.net")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Print the engine's log to stderr; the minimum level is 0 for INFO, 1 for WARNING, 2 for ERROR.

    `stderr` is pycaffe's argument and is ignored: there are no log files here.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(handlers=[handler])
    _LOG.setLevel(LEVELS[min(max(level, 0), 2)])


def log(message: str) -> None:
    """Write one line to the engine's log."""
    _LOG.info(message)
