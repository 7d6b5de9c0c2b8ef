"""The tests: they mirror `popserv/`; `interop/` has real programs, `messages/` the nastiest mail we could think of."""
