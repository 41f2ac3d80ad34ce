"""Lines of the log in the form of Caffe's, so that scripts which read such logs find time, iteration and values."""
from __future__ import annotations

import datetime
import logging


class LogFormatter(logging.Formatter):
    """`I0210 13:39:22.381027 25210 solver.py:204] text`: level, date, time, process, place in the source."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        when = datetime.datetime.fromtimestamp(record.created)
        return (f"{record.levelname[0]}{when:%m%d %H:%M:%S.%f} {record.process} {record.filename}:{record.lineno}] "
                f"{super().format(record)}")
