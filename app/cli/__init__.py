"""The command line: a module a command with its arguments and options. What a command does is in app/commands/."""
