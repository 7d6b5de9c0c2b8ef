"""popserv against programs that other people wrote."""
