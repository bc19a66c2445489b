"""`python -m dgmppl` is the command line."""

from dgmppl.cli import main

if __name__ == "__main__":
    main()
