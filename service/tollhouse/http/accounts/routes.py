"""All routes of accounts."""

from __future__ import annotations

from tollhouse.http.accounts import login, sign_up

HANDLERS = [*sign_up.HANDLERS, *login.HANDLERS]
