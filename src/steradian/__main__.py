"""Run the command as ``python -m steradian``, as torchrun does."""

from steradian.cli.main import main

if __name__ == "__main__":
    main()
