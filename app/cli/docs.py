"""`portico docs`."""


def docs() -> None:
    """Write the pages of docs/ that follow from the code. For developers."""
    from app.cli.pages import write_pages

    write_pages()
