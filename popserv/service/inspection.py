"""What an administrator wants to know of maildrops, or wants to be done to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from popserv.delivery.recipients import Recipients
from popserv.errors import PopError
from popserv.maildrop.location import location_of
from popserv.maildrop.maildir_disposal import Tidied, Undeleted
from popserv.service import access, rules
from popserv.service.schema import Config


async def tidy(
    config: Config, context: access.BuildContext, users: Sequence[bytes], dry: bool
) -> dict[str, Tidied | str]:
    """What has gone by account, or why nothing has; of all accounts that can be listed, if no `users` are given.

    With `dry`, what would go. Raises as `look` does.
    """
    found = access.accounts(config, context)
    upkeep = access.upkeep(config, found, access.store(config, context))
    if upkeep is None:
        return {}
    if users:
        recipients = Recipients(found.directory())
        accounts = [await recipients.find(user) for user in users]
    else:
        accounts = await upkeep.everybody()
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
    account = await Recipients(access.accounts(config, context).directory()).find(user)
    store = access.store(config, context)
    undeleted: Undeleted = await store.undelete(account, since, dry)
    return account.name, undeleted


async def look(config: Config, context: access.BuildContext, user: bytes) -> dict[str, Any]:
    """Account, location, messages, octets and quota by name, for an address. Writes nothing.

    Raises `ConfigErrors`, `DeliveryError` where the account cannot be told, and `PopError` where its maildrop cannot
    be read.
    """
    found = access.accounts(config, context)
    account = await Recipients(found.directory()).find(user)
    store = access.store(config, context)
    maildrop = await store.open_read_only(account)
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
