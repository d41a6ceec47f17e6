"""The `tollhouse` command, which needs the extra `service`."""

from __future__ import annotations

import sys

from tollhouse.extras import not_installed


def main() -> None:
    """Run a command. Without the packages of the extra, say in one line how to install them: exit code 2."""
    try:
        from tollhouse.cli.commands import run
    except ModuleNotFoundError as error:
        sys.stderr.write(f"tollhouse: {not_installed('the command', 'tollhouse[service]', error)}\n")
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
