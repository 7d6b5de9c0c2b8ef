"""What maildrop stores share: locks, unique-ids, locations, adapters to and from `IMailboxPOP3`."""
