"""The programs of `bench/` that others rely on."""
