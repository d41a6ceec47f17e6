"""All routes of accounts."""

from __future__ import annotations

from tollhouse.http.accounts import closing, login, password, sign_up

HANDLERS = [*sign_up.HANDLERS, *login.HANDLERS, *password.HANDLERS, *closing.HANDLERS]
