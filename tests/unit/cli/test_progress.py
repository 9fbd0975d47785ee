"""The progress of long commands, at a terminal and elsewhere."""

import io

import pytest

from persona_profile.cli.progress import CopyProgress, RowProgress, WalkProgress


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


class TestProgress:
    def test_at_a_terminal(self):
        """A person sees at most one line a second, with the share that is done."""
        terminal = Terminal()
        now = [100.0]
        progress = WalkProgress(terminal, lambda: now[0])
        for tenth in range(25):
            now[0] = 100 + tenth / 10
            progress(b"\x01" + bytes([tenth * 10]) + bytes(31))
        progress.clear()
        assert terminal.getvalue().split("\r\x1b[K") == [
            "",
            "emails: 39%, 11 partitions done, 11 per second",
            "emails: 78%, 21 partitions done, 10 per second",
            "",
        ]
        assert progress.last == b"\x01\xf0" + bytes(31)

    def test_elsewhere(self):
        """A file or a pipe gets no line."""
        stream = io.StringIO()
        progress = WalkProgress(stream, iter(range(100)).__next__)
        for _ in range(10):
            progress(b"\x01" + bytes(32))
        progress.clear()
        assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (
            Terminal(),
            "".join(
                f"\r\x1b[Kpass 1: 1,{number}00 partitions, {number}.00 MB" for number in (1, 2, 3, 4)
            )
            + "\r\x1b[K",
        ),
        (io.StringIO(), "pass 1: 1,200 partitions, 2.00 MB\npass 1: 1,400 partitions, 4.00 MB\n"),
    ],
    ids=["terminal", "log"],
)
def test_progress(stream, expected):
    """Progress is one line that changes each second on a terminal, and a line in ten seconds else."""
    seconds = [0.0]
    progress = CopyProgress(stream, lambda: seconds[0])
    for number in range(1, 5):
        seconds[0] += 5
        for _ in range(3):
            progress("pass 1", 1000 + 100 * number, number * 1_000_000)
    assert progress.seconds == 20
    progress.clear()
    assert stream.getvalue() == expected


def test_rows():
    """An import shows how much is done, and how long the rest takes at this pace."""
    stream = io.StringIO()
    now = [100.0]
    progress = RowProgress(stream, 10_000, lambda: now[0])
    for seconds, done in ((9.9, 1), (10, 0), (60, 1_500)):
        now[0] = 100 + seconds
        progress(done, 20)
    assert stream.getvalue() == (
        "0 of 10,000 rows, 20 rejected, 0.0 per second\n"
        "1,500 of 10,000 rows, 20 rejected, 25.0 per second, 0:05:40 left\n"
    )
