"""Who gets in: names, credentials, the chain of checkers, the login."""
