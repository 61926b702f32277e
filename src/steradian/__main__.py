"""``python -m steradian``, which is how torchrun starts the command."""

from steradian.cli.main import main

if __name__ == "__main__":
    main()
