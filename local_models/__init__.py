"""Small models made on this machine: what `local.yaml` serves and the tests run, with nothing to download."""
