"""One process at a time writes a run folder: real processes hold the locks here."""

import errno
import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmkit import files, records, stages
from lmkit.config import InputError, make_config
from lmkit.data import open_for
from lmkit.runs import load_run, run_folder


def quiet(_line: str) -> None:
    pass


@contextmanager
def another_process(code: str, *arguments: str):
    """Runs code that ends in `yield_()`; inside the block it is there, and waits."""
    lines = "import sys\nfrom pathlib import Path\nfrom lmkit import files, records\n"
    lines += "def yield_():\n    print('there', flush=True); sys.stdin.read()\n"
    asked = [sys.executable, "-c", lines + code, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(asked, **pipes) as process:
        try:
            assert process.stdout.readline() == b"there\n"
            yield process
        finally:
            process.kill()


HOLD = "with records.locked(Path(sys.argv[1])):\n    yield_()"
WRITE = (
    "with files.atomic_path(Path(sys.argv[1]) / 'report.html') as part:\n"
    "    part.write_text('whole')\n    yield_()"
)


def test_a_start_that_is_refused_does_not_leave_its_settings_with_the_run(tiny):
    config = make_config(tiny | {"run": "one", "lr": 0.002})
    folder = run_folder(config, open_for(config))
    folder.mkdir(parents=True)
    with (
        another_process(HOLD, str(folder)),
        pytest.raises(InputError, match="another process is writing this run"),
    ):
        stages.train_run(config, log=quiet)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_run_finished_between_look_and_lock_is_not_written_again(tiny, monkeypatch):
    """04 has opened its test split by then, which a second writing would take away."""
    config, real, said = make_config(tiny | {"epochs": 1}), stages.canvas_for, []

    def slow(*given):
        monkeypatch.setattr(stages, "canvas_for", real)
        stages.open_test_split(stages.train_run(config, log=quiet), log=quiet)
        return real(*given)

    monkeypatch.setattr(stages, "canvas_for", slow)
    run = stages.train_run(config, log=said.append)
    assert list(run.metrics) == ["val", "test"]
    assert said[-1] == "finished meanwhile, not run again"


def test_the_loser_of_two_starts_with_other_settings_is_told_so(tiny, monkeypatch):
    config, real = make_config(tiny | {"epochs": 1, "run": "one"}), stages.canvas_for
    other = config.model_copy(update={"lr": 2 * config.lr})

    def slow(*given):
        monkeypatch.setattr(stages, "canvas_for", real)
        stages.train_run(config, log=quiet)
        return real(*given)

    monkeypatch.setattr(stages, "canvas_for", slow)
    with pytest.raises(InputError, match="holds a run with lr"):
        stages.train_run(other, log=quiet)
    assert load_run(run_folder(config, open_for(config))).config.lr == config.lr


def test_the_test_split_is_predicted_once_where_two_open_it(tiny, monkeypatch):
    run, real, said = stages.train_run(make_config(tiny), log=quiet), stages.locked, []

    def slow(folder: Path):
        monkeypatch.setattr(stages, "locked", real)
        stages.open_test_split(run, log=quiet, draws=2)
        return real(folder)

    monkeypatch.setattr(stages, "locked", slow)
    assert len(stages.open_test_split(run, log=said.append, draws=2)) == 4
    assert said == []


def test_a_part_that_another_process_writes_is_no_stale_one(tmp_path):
    with another_process(WRITE, str(tmp_path)) as process:
        files.remove_stale_parts(tmp_path)
        (part,) = tmp_path.glob(".*.part")
        process.kill()
        process.wait()
        assert part.exists()
        with records.locked(tmp_path):
            assert not part.exists(), "its writer was killed"


def test_a_part_taken_away_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    real, taken = files.take, []

    def slow(file, path):
        if not taken:
            taken.append(path)
            files.remove_stale_parts(tmp_path)
        return real(file, path)

    monkeypatch.setattr(files, "take", slow)
    files.write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_not_taken_for_another_process(tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    with (
        pytest.raises(InputError, match=r"expected a file system with locks.*on a local disk"),
        records.locked(tmp_path),
    ):
        pass
    files.write_text(tmp_path / "a.txt", "whole")  # which needs no lock
    (tmp_path / ".b.txt.x.part").touch()
    files.remove_stale_parts(tmp_path)
    assert (tmp_path / ".b.txt.x.part").exists(), "nobody knows whether it is written"
    os.utime(tmp_path / ".b.txt.x.part", (0, 0))
    files.remove_stale_parts(tmp_path)
    assert not (tmp_path / ".b.txt.x.part").exists()


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_is_held_is_told_as_such(tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(InputError, match="another process is writing"), records.locked(tmp_path):
        pass
