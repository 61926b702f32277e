"""Command line: parse the arguments, call one function of the library, print the result."""
