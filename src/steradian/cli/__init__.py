"""The command: it parses words, calls one function of a room below, and prints."""
