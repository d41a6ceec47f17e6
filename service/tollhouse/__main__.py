"""The `tollhouse` command, which needs the extra `service`."""

from __future__ import annotations

import signal
import sys

from tollhouse.extras import not_installed


def main() -> None:
    """Run a command. Without the packages of the extra, say in one line how to install them: exit code 2.

    Ctrl-C before the command has begun ends quietly, with 130.
    """
    try:
        from tollhouse.cli.commands import run
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"tollhouse: {not_installed('the command', 'tollhouse[service]', error)}\n")
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
