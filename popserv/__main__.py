"""``python -m popserv``."""

from popserv.cli.main import main

main(prog_name="popserv")
