"""Models of the settings, as commands find them: also in the working folder, before anything is served."""

from __future__ import annotations

import sys
from pathlib import Path

from tollhouse.app import installed_models
from tollhouse.settings import Settings


def import_models(settings: Settings) -> None:
    """Import the functions of the models, for this process and its workers.

    Raises ConfigurationError for a wrong one.
    """
    if settings.ai.models:
        search_working_folder()
    installed_models(settings).close()


def search_working_folder() -> None:
    """Import from the working folder, too.

    It is searched last: for `python -m` it is searched anyway, for an installed command it is not.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
