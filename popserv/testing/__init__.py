"""The public test kit: doubles, contracts, and the pytest fixture ``pop3_server``."""
