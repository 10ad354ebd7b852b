"""`python -m cryowalk` is the command line."""

from cryowalk.cli.main import main

if __name__ == "__main__":
    main()
