"""Octets only: lines, replies, arguments, byte-stuffing, line ends. Everything here can be tested with a literal."""
