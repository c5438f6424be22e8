"""The lock of a run folder between machines: no two holders, none replaced that lives, no clock compared.

A machine that is not this one is a lease whose kernel has another name: its processes cannot be asked, only watched.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from counts import count

from antiphon.errors import ConfigError
from antiphon.training import lease as module
from antiphon.training import lock
from antiphon.training.lease import Lease, LeaseHeldError, LeaseLostError, is_lease, is_leased
from antiphon.training.lock import exclusive_lock, is_locked
from antiphon.training.snapshot import SnapshotStore

BEAT, STALE = 0.05, 1.0
HOLD = """
import os, sys, time
from pathlib import Path
from antiphon.training.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def leases(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if is_lease(name)]


MADE: list[Lease] = []


@pytest.fixture(autouse=True)
def release_all() -> Iterator[None]:
    """A lease that a test still holds at its end would write its file until the process of the tests ends."""
    yield
    while MADE:
        MADE.pop().release()


def elsewhere(folder: Path, machine: str = "another kernel") -> Lease:
    """The lease of a process on another machine."""
    made = here(folder)
    made._me = replace(made._me, kernel=machine, host="node-7")
    return made


def here(folder: Path) -> Lease:
    MADE.append(Lease(folder, beat=BEAT, stale=STALE))
    return MADE[-1]


def test_a_lease_is_taken_released_and_leaves_nothing(tmp_path: Path) -> None:
    first = here(tmp_path)
    first.take()
    assert leases(tmp_path) == [first.file.name] and is_leased(tmp_path)
    with pytest.raises(LeaseHeldError):
        here(tmp_path).take()
    assert leases(tmp_path) == [first.file.name]
    first.check()
    first.release()
    assert leases(tmp_path) == [] and not is_leased(tmp_path)
    here(tmp_path).take()


def test_a_process_of_another_machine_that_lives_is_found_within_a_beat(tmp_path: Path) -> None:
    other = elsewhere(tmp_path)
    other.take()
    began = time.monotonic()
    with pytest.raises(LeaseHeldError) as caught:
        here(tmp_path).take()
    assert time.monotonic() - began < STALE
    assert str(caught.value.holder) == f"process {os.getpid()} on node-7"
    other.check()
    assert leases(tmp_path) == [other.file.name]


@pytest.mark.parametrize("shift", [-1e6, 0, 1e6])
def test_one_that_was_killed_is_replaced_after_a_while_whatever_its_clock_shows(tmp_path: Path, shift: float) -> None:
    killed = elsewhere(tmp_path)
    killed._write(os.O_CREAT)
    os.utime(killed.file, (time.time() + shift, time.time() + shift))
    began = time.monotonic()
    mine = here(tmp_path)
    mine.take()
    assert STALE <= time.monotonic() - began < 4 * STALE
    assert leases(tmp_path) == [mine.file.name]


def test_the_clock_of_this_machine_may_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = elsewhere(tmp_path)
    other.take()
    chance = random.Random(0)
    monkeypatch.setattr(module.time, "time", lambda: chance.uniform(0, 4e9))
    with pytest.raises(LeaseHeldError):
        here(tmp_path).take()
    other.check()


def test_one_of_this_machine_that_was_killed_is_replaced_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    assert is_locked(tmp_path)
    with pytest.raises(ConfigError, match="must be free, but another process is training in it"):
        exclusive_lock(tmp_path).__enter__()
    with pytest.raises(LeaseHeldError, match=f"held by process {process.pid}"):
        here(tmp_path).take()
    process.kill()
    process.wait(timeout=20)
    assert len(leases(tmp_path)) == 1 and not is_locked(tmp_path)
    began = time.monotonic()
    with exclusive_lock(tmp_path):
        assert time.monotonic() - began < 2 and len(leases(tmp_path)) == 1
    assert leases(tmp_path) == []


