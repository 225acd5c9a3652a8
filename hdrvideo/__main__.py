"""``python -m hdrvideo`` is the command ``hdrvideo``."""

from hdrvideo.cli import main

if __name__ == "__main__":
    main()
