"""What programs of this folder take on the command line that take nothing: --help, and no other."""

import argparse


def no_options(docstring: str | None) -> None:
    """Answer --help with a program's docstring, and refuse whatever else it is given before it starts for hours."""
    argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
