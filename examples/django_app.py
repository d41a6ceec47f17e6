"""A small Django application behind limits. Run it in a clone with `uvicorn examples.django_app:application`.

Install what it needs with `pip install . django uvicorn`.

It needs no server: without TOLLHOUSE_URL an embedded Valkey starts with the first request, and ends with the
application. Several workers need one server for all of them, such as TOLLHOUSE_URL=redis://localhost.
"""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

import tollhouse

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for this example",
)
django.setup()


async def index(_: HttpRequest) -> HttpResponse:
    """Count against the policy of the site."""
    return HttpResponse("Ask for /forecast/Oslo/; the third time within a minute is too often.")


@tollhouse.limit("2/minute")
async def forecast(_: HttpRequest, city: str) -> JsonResponse:
    """Count against a limit that is written here, by the client's address."""
    return JsonResponse({"city": city, "forecast": "sun"})


@tollhouse.limit("1/minute", key=lambda request: request.headers.get("X-Team", "nobody"))
def report(_: HttpRequest) -> HttpResponse:
    """Limit a view that is not async, as Django runs it in a thread."""
    return HttpResponse("a long report")


def health(_: HttpRequest) -> HttpResponse:
    """Count nothing."""
    return HttpResponse("ok")


urlpatterns = [
    path("", index),
    path("forecast/<str:city>/", forecast),
    path("report/", report),
    path("health/", health),
]

# One line around the application, which stays as it is; a view that refuses is answered 429 by it too.
application = tollhouse.RateLimitMiddleware(
    get_asgi_application(),
    url=os.environ.get("TOLLHOUSE_URL", "embedded://"),
    policies={"site": "100/minute"},
    policy="site",
    routes={"/health": None},
)
