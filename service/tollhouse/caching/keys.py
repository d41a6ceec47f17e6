"""CacheKeys: one place for the keys of an application, so that writers and invalidations agree.

Ids are escaped, so that none forges another key or reaches into a pattern. What a result depends on beside ids is one
digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final, cast
from uuid import UUID

from tollhouse.caching.canonical import NoCanonicalForm, TooLarge, canonical
from tollhouse.errors import InvalidInput, OutOfBounds

Id = str | int | UUID
"""What names a thing; 7 and "7" are one id."""

_ESCAPES: Final = {ord("%"): "%25", ord(":"): "%3A", ord("*"): "%2A"}
_ID_CHARACTERS_MAX: Final = 256
_DIGEST_BYTES: Final = 16
_NUMBER_MAX: Final = 2**63


class CacheKeys:
    """The keys of common values. Patterns find them by their words, such as `model:metrics:*`."""

    @staticmethod
    def model(model_id: Id) -> str:
        """Return the key of a model's data: `model:{id}`."""
        return f"model:{_escaped('model_id', model_id)}"

    @staticmethod
    def model_list(page: int) -> str:
        """Return the key of a page of the list of models: `model:list:page:{page}`."""
        return f"model:list:page:{_number('page', page)}"

    @staticmethod
    def model_metrics(model_run_id: Id) -> str:
        """Return the key of the metrics of a training run: `model:metrics:{id}`."""
        return f"model:metrics:{_escaped('model_run_id', model_run_id)}"

    @staticmethod
    def feature_importance(model_run_id: Id, top_n: int | None = None) -> str:
        """Return the key of a run's feature importance: `model:feature_importance:{id}`, or `…:{id}:top_{n}`."""
        key = f"model:feature_importance:{_escaped('model_run_id', model_run_id)}"
        return key if top_n is None else f"{key}:top_{_number('top_n', top_n)}"

    @staticmethod
    def model_comparison(model_run_ids: Iterable[Id], metric: str | None = None) -> str:
        """Return the key of a comparison by a metric: `model:comparison:{hash}`, the same for any order of the ids."""
        if isinstance(model_run_ids, str | bytes) or not isinstance(cast("object", model_run_ids), Iterable):
            raise InvalidInput("model_run_ids", model_run_ids, "give a list of ids")
        ids = sorted(_escaped("model_run_ids", one) for one in model_run_ids)
        return f"model:comparison:{_digest('metric', [ids, metric])}"

    @staticmethod
    def prediction(model_id: Id, inputs: Any) -> str:
        """Return the key of a model's prediction for inputs: `prediction:{id}:{hash}`."""
        return f"prediction:{_escaped('model_id', model_id)}:{_digest('inputs', inputs)}"

    @staticmethod
    def ai(model: Id, inputs: Any) -> str:
        """Return the key of the answer of an AI model: `ai:{model}:{hash}`."""
        return f"ai:{_escaped('model', model)}:{_digest('inputs', inputs)}"

    @staticmethod
    def db(table: str, query: str, params: Any = ()) -> str:
        """Return the key of the rows of a query: `db:{table}:{hash}`."""
        return f"db:{_escaped('table', table)}:{_digest('params', [query, params])}"

    @staticmethod
    def api(endpoint: str, params: Any = ()) -> str:
        """Return the key of the response of an endpoint: `api:{endpoint}:{hash}`."""
        return f"api:{_escaped('endpoint', endpoint)}:{_digest('params', params)}"


def _escaped(field: str, given: Id) -> str:
    if isinstance(given, bool) or not isinstance(cast("object", given), str | int | UUID):
        raise InvalidInput(field, type(given).__name__, "give text, a whole number or a UUID")
    is_short = not isinstance(given, int) or given.bit_length() <= 4 * _ID_CHARACTERS_MAX
    text = str(given) if is_short else ""  # Python refuses to write much longer numbers
    if not 1 <= len(text) <= _ID_CHARACTERS_MAX:
        raise OutOfBounds(field, given, f"give 1 to {_ID_CHARACTERS_MAX} characters")
    return text.translate(_ESCAPES)


def _number(field: str, given: int) -> int:
    if type(given) is not int:
        raise InvalidInput(field, given, "give a whole number")
    if not 0 <= given < _NUMBER_MAX:
        raise OutOfBounds(field, given, f"give a whole number from 0 to {_NUMBER_MAX - 1}")
    return given


def _digest(field: str, value: Any) -> str:
    try:
        return hashlib.blake2b(canonical(value), digest_size=_DIGEST_BYTES).hexdigest()
    except TooLarge as error:
        raise OutOfBounds(field, error.what, error.remedy) from error
    except NoCanonicalForm as error:
        raise InvalidInput(field, error.what, error.remedy) from error
