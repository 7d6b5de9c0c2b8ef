"""Rewrite the messages in a folder as getmail would. Runs on the Python that getmail runs on."""

import sys
from pathlib import Path

from getmailcore.message import Message

for path in Path(sys.argv[1]).iterdir():
    # getmail takes the lines from poplib and adds an empty one for the last line end.
    lines = path.read_bytes().split(b"\r\n")
    path.write_bytes(Message(fromlines=lines).flatten(delivered_to=False, received=False))
