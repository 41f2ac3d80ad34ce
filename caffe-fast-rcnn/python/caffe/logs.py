"""The engine's log, in Caffe's format, so that scripts that parse such logs keep working.

As in pycaffe, it goes to stderr without being asked for. GLOG_minloglevel in the environment sets the least level: 0 is
INFO, 1 WARNING, 2 ERROR, 3 FATAL. A program that configures Python's logging has the lines where it wants them.
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
    """`I0210 13:39:22.381027 25210 solver.py:204] text`: level, date, time, process, place in the source."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        when = datetime.datetime.fromtimestamp(record.created)
        return (f"{record.levelname[0]}{when:%m%d %H:%M:%S.%f} {record.process} {record.filename}:{record.lineno}] "
                f"{super().format(record)}")


def least_level() -> int:
    """The level that the environment asks for; INFO where it asks for none, or for nonsense."""
    wanted = os.environ.get(LEVEL_VARIABLE, "0").strip()
    return LEVELS[min(int(wanted), len(LEVELS) - 1)] if wanted.isdecimal() else logging.INFO


class _DefaultHandler(logging.StreamHandler):
    """Prints to stderr what no other handler takes.

    Where INFO lines are not wanted, the rest are messages for people: they come without the fields of a log.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)      # not StreamHandler's, which would keep today's sys.stderr
        self.setFormatter(LogFormatter())

    @property
    def stream(self) -> Any:        # type: ignore[override]
        """The present stderr."""
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, unless the program has handlers of its own."""
        if record.levelno >= least_level() and not logging.getLogger().handlers:
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return super().format(record) if least_level() == logging.INFO else logging.Formatter().format(record)


DEFAULT_HANDLER = _DefaultHandler()
_LOG.addHandler(DEFAULT_HANDLER)
_LOG.setLevel(logging.INFO)


def is_shown(logger: logging.Logger, level: int) -> bool:
    """Whether anybody sees lines of this level; asked where making them takes a while."""
    others = logging.getLogger().handlers or any(handler is not DEFAULT_HANDLER for handler in _LOG.handlers)
    return logger.isEnabledFor(level) and (bool(others) or level >= least_level())


@contextlib.contextmanager
def quiet_construction() -> Iterator[None]:
    """Nets that are built in the block log warnings only."""
    log = logging.getLogger("caffe.net")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Print the engine's log to stderr: level 0 from INFO, 1 from WARNING, 2 from ERROR on.

    `stderr` is pycaffe's argument and is ignored: there are no log files here.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(handlers=[handler])
    _LOG.setLevel(LEVELS[min(max(level, 0), 2)])


def log(message: str) -> None:
    """Write one line to the engine's log."""
    _LOG.info(message)
