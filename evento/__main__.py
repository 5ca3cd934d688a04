"""The program `evento`, also as `python -m evento`. Knows only where the command line is."""


def main() -> None:
    """Run the command line."""
    from evento.cli.main import app

    app()


if __name__ == "__main__":
    main()
