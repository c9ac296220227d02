"""The gateway knows where Serve listens, whatever its configuration says. On a Ray of its own, without any proxy."""

import subprocess
import sys

import pytest

from contract.project import PROJECT_FOLDER

REPLICA = """
import sys, ray
from ray import serve
from app.serving.controller import http_host

class Asks:
    def host(self):
        return http_host()

ray.init(num_cpus=1, include_dashboard=False, logging_level="error", log_to_driver=False)
serve.start(proxy_location="Disabled", http_options={"host": sys.argv[1]}, logging_config={"log_level": "ERROR"})
handle = serve.run(serve.deployment(Asks).bind())
print("host:", handle.host.remote().result(timeout_s=60))
serve.shutdown()
"""


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", pytest.param("127.0.0.1", marks=pytest.mark.long)],  # noqa: S104 - nothing listens there: no proxy runs
)
def test_a_replica_sees_the_host_that_serve_was_started_with(host: str) -> None:
    command = [sys.executable, "-c", REPLICA, host]
    run = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_FOLDER, timeout=120, check=False)
    assert f"host: {host}" in run.stdout, run.stderr
