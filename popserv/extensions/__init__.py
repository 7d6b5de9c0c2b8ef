"""Commands beyond the standard ones, one set a file. Only plug-ins stand here: each is named in `[pop3] extensions`."""
