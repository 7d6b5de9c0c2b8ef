"""From the keys of `[maildrop]` to the views through which sessions see their maildrops."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from popserv.auth.account import Account
from popserv.auth.naming import Naming
from popserv.interfaces import IAccount, IBuildContext, IDatedStore, IHasFolders, IMaildropStore
from popserv.maildrop.router import StoreRouter
from popserv.maildrop.view_marks import HeaderMark, Mark, SubjectMark
from popserv.maildrop.view_store import ViewStore
from popserv.maildrop.views import ANY_FOLDER, Since, View
from popserv.service import rules
from popserv.service.config import ConfigErrors
from popserv.service.schema import Config
from popserv.service.schema_mail import Maildrop, ViewRule

SUBJECT_TEXT, HEADER_TEXT = "[Junk]", "X-Junk: yes"


def of(config: Config, context: IBuildContext, store: IMaildropStore, router: StoreRouter) -> ViewStore:
    """`store`, which gives access to `router`, seen through what `[maildrop]` says. Raises `ConfigErrors`."""
    check(config, router)
    views = rules.by_account(config, config.maildrop, config.maildrop.view_rules, _view)
    return ViewStore(store, views, router, context.disk, context.reactor)


def check(config: Config, router: StoreRouter) -> None:
    """Raises `ConfigErrors` for views that cannot be, or not with these stores."""
    table = config.maildrop
    errors = [*_mistakes("maildrop", table, router)]
    for index, rule in enumerate(table.view_rules):
        errors += _mistakes(f"maildrop.view_rules[{index}]", rule, router)
    if errors:
        raise ConfigErrors(errors)


def _view(keys: Maildrop | ViewRule) -> View:
    return View(keys.largest_octets, Since.parse(keys.since), keys.newest, keys.junk, _mark(keys), keys.folders)


def _mark(keys: Maildrop | ViewRule) -> Mark | None:
    """Raises `ValueError`."""
    if keys.junk_mark == "none":
        return None
    if keys.junk_mark == "header":
        return HeaderMark.of(keys.junk_text or HEADER_TEXT)
    return SubjectMark.of(keys.junk_text or SUBJECT_TEXT)


def _mistakes(path: str, keys: Maildrop | ViewRule, router: StoreRouter) -> Iterator[tuple[str, str]]:
    if keys.since and (undated := router.lacking(IDatedStore)):
        yield f"{path}.since", f"{', '.join(undated)}: this store does not know when messages came"
    without = ", ".join(router.lacking(IHasFolders))
    if (keys.junk or keys.folders) and without:
        yield f"{path}.{'junk' if keys.junk else 'folders'}", f"{without}: this store has no other folder than INBOX"
        return
    if keys.junk and not _may_be_folder(keys.junk, router):
        yield f"{path}.junk", "no folder can have this name"
    for index, name in enumerate(keys.folders):
        if name != ANY_FOLDER and not _may_be_folder(name, router):
            yield f"{path}.folders[{index}]", "no folder can have this name"
    if keys.junk_text and keys.junk_mark == "none":
        yield f"{path}.junk_text", 'has no effect with junk_mark = "none"'
    try:
        _mark(keys)
    except ValueError as error:
        yield f"{path}.junk_text", str(error)


def _may_be_folder(name: str, router: StoreRouter) -> bool:
    return name.upper() != "INBOX" and router.folder(Account("somebody"), name) is not None


@attrs.frozen
class Folders:
    """Which folder a login name stands for."""

    store: ViewStore
    naming: Naming

    def __call__(self, account: IAccount, name: bytes) -> bytes:
        """The folder of `account` for a `name` that a client wrote. Raises `StoreBroken`."""
        detail = self.naming.detail(name, account.name)
        return self.store.folder(account, detail.decode("utf-8", "replace"))
