"""deliver_each.py CONFIG USER FOLDER: `popserv deliver USER` for each file of the folder, a process of its own each.

They are forked when everything is imported, because that is most of the time that a delivery takes.
"""

import os
import sys
from pathlib import Path

import popserv.accounts.sqlite
import popserv.service.access
import popserv.stores.maildir  # noqa: F401
from popserv.cli.main import main


def deliver(config: str, user: str, file: Path) -> int:
    child = os.fork()
    if not child:
        os.dup2(os.open(file, os.O_RDONLY), 0)
        code = 1
        try:
            main(["deliver", "--config", config, user])
        except SystemExit as end:
            code = end.code
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


config, user, folder = sys.argv[1:]
ends = {file.name: deliver(config, user, file) for file in sorted(Path(folder).iterdir())}
sys.exit(f"popserv deliver did not end with 0: {failed}" if (failed := {k: v for k, v in ends.items() if v}) else 0)
