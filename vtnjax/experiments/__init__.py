"""Tables of runs, each one command: `python -m vtnjax.experiments TABLE`."""
