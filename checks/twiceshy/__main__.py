"""`python -m twiceshy` is the command."""

from twiceshy.command.main import main

if __name__ == "__main__":
    main()
