"""The CSV of an import: forms that programs write, and mistakes with their lines."""

import os

import pytest

from persona_profile.importing.table import (
    MAX_FAULTS,
    MAX_ROW_BYTES,
    Table,
    TableChanged,
    UnusableTable,
    open_table,
)

HEADER = b"email,name,picture_file\n"


@pytest.fixture
def written(tmp_path):
    """Return a function that opens a table with some content."""
    opened = []

    def write(content: bytes) -> Table:
        path = tmp_path / "people.csv"
        path.write_bytes(content)
        opened.append(open_table(path))
        return Table(opened[-1])

    yield write
    for each in opened:
        each.close()


def rows(table: Table) -> list[tuple[int, dict[str, str]]]:
    """Return lines and cells of a table that is checked first."""
    count = table.check()
    found = [(row.line, dict(row.cells)) for row in table.rows()]
    assert len(found) == count
    return found


def faults(write, content: bytes) -> list[tuple[int, str]]:
    """Return the mistakes of a table."""
    with pytest.raises(UnusableTable) as caught:
        write(content).check()
    return [tuple(each) for each in caught.value.faults]


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"], ids=["comma", "semicolon", "tab"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_forms(written, mark, end, delimiter):
    """Delimiters, line ends and a byte order mark make no difference; names of columns are trimmed."""
    lines = [["Email ", "NAME", "picture_file"], ["a@b.example", '"Zoë, ""Z"""', " 1.jpg"]]
    lines.append(["c@b.example", "", ""])
    content = end.join(delimiter.join(each.encode() for each in cells) for cells in lines)
    expected = {"email": "a@b.example", "name": 'Zoë, "Z"', "picture_file": "1.jpg"}
    assert rows(written(mark + content)) == [(2, expected), (3, {"email": "c@b.example"})]


def test_rows_of_empty_cells(written):
    """Rows without a value, as spreadsheets leave behind, are no rows, and lines count on."""
    table = written(b"email;name;picture_file\r\n;;\r\na@b.example;A;\r\n\r\n ;;\t\r\n;\r\n;;;;\r\n")
    assert rows(table) == [(3, {"email": "a@b.example", "name": "A"})]


def test_line_breaks_in_cells(written):
    """A quoted cell may have line breaks and delimiters; each row has the number of its first line."""
    content = HEADER + b'a@b.example,"one\ntwo\r\nthree, four",\n\n\nc@b.example,C,\n'
    assert rows(written(content)) == [
        (2, {"email": "a@b.example", "name": "one\ntwo\r\nthree, four"}),
        (7, {"email": "c@b.example", "name": "C"}),
    ]


def test_read_twice(written):
    """A table can be read again."""
    table = written(HEADER + b"a@b.example,A,\n")
    assert rows(table) == rows(table)


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "there is no column email"),
        (b"name\nA\n", 1, "there is no column email"),
        (b"email\na@b.example\n", 1, "there is no column but email"),
        (b"email,secret\n", 1, "column 2 is unknown: the columns are email, name,"),
        (b"email,name,name\n", 1, "column name is there twice"),
        (b"secret@b.example,A,1.jpg\n", 1, "column 1 is unknown"),
        (b'"email,name\n', 1, "the header can't be read"),
        (b"\xff\xfee\0m\0", 1, "UTF-16"),
        (HEADER + b"a@b.example,A\n", 2, "number of cells: 2, of the header: 3"),
        (HEADER + b"\na@b.example,secret,A,\n", 3, "number of cells: 4, of the header: 3"),
        (HEADER + "a@b.example,secreté,\n".encode("latin-1"), 2, "not UTF-8"),
        (HEADER + b"a@b.example,sec\0ret,\n", 2, "has a NUL character"),
        (HEADER + b'a@b.example,"secret,\nb@b.example,B,\n', 2, "wrong quotes"),
        (HEADER + b'a@b.example,"secret"x,\n', 2, "wrong quotes"),
        (HEADER + b"a@b.example,secret,\rb@b.example,B,\r", 2, "a line ends with CR"),
        (HEADER + b'a@b.example,"' + b"x\n" * MAX_ROW_BYTES, 2, "the row has over 65,536 bytes"),
        (HEADER + b"a" * 10 * MAX_ROW_BYTES, 2, "the row has over 65,536 bytes"),
    ],
)
def test_mistakes(written, content, line, reason):
    """A file that can't be read is rejected as a whole, with the line and without a value."""
    found = faults(written, content)
    assert found[0][0] == line
    assert found[0][1].startswith(reason)
    assert "secret" not in repr(found).lower()


def test_many_mistakes(written):
    """All mistakes are reported at once, up to a number, in the order of their lines."""
    content = HEADER + b"a@b.example,\xe9,\nb@b.example\n" + b"c@b.example,\xe9,\n" * 100
    found = faults(written, content)
    assert [line for line, _ in found] == list(range(2, 2 + MAX_FAULTS))
    assert [reason[:9] for _, reason in found[:3]] == ["not UTF-8", "number of", "not UTF-8"]


@pytest.mark.parametrize("start", [b"", b'a@b.example,"'], ids=["line", "open quote"])
def test_endless_row(written, tmp_path, start):
    """Of a row without an end, as in a sparse file, only the limit is read."""
    table = written(HEADER + start)
    os.truncate(tmp_path / "people.csv", 10**12)
    with pytest.raises(UnusableTable, match="line 2: the row has over 65,536 bytes"):
        table.check()


@pytest.mark.parametrize("change", [b"z@b.example,Z,\n", b"broken"], ids=["row", "half a row"])
def test_changed_meanwhile(written, tmp_path, change):
    """A file that is written to while it is read is not read on."""
    table = written(HEADER + b"a@b.example,A,\nb@b.example,B,\n")
    table.check()
    found = table.rows()
    assert next(found).line == 2
    with (tmp_path / "people.csv").open("ab") as file:
        file.write(change)
    with pytest.raises(TableChanged):
        list(found)


def test_no_regular_file(tmp_path):
    """A FIFO, a device and a folder can't be read twice; opening them does not wait."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/null"):
        with pytest.raises(ValueError, match="regular file"):
            open_table(path)
