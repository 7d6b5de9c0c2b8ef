"""What the verbs share: the option for the configuration, passwords, and how they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from popserv.service.access import BuildContext
    from popserv.service.schema import Config

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

EX_FAILED = 1
EX_CONFIG = 78
"""From sysexits.h: the configuration cannot be used."""


class Failed(click.ClickException):
    """Ends the command: each line goes to standard error, and `exit_code` is the status."""

    def __init__(self, lines: Sequence[str], exit_code: int = EX_FAILED) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.lines:
            click.echo(f"popserv: {line}", file=file or sys.stderr)


def config_option(command: F) -> F:
    """Adds ``--config FILE``."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, readable=False),
        help="Configuration file. Default: $POPSERV_CONFIG, ./popserv.toml, /etc/popserv/popserv.toml.",
    )(command)


def read_config(file: Path | None, serving: bool = True) -> Config:
    """The configuration; ends the command with `EX_CONFIG` if it cannot be used."""
    from popserv.service.config import ConfigErrors, load

    try:
        return load(file, serving)
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None


def run_in_reactor(config: Config, work: Callable[[BuildContext], Coroutine[Any, Any, T]]) -> T:
    """What `work` results in, with a reactor and pools for as long as it takes. Raises what it raises."""
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred

    from popserv.service.compose import Pools

    pools = Pools(reactor)
    results: list[T] = []
    failures: list[Any] = []

    def begin() -> None:
        done = ensureDeferred(work(pools.context(config)))
        done.addCallbacks(results.append, failures.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("after", "shutdown", pools.stop)
    reactor.run()
    if failures:
        failures[0].raiseException()
    return results[0]


def run_here(work: Coroutine[Any, Any, T]) -> T:
    """What `work` results in, without a reactor. With an `InlinePool` nothing in it waits. Raises what it raises."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("the store or the account database waits for something that only a server has")


@contextmanager
def troubles(user: str = "") -> Iterator[None]:
    """Ends the command for what is wrong with the configuration, the address `user`, or a maildrop."""
    from popserv.errors import DeliveryError, PopError, UnknownRecipient
    from popserv.service.config import ConfigErrors

    try:
        yield
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None
    except UnknownRecipient:
        raise Failed([f"{user!a}: there is no such account"]) from None
    except (DeliveryError, PopError) as error:
        raise Failed([f"{user!a}: {reason_of(error)}"]) from None


def reason_of(error: Exception) -> str:
    """What a `PopError` or a `DeliveryError` has to say to an administrator."""
    holder = getattr(error, "holder", None)
    since = f" since {holder.time}" if holder is not None else ""
    return f"{error}{since}: {error.__cause__}" if error.__cause__ else f"{error}{since}"


def password_options(command: F) -> F:
    """Adds ``--password-file`` and ``--password-stdin``."""
    from_file = click.option(
        "--password-file", type=click.Path(path_type=Path), help="Its first line is the password; spaces count."
    )
    from_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
    return from_file(from_stdin(command))


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_password(password_file: Path | None, password_stdin: bool, *, twice: bool = True) -> bytes:
    """The password: from the file, from standard input, or asked for at a terminal, `twice` if it is a new one."""
    if password_file is not None and password_stdin:
        raise click.UsageError("--password-file and --password-stdin exclude each other")
    if password_file is not None:
        return first_line(password_file)
    if password_stdin:
        if sys.stdin is None:
            raise Failed(["standard input: it is closed"])
        return _password(sys.stdin.buffer.readline(), "standard input")
    if not at_terminal():
        raise click.UsageError("no terminal to ask at: use --password-file or --password-stdin")
    again = "Again" if twice else False
    try:
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=again, err=True)
        return typed.encode("utf-8")
    except UnicodeError:
        raise Failed(["this password is no UTF-8"]) from None


def first_line(file: Path) -> bytes:
    """The password that is the first line of `file`."""
    try:
        with file.open("rb") as opened:
            return _password(opened.readline(), str(file))
    except OSError as error:
        raise Failed([f"{file}: {error.strerror}"]) from None


def _password(line: bytes, source: str) -> bytes:
    password = line.removesuffix(b"\n").removesuffix(b"\r")
    if not password:
        raise Failed([f"{source}: the first line, which is the password, is empty"])
    return password
