"""The one exception for what a user can mend: a sentence saying what, where and what to do."""


class UserError(Exception):
    """Bad input. The message is the whole story: the bad value, where it stands, and the remedy.

    `run.py` and the other commands print it without a traceback and exit with code 2.
    """
