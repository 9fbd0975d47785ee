"""The progress of long commands, at a terminal and elsewhere."""

import io

import pytest

from persona_profile.cli.progress import JobProgress, RowProgress, WalkProgress


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


LINES = (
    "writing: 25% of the used proofs, 50 used proofs, 0 B",
    "writing: 0% of the emails, 1 emails, 0 B",
    "writing: 25% of the emails, 101 emails, 10.0 MB, 0:00:15 left",
    "writing: 50% of the emails, 201 emails, 20.0 MB, 0:00:10 left",
)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (Terminal(), "".join(f"\r\x1b[K{line}" for line in LINES) + "\r\x1b[K"),
        (io.StringIO(), "".join(f"{line}\n" for line in LINES[1::2])),
    ],
    ids=["terminal", "log"],
)
def test_progress(stream, expected):
    """Progress is one line that changes each second on a terminal, and a line in ten seconds else."""
    seconds = [0.0]
    progress = JobProgress(stream, lambda: seconds[0])
    for count, size, last in (
        (50, 0, b"\0\x40"),
        (51, 0, b"\1\x00"),
        (151, 10**7, b"\1\x40"),
        (251, 2 * 10**7, b"\1\x80"),
    ):
        seconds[0] += 5
        for _ in range(3):
            progress("writing", count, size, last)
    assert progress.seconds == 20
    assert progress.last == b"\1\x80"
    progress.clear()
    assert stream.getvalue() == expected


def test_next_stage():
    """The next stage counts its own emails, and its time from its own beginning on."""
    seconds = [0.0]
    terminal = Terminal()
    progress = JobProgress(terminal, lambda: seconds[0])
    for stage in ("checking", "writing"):
        for number, partition in enumerate((b"\0\x80", b"\1\x40", b"\1\x80"), start=1):
            seconds[0] += 7000
            progress(stage, number, 0, partition)
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[3] == "checking: 50% of the emails, 2 emails, 0 B, 3:53:20 left"
    assert lines[6] == "writing: 50% of the emails, 2 emails, 0 B, 3:53:20 left"
    assert lines[4] == "writing: 50% of the used proofs, 1 used proofs, 0 B"


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
