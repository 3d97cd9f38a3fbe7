"""The one exception that users meet: a sentence that names what was wrong and what to do."""

INTERRUPTED = 130  # exit code of a command that was interrupted, as shells have it


class DynexitError(ValueError):
    """Bad input, an unusable checkpoint or a machine that cannot do what was asked.

    The message is one sentence for a person. The command line prints it and exits with code 2.
    """
