"""The ``popserv`` command, one file a group of verbs."""
