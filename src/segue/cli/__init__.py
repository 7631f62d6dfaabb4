"""The command line: `segue [--home DIR] [--config FILE] COMMAND`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from segue import __version__
from segue.core.errors import BadInput, NotFound, SegueError

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Bad use is one clear line and exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from segue.cli import ask, bench, data, demo, encoder, evaluate, experiment, monitor, night, scan, serve, simulate

    top = _Parser(prog="segue", description="The recommender that a streaming service owns.")
    top.add_argument("--version", action="version", version=f"segue {__version__}")
    home = Path(os.environ.get("SEGUE_HOME", "segue-home"))
    top.add_argument(
        "--home", type=Path, default=home, help="the folder that holds everything (SEGUE_HOME, default ./segue-home)"
    )
    top.add_argument("--config", type=Path, help="a configuration file instead of segue.toml in the home")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for room in (data, scan, night, evaluate, experiment, serve, ask, demo, simulate, encoder, bench, monitor):
        room.add_commands(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command: 0 done, 1 failed, 2 bad use or bad input."""
    args = parser().parse_args(argv)
    run: Command = args.run
    try:
        return run(args)
    except (BadInput, NotFound) as error:
        print(f"segue: {error}", file=sys.stderr)
        return 2
    except SegueError as error:
        print(f"segue: {error}", file=sys.stderr)
        return 1
    except UnicodeError as error:
        print(f"segue: text that is not UTF-8: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output went away: `segue ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"segue: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("segue: interrupted; nothing that was acknowledged is lost", file=sys.stderr)
        return 1
