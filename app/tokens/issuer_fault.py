"""What keeps an issuer's keys from being known now."""


class IssuerFault(Exception):
    """The issuer does not answer, or not with keys. The message is for the operator: it names URLs, never a token."""
