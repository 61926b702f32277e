"""Run the command as ``python -m steradian``, as torchrun does."""

from steradian.cli.start import main

if __name__ == "__main__":
    main()
