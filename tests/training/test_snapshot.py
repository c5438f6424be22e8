"""Snapshots: damage is found and named, a full disk or a kill inside a save leaves the last good one."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from counts import count
from disk_log import DiskLog, memory_folder
from safetensors.torch import save
from torture.figures import FigureRecorder

from antiphon.errors import DiskError, ModelError
from antiphon.training import snapshot
from antiphon.training.saving.files import MANIFEST, damage
from antiphon.training.saving.tensor_file import copied, tensor_file
from antiphon.training.snapshot import SnapshotStore

FILES = {"weights.safetensors": bytes(range(256)) * 4, "state.json": b'{"step": 1}', "empty": b""}


@pytest.fixture(name="memory")
def _memory() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


def test_saved_is_read_and_old_ones_go(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "snapshots", keep=2)
    assert store.newest() is None
    for step in (5, 10, 100):
        store.save(step, {**FILES, "state.json": str(step).encode()})
    assert store.steps() == [10, 100]
    newest = store.newest()
    assert newest is not None and newest.read("state.json") == b"100"
    assert [snapshot.step for snapshot in store.last(5)] == [100, 10]


def test_a_file_of_tensors_is_that_of_the_library() -> None:
    tensors = {
        "b": torch.randn(3, 4),
        "a": torch.randn(5),
        "none": torch.empty(0, 2),
        "one": torch.tensor(2.5),
    }
    assert b"".join(tensor_file(tensors)) == save(tensors)
    kinds = [torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn]
    mixed = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds} | {"ü": torch.ones(2, 2).T}
    content = tensor_file(copied(mixed))
    from safetensors.torch import load

    found = load(b"".join(content))
    assert found.keys() == mixed.keys()
    assert all(torch.equal(found[name].float(), mixed[name].float()) for name in mixed)
    with pytest.raises(ModelError, match=r"`odd` must have a type that safetensors files can hold, but has torch.comp"):
        tensor_file({"odd": torch.ones(1, dtype=torch.complex64)})


@pytest.mark.parametrize("kind", ["flip", "truncation"])
def test_every_flip_and_truncation_is_found_and_the_one_before_is_used(
    memory: Path, kind: str, figures: FigureRecorder
) -> None:
    lines: list[str] = []
    store = SnapshotStore(memory, keep=3, say=lines.append)
    store.save(1, FILES)
    folder = store.save(2, FILES).folder
    chance = random.Random(kind)
    for _ in range(count("snapshot_corruption")):
        file = folder / chance.choice(["weights.safetensors", "state.json", MANIFEST])
        whole = file.read_bytes()
        if kind == "flip":
            broken = bytearray(whole)
            broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            file.write_bytes(broken)
        else:
            file.write_bytes(whole[: chance.randrange(len(whole))])
        fault = damage(folder)
        assert fault is not None and file.name in fault
        found = store.newest()
        assert found is not None and found.step == 1
        assert str(folder) in lines[-1] and file.name in lines[-1]
        file.write_bytes(whole)
        figures.add(f"{kind}s found", 1)
    assert damage(folder) is None


def test_damaged_ones_push_out_no_whole_one(tmp_path: Path) -> None:
    """A run that goes back behind damaged snapshots keeps what it writes there."""
    store = SnapshotStore(tmp_path, keep=2)
    for step in (40, 60):
        (store.save(step, FILES).folder / "state.json").unlink()
    store.save(20, FILES)
    assert store.steps() == [20] and store.newest() is not None


def test_a_missing_and_a_foreign_file_is_named(tmp_path: Path) -> None:
    folder = SnapshotStore(tmp_path, keep=1).save(1, FILES).folder
    (folder / "shard-00009-of-00009.safetensors").write_bytes(b"")
    assert damage(folder) == f"shard-00009-of-00009.safetensors is not in {MANIFEST}"
    (folder / "shard-00009-of-00009.safetensors").unlink()
    (folder / "state.json").unlink()
    assert damage(folder) == "state.json is missing"
    (folder / MANIFEST).unlink()
    assert damage(folder) == f"{MANIFEST} is missing"


def test_an_old_one_that_cannot_be_deleted_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    store = SnapshotStore(tmp_path, keep=1, say=lines.append)
    store.save(1, FILES)

    def refuse(path: str, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)
    store.save(2, FILES)
    assert store.newest().step == 2  # type: ignore[union-attr]
    assert len(lines) == 1 and "step-1` cannot be deleted" in lines[0] and "Delete it by hand" in lines[0]


def test_what_does_not_read_back_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SnapshotStore(tmp_path, keep=2)
    store.save(1, FILES)
    real = snapshot.write_file

    def damaged(file: Path, content: bytes) -> dict[str, object]:
        row = real(file, content)
        if file.name == "state.json":
            file.write_bytes(file.read_bytes().replace(b"1", b"2"))
        return row

    monkeypatch.setattr(snapshot, "write_file", damaged)
    with pytest.raises(
        DiskError, match=r"state.json` does not read back as it was written .*The last one kept is step 1"
    ):
        store.save(2, FILES)
    assert store.steps() == [1] and not list(tmp_path.glob("tmp-*"))


# ---- a save that is interrupted ----

KEEP = 2


def saved(folder: Path) -> SnapshotStore:
    """A store with as many snapshots as it keeps: the next save is also a rotation."""
    store = SnapshotStore(folder / "snapshots", keep=KEEP)
    for step in (1, 2):
        store.save(step, FILES)
    return store


def calls(folder: Path) -> int:
    """The number of calls of the system in one save with rotation."""
    store = saved(folder)
    with DiskLog(folder) as log:
        store.save(3, FILES)
    assert {operation.kind for operation in log.operations} >= {"create", "write", "fsync", "mkdir", "rename", "unlink"}
    return log.calls


def at(number: int, action: Callable[[], None]) -> Callable[[int, str], None]:
    def before(count: int, kind: str) -> None:
        if count == number:
            action()

    return before


def no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("beside", [False, True])
def test_no_space_at_any_call_of_a_save_keeps_the_last_good_ones(
    memory: Path, beside: bool, figures: FigureRecorder
) -> None:
    total, refused = calls(memory / "count"), 0
    for number in range(1, total + 1):
        folder = memory / str(number)
        store = saved(folder)
        lines: list[str] = []
        store.say = lines.append
        with DiskLog(folder, before=at(number, no_space)):
            try:
                if beside:
                    store.start(3, FILES)
                    store.wait()
                else:
                    store.save(3, FILES)
            except DiskError as error:
                refused += 1
                said = str(error)
                assert "\n" not in said and "The last one kept is step" in said
                assert ("No space left on device" in said and "Free space, then continue with" in said) or (
                    "does not read back" in said
                )
                lines.append(said)
        assert len(lines) == 1, "one clear message"
        assert len(store.last(9)) >= KEEP, "never fewer than were to be kept"
        assert len(list(store.folder.glob("tmp-*"))) <= 1
        # The next save works, and deletes what was left.
        store.save(4, FILES)
        assert store.newest().step == 4 and not list(store.folder.glob("tmp-*"))  # type: ignore[union-attr]
    figures.add("calls without space", total)
    assert refused >= total - 8, "only the deletion of an old snapshot may fail without an error"


def test_killed_at_any_call_of_a_save_a_whole_snapshot_loads(memory: Path, figures: FigureRecorder) -> None:
    """SIGKILL of a real process, before each call of the system of a save with rotation."""
    total, found = calls(memory / "count"), []
    for number in range(1, total + 2):
        folder = memory / str(number)
        store = saved(folder)
        child = os.fork()
        if child == 0:
            with DiskLog(folder, before=at(number, lambda: os.kill(os.getpid(), signal.SIGKILL))):
                store.save(3, {**FILES, "state.json": b'{"step": 3}'})
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) == (number <= total)
        newest = store.newest()
        assert newest is not None and newest.step in (2, 3)
        assert newest.read("state.json") == (b'{"step": 3}' if newest.step == 3 else FILES["state.json"])
        assert newest.read("weights.safetensors") == FILES["weights.safetensors"]
        assert len(list(store.folder.glob("tmp-*"))) <= 1
        found.append(newest.step)
        store.save(4, FILES)
        assert store.newest().step == 4 and not list(store.folder.glob("tmp-*"))  # type: ignore[union-attr]
    assert found == sorted(found) and {*found} == {2, 3}
    figures.add("calls at which a save with rotation was killed", total)


FULL = """
import sys
from pathlib import Path
from antiphon.errors import DiskError
from antiphon.training.snapshot import SnapshotStore
store = SnapshotStore(Path(sys.argv[1]) / "snapshots", keep=2)
step = 0
try:
    while step < 50:
        step += 1
        store.start(step, {"weights.safetensors": bytes(200_000 * step), "state.json": b"{}"})
        store.wait()
except DiskError as error:
    print(step, [snapshot.step for snapshot in store.last(9)], len(list(store.folder.glob("tmp-*"))), error)
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A file system of 2 MB in memory, in a name space of its own."""
    mounted = f"mount -t tmpfs -o size=2m none {tmp_path}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mounted], capture_output=True, check=False).returncode:
        pytest.skip("this system lets no file system be mounted")
    script = tmp_path.with_suffix(".py")
    script.write_text(FULL)
    command = f"{mounted} && exec {sys.executable} {script} {tmp_path}"
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0 and not ended.stderr, ended.stderr
    step, rest = ended.stdout.split(" ", 1)
    assert rest.startswith(f"[{int(step) - 1}, {int(step) - 2}] 0 the snapshot of step {step} cannot be written to `")
    assert "(weights.safetensors: No space left on device). The last one kept is step" in rest
    assert "Free space, then continue with `resume=True`." in rest and rest.count("\n") == 1
