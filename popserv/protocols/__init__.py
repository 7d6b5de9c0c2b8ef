"""Wire protocols, one a file. Only plug-ins stand here: a module is found by its name and holds ``plugin``."""
