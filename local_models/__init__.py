"""Small models for a CPU: real ones, fetched for `local.yaml`, and those of `tiny.yaml` and the tests, made here."""
