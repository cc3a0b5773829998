"""Where nobody may listen beside somebody else: two servers on one port would count apart."""

from __future__ import annotations

import socket

import pytest

from headgate.cli.serving import require_free
from headgate.errors import InvalidInput


def test_a_port_that_somebody_would_share_is_taken() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InvalidInput, match=r"port: .*cannot listen on 127\.0\.0\.1:.*in use"):
            require_free("127.0.0.1", other.getsockname()[1])


@pytest.mark.parametrize("host", ["203.0.113.9", "no-such-host.invalid"])
def test_an_address_that_is_not_of_this_machine_is_told_as_one(host: str) -> None:
    with pytest.raises(InvalidInput, match=r"host: .*cannot listen"):
        require_free(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_free_port_is_left_alone(host: str) -> None:
    require_free(host, 0)
