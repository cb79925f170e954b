"""The command line: parse options, call the core, print."""
