"""The one error that means: the caller can mend this."""


class InputError(ValueError):
    """Bad input that the caller can mend: a flag, a file, a config, a size.

    The message names the flag or file, what was expected, and the remedy, in one line. The command line turns it
    (and OSError) into exit code 2; any other exception is a bug and keeps its traceback.
    """


def near_miss(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The remedy for an unknown name: the closest known one, or all of them."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
