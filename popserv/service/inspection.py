"""What an administrator wants to know of one maildrop."""

from __future__ import annotations

from typing import Any

from popserv.delivery.recipients import Recipients
from popserv.maildrop.location import location_of
from popserv.service import access
from popserv.service.schema import Config


async def look(config: Config, context: access.BuildContext, user: bytes) -> dict[str, Any]:
    """Account, location, messages, octets and quota by name, for an address. Writes nothing.

    Raises `ConfigErrors`, `DeliveryError` where the account cannot be told, and `PopError` where its maildrop cannot
    be read.
    """
    found = access.accounts(config, context)
    account = await Recipients(found.directory()).find(user)
    store = access.store(config, context)
    maildrop = await store.open_read_only(account)
    quota = access.quotas(config).of(account)
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