def test_a_run_may_start_while_another_process_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a report or `antiphon watch` does, again and again."""

    def starts(folder: Path) -> bool:
        with exclusive_lock(folder):
            return False

    monkeypatch.setattr(lock, "is_leased", starts)
    assert not is_locked(tmp_path)


def test_a_number_that_another_process_has_now_is_not_the_holder(tmp_path: Path) -> None:
    left = here(tmp_path)
    left._me = replace(left._me, started="1")  # this process number, of one that has ended
    left._state = module._HELD
    left._write(os.O_CREAT)
    assert not is_leased(tmp_path)
    here(tmp_path).take()
    assert left.file.name not in leases(tmp_path)


def test_a_suspended_holder_that_was_replaced_knows_it(tmp_path: Path) -> None:
    suspended = elsewhere(tmp_path)
    suspended.take()
    with suspended._writing:  # its thread stands still, as the whole process does
        mine = here(tmp_path)
        mine.take()
    deadline = time.monotonic() + 10
    while not suspended._gone.is_set() and time.monotonic() < deadline:
        time.sleep(BEAT)
    with pytest.raises(LeaseLostError, match="another process has taken the folder over"):
        suspended.check()
    suspended.release()
    mine.check()
    assert leases(tmp_path) == [mine.file.name]


def test_a_holder_that_is_late_looks_before_it_saves(tmp_path: Path) -> None:
    mine = here(tmp_path)
    mine.take()
    with mine._writing:
        mine.file.unlink()
        mine.check()  # heard of a moment ago: nobody can have taken it over
        time.sleep(STALE)
        with pytest.raises(LeaseLostError):
            mine.check()


def test_a_file_system_that_stood_still_is_not_a_dead_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = elsewhere(tmp_path)
    other.take()
    real = os.listdir

    def slow(folder: Path) -> list[str]:  # the server answers after more than `stale` seconds, both times
        time.sleep(STALE * 1.2)
        return real(folder)

    mine = here(tmp_path)
    mine.file = tmp_path / "run.lock.ffffffffffffffff"
    mine._write(os.O_CREAT)
    with other._writing:
        monkeypatch.setattr(module.os, "listdir", slow)
        assert not mine._is_alone() and not mine._is_alone()
        monkeypatch.undo()
        assert other.file.exists()
    mine.release()
    other.release()


def test_no_two_machines_hold_it_at_once(tmp_path: Path) -> None:
    inside, most, taken, errors = [0], [0], [0], []
    guard = threading.Lock()

    def contend(number: int) -> None:
        chance = random.Random(number)
        for _ in range(count("lease_races")):
            mine = elsewhere(tmp_path, f"kernel {number}")
            try:
                mine.take()
            except LeaseHeldError:
                continue
            except BaseException as error:
                errors.append(error)
                return
            with guard:
                inside[0] += 1
                taken[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(chance.random() * BEAT)
            with guard:
                inside[0] -= 1
            mine.release()
            time.sleep(chance.random() * BEAT)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert not errors and most == [1] and taken[0] >= 1
    assert leases(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_not_leased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Lease, flags: int = 0) -> None:
        raise PermissionError(13, "refused")

    monkeypatch.setattr(Lease, "_write", refused)
    with exclusive_lock(tmp_path) as lock:
        lock.check()
        with pytest.raises(ConfigError):  # but locked
            exclusive_lock(tmp_path).__enter__()


def test_without_flock_the_lease_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def none(handle: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    with exclusive_lock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(ConfigError, match=f"but process {os.getpid()} is training in it"):
            exclusive_lock(tmp_path).__enter__()
    assert not is_locked(tmp_path)


MOUNTS = {
    "tmpfs": ["mount", "-t", "tmpfs", "none", "{at}"],
    "overlay": ["mount", "-t", "overlay", "overlay", "-o", "lowerdir={low},upperdir={up},workdir={work}", "{at}"],
    "ext4": ["mount", "-o", "loop", "{image}", "{at}"],
}


@pytest.fixture(params=["tmpfs", "overlay", "ext4"])
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a file system of its own, above the disk; skipped without the right to mount."""
    folder = tmp_path_factory.mktemp("mounted")
    places = {name: folder / name for name in ("at", "low", "up", "work")}
    for place in places.values():
        place.mkdir()
    image = folder / "image"
    if request.param == "ext4":
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed")
        image.write_bytes(b"")
        os.truncate(image, 16 * 2**20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, timeout=60)
    words = [word.format(image=image, **places) for word in MOUNTS[request.param]]
    found = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    if found.returncode:
        pytest.skip(f"{request.param} cannot be mounted here: {found.stderr.strip()}")
    try:
        yield places["at"]
    finally:
        subprocess.run(["umount", str(places["at"])], check=True, timeout=60)


def test_locks_and_snapshots_on_other_file_systems(mounted: Path) -> None:
    """What a run asks of its folder: that a lease holds, that flock does, that a snapshot appears whole by a rename."""
    folder = mounted / "run"
    folder.mkdir()
    with exclusive_lock(folder):
        with pytest.raises(ConfigError):
            exclusive_lock(folder).__enter__()
        with pytest.raises(LeaseHeldError):
            here(folder).take()
        store = SnapshotStore(folder / "snapshots", keep=2)
        for step in (1, 2, 3):
            store.save(step, {"state.json": b"%d" % step})
        assert store.steps() == [2, 3]
        newest = store.newest()
        assert newest is not None and newest.read("state.json") == b"3"
        assert not list(folder.glob("snapshots/tmp-*"))
    assert leases(folder) == []


def test_a_process_namespace_of_its_own_is_another_machine(tmp_path: Path) -> None:
    """As two containers on one machine: process numbers of one mean nothing in the other."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "--uts", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.call([*words, "true"], stderr=subprocess.DEVNULL, timeout=20):
        pytest.skip("this machine makes no namespaces")
    often = 'from antiphon.training.lease import Lease\nLease.__init__.__kwdefaults__["beat"] = 0.5\n'
    run = f"hostname container-1 && exec {sys.executable} -c '{often}{HOLD}' {tmp_path}"
    process = subprocess.Popen([*words, run], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert is_leased(tmp_path)
        mine = Lease(tmp_path, beat=0.5)
        began = time.monotonic()
        with pytest.raises(LeaseHeldError, match=r"held by process \d+ on container-1"):
            mine.take()
        assert time.monotonic() - began < 2 * module.BEAT_SECONDS
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
