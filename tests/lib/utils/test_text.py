"""Text files of any encoding, and text that is safe to print."""
import io
import sys

import pytest

from utils.text import PrintableStream, TextError, is_utf8, listing, printable, read_lines, read_text

XML = '<?xml version="1.0" encoding="{}"?>\n<name>{}</name>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_with_and_without_byte_order_mark(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("a 猫\r\n\r\n\tb\té  \rc\n".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "a 猫\n\n\tb\té  \nc\n"
    assert read_lines(tmp_path / "a.txt") == ["a 猫", "b\té", "c"]


@pytest.mark.parametrize("declared, encoding, name", [
    ("gbk", "gbk", "猫"), ("GB2312", "gb2312", "狗"), ("gb2312", "gbk", "貓"), ("shift_jis", "shift_jis", "ねこ"),
    ("Shift_JIS", "cp932", "①"), ("euc-kr", "euc-kr", "고양이"), ("big5", "big5", "貓"), ("iso-8859-1", "latin-1", "é"),
    ("windows-1251", "cp1251", "кот"), ("utf-16", "utf-8", "猫"), ("UTF-8", "utf-8", "猫")])
def test_the_encoding_declared_by_xml(tmp_path, declared, encoding, name):
    (tmp_path / "a.xml").write_bytes(XML.format(declared, name).encode(encoding))
    assert f"<name>{name}</name>" in read_text(tmp_path / "a.xml")


@pytest.mark.parametrize("data, message", [
    (XML.format("no-such", "a").encode(), "declares the unknown encoding 'no-such'"),
    (XML.format("hex", "a").encode(), "declares the unknown encoding 'hex'"),
    (XML.format("idna", "é").encode(), "not text in idna"),
    (b"a\nb\n\xe9t\xe9\n", ":3: not text in utf-8 .byte 0xe9.; save it as UTF-8"),
    (b"ab\0c", "not a text file"), (b"\xff\xfea", "not text in utf-16-le")])
def test_errors_name_the_file(tmp_path, data, message):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(TextError, match=f"a.txt.*{message}"):
        read_text(tmp_path / "a.txt")


def test_control_characters_are_escaped():
    assert printable("a\x1b[31m\x9b\u202e\r\n\udce9") == r"a\x1b[31m\x9b\u202e\r\n\xe9"
    assert printable("cat 猫 é م\u200dم", keep="\n") == "cat 猫 é م\u200dم"
    assert is_utf8("猫") and not is_utf8("\udce9")


@pytest.mark.parametrize("encoding, expected", [("utf-8", "\\x1b[2J\t猫\\xe9\n"),
                                                ("ascii", "\\x1b[2J\t\\u732b\\xe9\n")])
def test_a_stream_never_receives_control_characters(encoding, expected):
    data = io.BytesIO()
    stream = PrintableStream(io.TextIOWrapper(data, encoding=encoding))
    print("\x1b[2J\t猫\udce9", file=stream, flush=True)
    assert data.getvalue().decode(encoding) == expected


def test_tools_escape_control_characters(capsys):
    from commands.options import tool
    from utils.errors import UserError

    @tool
    def main(argv=None):
        print("layer \x1b[31m")
        print("file \udce9", file=sys.stderr)
        raise UserError("no \x9b")

    assert main() == 2
    assert capsys.readouterr() == ("layer \\x1b[31m\n", "file \\xe9\nerror: no \\x9b\n")


def test_listing():
    assert listing([], 2) == "" and listing("ab", 2) == "a, b"
    assert listing(["a", 2, "c", "d"], 2) == "a, 2 and 2 more"
