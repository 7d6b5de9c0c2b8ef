"""The public test kit: doubles, contracts, and the pytest fixture ``pop3_server`` (`popserv.testing.plugin`)."""

from importlib import import_module

_MODULES = {
    "BackendContract": "backend_contract",
    "MechanismContract": "mechanism_contract",
    "MemoryAccounts": "accounts",
    "NASTY": "nasty",
    "RecordingObserver": "doubles",
    "StoreContract": "store_contract",
    "Talk": "talk",
    "TalkChannel": "talk",
    "Wire": "doubles",
    "let_pass": "doubles",
    "memory_portal": "doubles",
    "running_server": "server",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    # Lazy, so that a test of one thing does not need what another one imports.
    if name in _MODULES:
        return getattr(import_module(f"popserv.testing.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'popserv.testing' has no attribute {name!r}")
