"""The servers and the proxy that other tests stand on do what they say."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from proxy import Cut, CuttingProxy
from servers import RedisServer, available_binaries, is_alive, start_one_node_cluster

BINARIES = [pytest.param(path, id=name) for name, path in sorted(available_binaries().items())]
ANSWER_TIMEOUT_S = 10.0


@pytest.fixture(scope="module", params=BINARIES)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as started:
        yield started


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(server.port) as started, server.client() as client:
        client.flushall()
        yield started


def client_through(proxy: CuttingProxy, *, retries: int = 0) -> redis.Redis:
    return redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), retries), socket_timeout=ANSWER_TIMEOUT_S)


def test_one_server_is_reached_by_port_and_by_socket(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as by_port, redis.Redis.from_url(server.unix_url) as by_socket:
        assert by_port.set("name", "value")
        assert by_socket.get("name") == b"value"
        assert by_port.info("server")["process_id"] == server.pid


@pytest.mark.parametrize("binary", BINARIES)
def test_a_killed_server_comes_back_at_its_place_with_what_it_kept(binary: str) -> None:
    with RedisServer(binary, appendonly="yes", maxmemory="32mb") as server:
        port, first, folder = server.port, server.pid, server.folder
        with server.client() as client:
            assert client.config_get("maxmemory")["maxmemory"] == str(32 * 1024 * 1024)
            assert client.set("name", "value")
        server.kill()
        assert not is_alive(first)
        server.restart()
        assert (server.port, server.pid == first) == (port, False)
        with server.client() as client:
            assert client.get("name") == b"value"
        last = server.pid
    assert not is_alive(last)
    assert not folder.exists()
    server.stop()


@pytest.mark.parametrize("binary", BINARIES)
def test_a_paused_server_answers_when_it_is_resumed(binary: str) -> None:
    with RedisServer(binary) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        server.pause()
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(16)
        server.resume()
        connection.settimeout(ANSWER_TIMEOUT_S)
        assert connection.recv(16) == b"+PONG\r\n"
        server.pause()


@pytest.mark.parametrize("binary", BINARIES)
def test_a_one_node_cluster_serves_every_slot_also_after_a_restart(binary: str) -> None:
    with start_one_node_cluster(binary, appendonly="yes") as server:
        assert server.url == f"redis+cluster://127.0.0.1:{server.port}"
        with redis.RedisCluster(host="127.0.0.1", port=server.port) as cluster:
            assert all(cluster.set(f"name-{number}", number) for number in range(50))
        server.restart()
        with redis.RedisCluster(host="127.0.0.1", port=server.port) as cluster:
            assert [cluster.get(f"name-{number}") for number in range(50)] == [b"%d" % number for number in range(50)]


def test_a_server_that_does_not_start_is_a_failure_with_its_log() -> None:
    with pytest.raises(AssertionError, match=r"(?s)did not start:.*no-such-option"):
        RedisServer(next(iter(available_binaries().values())), no_such_option="1")


def test_a_required_server_that_is_missing_fails_in_continuous_integration_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present = next(iter(available_binaries()))
    monkeypatch.setenv("HEADGATE_REQUIRE_SERVERS", f"{present}, redis-0.1")
    monkeypatch.delenv("CI", raising=False)
    assert present in available_binaries()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match=r"names \['redis-0\.1'\]"):
        available_binaries()
    monkeypatch.setenv("HEADGATE_REQUIRE_SERVERS", present)
    assert present in available_binaries()


@pytest.mark.parametrize(
    ("where", "ran"), [(Cut.BEFORE_REQUEST, 0), (Cut.BEFORE_REPLY, 1), (Cut.IN_REPLY, 1)], ids=lambda each: str(each)
)
def test_a_request_is_cut_where_it_was_told(proxy: CuttingProxy, where: Cut, ran: int) -> None:
    with client_through(proxy) as client:
        assert client.ping()
        proxy.cut_next(containing=b"counter", where=where)
        assert client.set("other", "value")
        with pytest.raises(redis.ConnectionError):
            client.incr("counter")
        assert proxy.cuts == 1
        assert client.incr("counter") == ran + 1
    assert proxy.cuts == 1


def test_a_driver_that_sends_a_cut_write_again_counts_it_once_more_each_time(proxy: CuttingProxy) -> None:
    with client_through(proxy, retries=3) as client:
        proxy.cut_next(2, containing=b"EVAL", where=Cut.BEFORE_REPLY)
        assert client.eval("return redis.call('INCR', KEYS[1])", 1, "counter") == 3
    assert proxy.cuts == 2


def test_of_two_requests_sent_together_only_the_chosen_one_is_cut(proxy: CuttingProxy) -> None:
    with client_through(proxy) as client, socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        proxy.cut_next(containing=b"second", where=Cut.BEFORE_REPLY)
        connection.sendall(b"*2\r\n$4\r\nINCR\r\n$5\r\nfirst\r\n" + b"*2\r\n$4\r\nINCR\r\n$6\r\nsecond\r\n")
        with connection.makefile("rb") as received:
            assert received.read() == b":1\r\n"
        assert client.mget("first", "second") == [b"1", b"1"]


def test_a_reply_is_cut_in_its_middle(proxy: CuttingProxy) -> None:
    with client_through(proxy) as client, socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert client.set("name", "x" * 100)
        connection.settimeout(ANSWER_TIMEOUT_S)
        proxy.cut_next(containing=b"GET", where=Cut.IN_REPLY)
        connection.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\nname\r\n")
        with connection.makefile("rb") as received:
            assert received.read() == b"$100\r\n" + b"x" * 48


def test_nested_replies_pass_whole(proxy: CuttingProxy) -> None:
    script = "return {'', 'line\\r\\nbreak', {'nested', {'deeper', false, 7}}, {}}"
    with client_through(proxy) as client:
        assert client.eval(script, 0) == [b"", b"line\r\nbreak", [b"nested", [b"deeper", None, 7]], []]
        assert client.hset("hash", mapping={"field": "value"}) == 1
        assert client.hgetall("hash") == {b"field": b"value"}
