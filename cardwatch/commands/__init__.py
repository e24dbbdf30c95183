"""One module a command of `cardwatch`: `add_arguments(parser)` and `run(args) -> exit code`."""
