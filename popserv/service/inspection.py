"""What an administrator wants to know of maildrops, or wants to be done to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from popserv.errors import PopError
from popserv.maildrop.location import location_of
from popserv.maildrop.maildir_disposal import Tidied, Undeleted
from popserv.service import access, rules
from popserv.service.schema import Config
from popserv.service.tending import Tending


async def tidy(
    config: Config, context: access.BuildContext, users: Sequence[bytes], dry: bool
) -> dict[str, Tidied | str]:
    """What has gone by account, or why nothing has; of all accounts that can be listed, if no `users` are given.

    With `dry`, what would go. Raises as `look` does.
    """
    tending = Tending.of(config, context)
    upkeep = access.upkeep(config, tending.accounts, tending.store)
    accounts = [await tending.find(user) for user in users] if users else await tending.everybody()
    done: dict[str, Tidied | str] = {}
    for account in accounts:
        try:
            done[account.name] = await upkeep.tidy(account, dry)
        except PopError as error:
            done[account.name] = error.text
    return done


async def undelete(
    config: Config, context: access.BuildContext, user: bytes, since: float, dry: bool
) -> tuple[str, Undeleted]:
    """Bring back what was removed since then, seconds since 1970: the account's name and what came back.

    With `dry`, what would. Raises as `look` does.
    """
    tending = Tending.of(config, context)
    account = await tending.find(user)
    undeleted: Undeleted = await tending.store.undelete(account, since, dry)
    return account.name, undeleted


async def look(config: Config, context: access.BuildContext, user: bytes) -> dict[str, Any]:
    """Account, location, messages, octets and quota by name, for an address. Writes nothing.

    Raises `ConfigErrors`, `DeliveryError` where the account cannot be told, and `PopError` where its maildrop cannot
    be read.
    """
    tending = Tending.of(config, context)
    account = await tending.find(user)
    maildrop = await tending.store.open_read_only(account)
    quota = rules.quotas(config).of(account)
    facts = {
        "account": account.name,
        "location": location_of(account, config.maildrop.location),
        "messages": maildrop.count,
        "octets": maildrop.total,
        "quota_messages": quota.messages or None,
        "quota_octets": quota.octets or None,
    }
    await maildrop.close()
    return facts
