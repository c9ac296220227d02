"""The usage ledger: who used what, and what it cost, in a SQL database."""
