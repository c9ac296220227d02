"""Whether faults under load lose anything: `python -m benchmarks.gateway --faults`."""
