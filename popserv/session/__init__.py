"""The state machine of RFC 1939, pure: lines in, replies or effects out. No Twisted, no I/O."""
