"""Small models made on this machine: what `tiny.yaml` serves and the tests run, with nothing to download."""
