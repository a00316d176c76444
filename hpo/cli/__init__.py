"""The command line: `main` parses and exits, the commands are beside it, views show a run, tables what is stored."""
