"""The server behind `fake://`, without the packages that it needs."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tollhouse.errors import ConfigurationError
from tollhouse.stores.fake.server import fake_server


@pytest.mark.parametrize("missing", ["fakeredis", "lupa"])
def test_a_missing_package_is_told_with_its_pip_line(missing: str) -> None:
    """Without fakeredis, or lupa, which runs its scripts, the error names the URL, the package and the extra."""
    with pytest.raises(ConfigurationError) as refused:
        fake_server("absent", "fake://absent", lambda name: None if name == missing else find_spec(name))

    assert (refused.value.setting, refused.value.value) == ("fake://", "fake://absent")
    assert refused.value.remedy == f"it needs {missing}: pip install 'tollhouse[test]'"
