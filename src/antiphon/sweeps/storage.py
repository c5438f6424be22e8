"""The study of a sweep on its storage (Optuna): SQLite, a journal file or a server, which several machines may share.

    study = open_study(definition, lower_is_better=True, resume=False)

A study is created once, with the sweep's identity. Whoever joins or continues it must have the same sweep.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from antiphon.errors import ConfigError, WorkError, argument, one_line
from antiphon.registry import nearest
from antiphon.sweeps.definition import Definition, check_identity
from antiphon.sweeps.space import ChoiceSpace, Domain, Params

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")
LOCK_SECONDS = 30.0  # how long a storage that another process has locked is waited for
JOURNAL, SQLITE = "journal:", "sqlite:///"
IDENTITY, SETTING = "sweep", "setting"  # attributes of a study, of a trial


def import_optuna() -> Any:
    """The package optuna, without its messages. ConfigError if it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("`antiphon sweep` needs the package optuna: pip install 'antiphon[sweep]'.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """A context that converts the errors of a storage to WorkError of one line."""
    optuna = import_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, OSError, ValueError) as error:
        if isinstance(error, ValueError) and isinstance(error, ConfigError):
            raise
        cause = one_line(error.__cause__ or error)
        if "locked" in cause or "lock" in type(error).__name__.lower():
            raise WorkError(
                f"the study's storage `{url}` must be free, but another process has locked it for more than "
                f"{LOCK_SECONDS:g} s. Nothing is lost: end that process, then go on with "
                f"{argument('resume=True', flag='--resume')}."
            ) from error
        raise WorkError(
            f"the study's storage `{url}` cannot be used: {cause[:200].rstrip('.')}. Nothing is lost; go on with "
            f"{argument('resume=True', flag='--resume')}."
        ) from error


def patiently(call: Callable[[], T], url: str) -> T:
    """The result of a call to a storage, repeated while another process has it locked, for LOCK_SECONDS."""
    began = time.monotonic()
    while True:
        try:
            with storage_errors(url):
                return call()
        except WorkError as error:
            if "locked it" not in str(error) or time.monotonic() - began > LOCK_SECONDS:
                raise
            time.sleep(0.2)


def connect(url: str) -> Any:
    """The storage of a URL: sqlite:///FILE, journal:FILE, or what SQLAlchemy knows. ConfigError, WorkError."""
    optuna = import_optuna()
    if url.startswith(JOURNAL):
        from optuna.storages.journal import JournalFileBackend

        file = Path(url.removeprefix(JOURNAL).removeprefix("//"))
        _made_parent(file)
        _mend(file)
        with storage_errors(url):
            return optuna.storages.JournalStorage(JournalFileBackend(str(file)))
    scheme = url.partition(":")[0]
    if "://" not in url:
        hint = nearest(scheme, ["sqlite", "journal", "mysql", "postgresql"])
        raise ConfigError(
            f"{argument('storage', flag='--storage')} must be sqlite:///FILE, journal:FILE or a URL of SQLAlchemy, but "
            f"is `{url}`{hint or '.'}"
        )
    options: dict[str, Any] = {}
    if url.startswith(SQLITE):
        _made_parent(Path(url.removeprefix(SQLITE)))
        options = {"connect_args": {"timeout": LOCK_SECONDS}}
    try:
        return patiently(
            lambda: optuna.storages.RDBStorage(url, engine_kwargs=options, skip_compatibility_check=False), url
        )
    except ImportError as error:
        raise ConfigError(f"the storage `{url}` needs a package that is not installed ({one_line(error)}).") from error
    except RuntimeError as error:
        if isinstance(error, WorkError):
            raise
        raise WorkError(f"the study's storage `{url}` cannot be used: {one_line(error)[:200]}") from error


def _made_parent(file: Path) -> None:
    try:
        file.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(f"the folder of the study's storage `{file}` cannot be made ({error.strerror}).") from error


def _mend(file: Path) -> None:
    """Remove half a line at the end of a journal, which a process left that was killed while it wrote."""
    if not file.exists():
        return
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(file, content.rfind(b"\n") + 1)


def open_study(definition: Definition, *, lower_is_better: bool, resume: bool) -> optuna.Study:
    """Create the study of a sweep, or with `resume` continue it, or create it if there is none yet.

    ConfigError for a study that exists without `resume`, or that is of another sweep; WorkError for a locked storage.
    """
    optuna, url = import_optuna(), definition.storage
    storage = connect(url)
    direction = "minimize" if lower_is_better else "maximize"

    def load() -> optuna.Study | None:
        try:
            return optuna.load_study(study_name=definition.name, storage=storage)
        except KeyError:
            return None

    def create() -> optuna.Study | None:
        try:
            study = optuna.create_study(study_name=definition.name, storage=storage, direction=direction)
        except optuna.exceptions.DuplicatedStudyError:  # another machine was faster
            return None
        study.set_user_attr(IDENTITY, dict(definition.identity))
        return study

    found = patiently(load, url)
    if found is None and (study := patiently(create, url)) is not None:
        return study
    found = patiently(load, url) if found is None else found
    assert found is not None
    stored = patiently(lambda: found.user_attrs, url).get(IDENTITY)
    if stored is None:  # killed between its creation and its first attribute
        patiently(lambda: found.set_user_attr(IDENTITY, dict(definition.identity)), url)
    else:
        check_identity(stored, definition, where=url)
    if not resume:
        count = f"trials: {len(patiently(lambda: found.get_trials(deepcopy=False), url))}"
        raise ConfigError(
            f"the study `{definition.name}` on `{url}` must not exist yet, but does ({count}). Continue or join it "
            f"with {argument('resume=True', flag='--resume')}, or choose another `name`, "
            f"{argument('output', flag='--output')} or {argument('storage', flag='--storage')}."
        )
    return found


def load_study(definition: Definition) -> optuna.Study:
    """The study of a sweep, to be read. ConfigError if there is none."""
    optuna, url = import_optuna(), definition.storage
    file = Path(url.removeprefix(SQLITE).removeprefix(JOURNAL))
    if url.startswith((SQLITE, JOURNAL)) and not file.exists():
        raise ConfigError(f"there is no study yet: no file `{file}`. Start it: antiphon sweep {definition.path}.")
    storage = connect(url)
    try:
        return patiently(lambda: optuna.load_study(study_name=definition.name, storage=storage), url)
    except KeyError as error:
        raise ConfigError(f"there is no study `{definition.name}` on `{url}`.") from error


def suggest(trial: optuna.Trial, space: Mapping[str, Domain]) -> Params:
    """The parameters of a trial: those that it has already, and drawn ones for the rest."""
    params: Params = {}
    for key, domain in space.items():
        if isinstance(domain, ChoiceSpace):
            params[key] = trial.suggest_categorical(key, domain.grid())
        elif domain.whole:
            step = int(domain.step or 1)
            high = int(domain.low + (domain.high - domain.low) // step * step)
            params[key] = trial.suggest_int(key, int(domain.low), high, log=domain.log, step=step)
        else:
            params[key] = trial.suggest_float(key, domain.low, domain.high, log=domain.log, step=domain.step)
    return params
