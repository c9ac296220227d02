"""`portico fetch FILE`."""

from app.cli.arguments import ServeFile, Status, end


def fetch(file: ServeFile) -> None:
    """Download the weights of a config file's models from the hub, before a service needs them.

    They come into the hub's folder, `HF_HOME`; what is there already is not fetched again.

    Exit codes: 1 a download failed, 2 the file is wrong.
    """
    from app.commands.weights import fetch_models
    from app.config.service import read_serve_config

    _, config = read_serve_config(file)
    end(Status.DONE if fetch_models(config.models) else Status.NOT_RIGHT)
