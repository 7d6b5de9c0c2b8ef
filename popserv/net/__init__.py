"""The Twisted protocol classes: sockets, TLS, timers, back-pressure. Nothing here knows a command."""
