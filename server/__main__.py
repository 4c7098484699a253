"""`python -m server …` is `tria …`."""

from server.cli import main

if __name__ == "__main__":
    main()
