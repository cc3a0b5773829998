"""Log lines of several processes that share one stderr: none stands inside another."""

from __future__ import annotations

import io
import json

import pytest

from headgate.service.logs import make_logger


class Written(io.RawIOBase):
    """What is written at once, one after the other."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: object) -> int:
        self.pieces.append(bytes(piece))  # type: ignore[call-overload]
        return len(self.pieces[-1])


@pytest.mark.parametrize("is_unbuffered", [False, True])
def test_a_line_is_written_at_once(is_unbuffered: bool) -> None:
    written = Written()
    with io.TextIOWrapper(written, write_through=is_unbuffered) as file:  # type: ignore[arg-type]
        make_logger("info", file).info("request", status=200)
        (line,) = written.pieces
    assert line.endswith(b"}\n")
    assert json.loads(line)["status"] == 200
