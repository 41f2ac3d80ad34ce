"""The engine's log, in Caffe's format, so that scripts that parse such logs keep working."""
from __future__ import annotations

import datetime
import logging

_LOG = logging.getLogger("caffe")


class LogFormatter(logging.Formatter):
    """`I0210 13:39:22.381027 25210 solver.py:204] text`: level, date, time, process, place in the source."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        when = datetime.datetime.fromtimestamp(record.created)
        return (f"{record.levelname[0]}{when:%m%d %H:%M:%S.%f} {record.process} {record.filename}:{record.lineno}] "
                f"{super().format(record)}")


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Print the engine's log to stderr: level 0 from INFO, 1 from WARNING, 2 from ERROR on.

    `stderr` is pycaffe's argument and is ignored: there are no log files here.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(handlers=[handler])
    _LOG.setLevel((logging.INFO, logging.WARNING, logging.ERROR)[min(max(level, 0), 2)])


def log(message: str) -> None:
    """Write one line to the engine's log."""
    _LOG.info(message)
