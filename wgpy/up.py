"""`wgpy up`, `down` and `reload`: a wg-quick(8) file to an interface of this host, and back.

The changes are on record in /run/wgpy/IF.json before the first is made. `down` goes by the
record alone; what a killed command left behind is undone by the next one.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Final, NoReturn

from wgpy import quickfile
from wgpy.engine import overlap, quick
from wgpy.errors import ConfigError
from wgpy.hostmodel import (
    DnsBackend,
    HostState,
    SetDns,
    SetWireGuard,
    Step,
    Undo,
    Wanted,
)
from wgpy.io.dns_linux import RESOLV_CONF, is_of_the_host
from wgpy.io.settings_linux import run_hook
from wgpy.io.undo_file import UndoFile
from wgpy.model import DeviceStatus
from wgpy.upjob import Job, Terms, job_on, look_at, namespace
from wgpy.wire.changes import differences
from wgpy.wire.conf import Config
from wgpy.wire.steps import Record, describe

_CUT: Final = "this routes the ssh session that you type in into the tunnel, which may cut it"
_NAME_SERVERS: Final = (
    f"{RESOLV_CONF} here is that of the host: DNS would change the name servers of the host"
)


def up(target: str, terms: Terms) -> None:
    """Bring an interface up as its file says; after a failure the host is as before.

    Raises:
        ConfigError: one line; everything done so far is undone.
    """
    source, config, want = _read(target, terms)
    with job_on(source.name, terms) as job:
        if job.stands():
            raise ConfigError(
                f"{source.name} is up already: wgpy reload {source.name} applies changes, "
                f"wgpy down {source.name} ends it"
            )
        _clean_up(job, terms)
        if job.net.index(source.name) is not None:
            raise ConfigError(f"interface {source.name} exists already, and is not ours")
        steps = _agreed_plan(want, job.present(want), terms)
        job.record = Record(
            source.path,
            namespace(),
            pre_down=_expanded(config.interface.pre_down, source.name),
            post_down=_expanded(config.interface.post_down, source.name),
            up_hooks=_up_hooks(want),
        )
        with _interruptible():
            try:
                job.make(steps)
            except BaseException as fault:
                job.say_all(job.take_all_back())
                if isinstance(fault, KeyboardInterrupt):
                    raise ConfigError("interrupted; everything is undone") from None
                raise


def reload(target: str, terms: Terms) -> None:
    """Apply what has changed in the file; sessions of peers that stay survive.

    Raises:
        ConfigError: one line; steps on the host that were made are taken back.
    """
    source, config, want = _read(target, terms, again=True)
    with job_on(source.name, terms) as job:
        job.require()
        steps = _agreed_plan(want, job.present(want), terms)
        job.say_all([f"warning: {line}" for line in _unrun(want, job)])
        job.record = replace(
            job.record,
            config=source.path,
            pre_down=_expanded(config.interface.pre_down, source.name),
            post_down=_expanded(config.interface.post_down, source.name),
        )
        job.make(steps)


def preview_up(target: str, terms: Terms) -> list[str]:
    """Return a line for each step that `up`, or `reload` if it is up, would make.

    Raises:
        ConfigError: one line.
    """
    return _preview(target, terms, again=False)


def preview_reload(target: str, terms: Terms) -> list[str]:
    """Return a line for each step that `reload` would make.

    Raises:
        ConfigError: one line; there is nothing to reload.
    """
    return _preview(target, terms, again=True)


def _preview(target: str, terms: Terms, *, again: bool) -> list[str]:
    source, _, want = _read(target, terms, again=again)
    with look_at(source.name, terms) as job:
        if again:
            job.require()
        present = job.present(want)
        stale: tuple[Undo, ...] = ()
        if not job.stands():
            stale = quick.teardown(job.record.done)
            present = replace(present, interface=None, done=())
        steps = quick.plan(want, present)
        missed = _unrun(want, job) if job.stands() else ()
        for line in (*_risks(want, present, steps), *_warnings(want, present), *missed):
            terms.say(f"warning: {line}")
        status = None if present.interface is None else present.interface.device
        return [line for step in (*stale, *steps) for line in _lines(step, status)]


def _lines(step: Step, status: DeviceStatus | None) -> Iterator[str]:
    yield describe(step)
    if isinstance(step, SetWireGuard) and status is not None:
        yield from (f"  {line}" for line in differences(step.change, status))


def down(target: str, terms: Terms) -> None:
    """Undo what `up` did, and nothing else.

    Raises:
        ConfigError: it is not up, or what could not be undone; the rest is.
    """
    name = quickfile.locate(target).name
    with job_on(name, terms) as job:
        if job.file.read() is None:
            raise ConfigError(f"{name} is not up: there is no record {job.file.path}")
        source = quickfile.Source(name, job.record.config)
        pre_down, post_down = job.record.pre_down, job.record.post_down
        config = _still_readable(source, terms)
        if config is not None:
            pre_down = _expanded(config.interface.pre_down, name)
            post_down = _expanded(config.interface.post_down, name)
        faults = _run_hooks(pre_down)
        if config is not None and config.interface.save_config:
            faults += job.save(source, config)
        faults += job.take_all_back()
        faults += _run_hooks(post_down)
        if faults:
            job.say_all(faults[:-1])
            raise ConfigError(faults[-1])


def _read(
    target: str, terms: Terms, *, again: bool = False
) -> tuple[quickfile.Source, Config, Wanted]:
    """Read the file; `again`: a name alone stands for the file it came up from."""
    source = quickfile.locate(target)
    if again and target == source.name:
        record = UndoFile(source.name).read()
        if record is None:
            raise ConfigError(f"{source.name} is not up: wgpy up {source.name}")
        source = quickfile.Source(source.name, record.config)
    config = quickfile.load(source, terms.say)
    return source, config, quickfile.wanted(source.name, config, terms.say)


def _still_readable(source: quickfile.Source, terms: Terms) -> Config | None:
    try:
        return quickfile.load(source, lambda _: None)
    except ConfigError as error:
        terms.say(f"warning: {error}; going by the record")
        return None


def _agreed_plan(want: Wanted, present: HostState, terms: Terms) -> tuple[Step, ...]:
    for clash in overlap.taken(want, present):
        raise ConfigError(clash)
    steps = quick.plan(want, present)
    for risk in _risks(want, present, steps):
        if not terms.confirm(risk):
            raise ConfigError(f"{risk}; nothing is changed, --yes does it all the same")
    for warning in _warnings(want, present):
        terms.say(f"warning: {warning}")
    return steps


def _risks(want: Wanted, present: HostState, steps: Sequence[Step]) -> Iterator[str]:
    """Yield what nobody should do unasked."""
    if quick.cut_ssh(want, present):
        yield _CUT
    for step in steps:
        if isinstance(step, SetDns) and step.through is DnsBackend.FILE and is_of_the_host():
            yield _NAME_SERVERS


def _warnings(want: Wanted, present: HostState) -> Iterator[str]:
    yield from overlap.doubtful(want)
    yield from quick.warnings(want, present)
    yield from overlap.shared(want, present)


def _unrun(want: Wanted, job: Job) -> Iterator[str]:
    for command in _up_hooks(want):
        if command not in job.record.up_hooks:
            yield f"reload runs no hooks; this one runs with the next up: {command}"


def _up_hooks(want: Wanted) -> tuple[str, ...]:
    return _expanded((*want.hooks.pre_up, *want.hooks.post_up), want.name)


def _clean_up(job: Job, terms: Terms) -> None:
    """Undo what a command or daemon that was killed has left, its owner's hooks included."""
    record = job.record
    if job.file.read() is None:
        return
    for fault in _run_hooks(record.pre_down):
        terms.say(f"warning: {fault}")
    job.clean_up()
    for fault in _run_hooks(record.post_down):
        terms.say(f"warning: {fault}")


def _run_hooks(commands: Sequence[str]) -> list[str]:
    faults = []
    for command in commands:
        try:
            run_hook(command)
        except ConfigError as error:
            faults.append(str(error))
    return faults


def _expanded(commands: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(quick.expand_hook(command, name) for command in commands)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does, so that it cleans up."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    old = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
