"""Output that cannot be written never stops the work."""
import errno
import os
import subprocess
import sys
from pathlib import Path

from utils.output import LastingStream, say

LIB = Path(__file__).resolve().parents[3] / "lib"


class Full:
    """A stream on a full disk until `errno` is None."""

    encoding = "ascii"

    def __init__(self):
        self.errno, self.text = errno.ENOSPC, ""

    def write(self, text):
        if self.errno:
            raise OSError(self.errno, "full")
        text.encode(self.encoding)
        self.text += text

    def flush(self):
        pass


def test_lines_are_dropped_while_the_disk_is_full():
    full = Full()
    stream = LastingStream(full)
    print("lost", file=stream, flush=True)
    say("lost", full)
    full.errno = None
    print("kept \xe9", file=stream, flush=True)
    assert full.text == "kept \\xe9\n" and stream.encoding == "ascii"
    say("no stream", None)


def test_a_line_is_written_in_one_piece():
    """Two threads print to the same stream: the parent's own, and the one that copies its child's output."""
    class Pieces(Full):
        def write(self, text):
            pieces.append(text)
    pieces = []
    say("first", Pieces())
    say("second\n", Pieces(), end="")
    assert [piece for piece in pieces if piece] == ["first\n", "second\n"]


def test_a_closed_reader_ends_nothing(tmp_path):
    done = tmp_path / "done"
    code = (f"import sys; sys.path.insert(0, {str(LIB)!r})\nfrom utils.output import lasting_output\n"
            "with lasting_output():\n    for number in range(5000): print('line', number, flush=True)\n"
            f"open({str(done)!r}, 'w').close()")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 0
    assert done.exists()


def test_closed_streams_and_no_streams():
    for code in ("sys.stdout.close()", "sys.stdout = None", "os.close(1)"):
        program = (f"import os, sys; sys.path.insert(0, {str(LIB)!r})\n"
                   f"from utils.output import lasting_output\n{code}\n"
                   "with lasting_output():\n    print('x', flush=True)\n    sys.stderr.write('still here')")
        done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, env=os.environ)
        assert done.stderr.startswith(b"still here"), (code, done.stderr)
