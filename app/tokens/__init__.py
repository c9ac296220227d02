"""Bearer JSON Web Tokens: the issuers that are trusted, their signing keys, the check of a token, what it may do."""
