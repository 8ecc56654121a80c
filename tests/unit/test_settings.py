"""Settings: their defaults, and that a value which cannot work is refused when it is given."""
from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushserver.errors import InvalidSetting
from pushserver.settings import MIB, Settings, default_max_connections, default_max_memory
from pushserver.wire.origins import normal_origin

resource = pytest.importorskip("resource")

FIELDS = dataclasses.fields(Settings)
NUMBERS = [field.name for field in FIELDS if field.type in ("int", "float")]
WHOLE_NUMBERS = [field.name for field in FIELDS if field.type == "int"]


@pytest.fixture
def file_limit():
    """Set the soft limit of open files for one test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_defaults_are_the_documented_ones():
    settings = Settings()
    assert settings.ping_interval == 25
    assert settings.pong_timeout == 10
    assert settings.drain_timeout == 5
    assert settings.max_message_size == 64 * 1024
    assert settings.max_outbox == 1024 * 1024
    assert settings.max_memory == default_max_memory()
    assert settings.max_connections == default_max_connections()
    assert settings.max_connections_per_id == 16
    assert settings.workers == 4
    assert settings.allowed_origins == ()
    assert settings.duplicates == "share"


def test_every_setting_is_described_and_says_its_unit():
    described = re.findall(r"^    (\w+): ", inspect.getdoc(Settings), re.MULTILINE)
    assert [field.name for field in FIELDS] == [name for name in described
                                                if name != "InvalidSetting"]
    for field in FIELDS:
        assert field.metadata["help"]
        assert bool(field.metadata["unit"]) == (field.name in NUMBERS), field.name


@pytest.mark.parametrize("found, is_used", [(None, 1024 * MIB), (16 * 1024 * MIB, 4096 * MIB),
                                            (512 * MIB, 128 * MIB), (100 * MIB, 64 * MIB)])
def test_a_quarter_of_the_memory_is_for_clients(monkeypatch, found, is_used):
    monkeypatch.setattr("pushserver.settings.memory", lambda: found)
    assert Settings().max_memory == is_used


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().workers = 5


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "5", None, True, [5]])
def test_a_number_that_cannot_work_is_refused_by_name(name, value):
    with pytest.raises(InvalidSetting, match=f"^{name} is "):
        Settings(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_only_a_number_that_says_what_zero_means_may_be_zero(name):
    if name in ("ping_interval", "max_memory", "publish_timeout"):
        assert getattr(Settings(**{name: 0}), name) == 0
    else:
        with pytest.raises(InvalidSetting, match=f"^{name} is 0: use more than 0"):
            Settings(**{name: 0})


@pytest.mark.parametrize("name", NUMBERS)
def test_a_fraction_is_refused_where_whole_things_are_counted(name):
    if name in WHOLE_NUMBERS:
        with pytest.raises(InvalidSetting, match="use a whole number"):
            Settings(**{name: 1.5})
    else:
        assert getattr(Settings(**{name: 1.5}), name) == 1.5


@pytest.mark.parametrize("value", ["share", "replace", "reject"])
def test_duplicates_takes_its_three_words(value):
    assert Settings(duplicates=value).duplicates == value


@pytest.mark.parametrize("value", ["", "Share", None, 1])
def test_duplicates_refuses_any_other_word(value):
    with pytest.raises(InvalidSetting, match="use share, replace, reject"):
        Settings(duplicates=value)


def test_allowed_origins_are_kept_in_their_normal_form():
    settings = Settings(allowed_origins=["HTTPS://Example.ORG:443/", "*"])
    assert settings.allowed_origins == ("https://example.org", "*")


def test_one_origin_that_is_not_in_a_list_is_refused_with_the_list():
    with pytest.raises(InvalidSetting, match=r"use a list, \['https://example.org'\]"):
        Settings(allowed_origins="https://example.org")


@pytest.mark.parametrize("value", [[b"https://example.org"], [None], [5], ["example.org"], 5, None])
def test_what_is_no_list_of_origins_is_refused(value):
    with pytest.raises(InvalidSetting, match="origin"):
        Settings(allowed_origins=value)


def test_patterns_and_app_origins_are_kept_in_their_normal_form():
    settings = Settings(allowed_origins=["https://*.Example.org:443", "null", "app://."],
                        allowed_hosts=["Example.org:80", "*.example.org", "*", "[::1]"])
    assert settings.allowed_origins == ("https://*.example.org", "null", "app://.")
    assert settings.allowed_hosts == ("example.org", "*.example.org", "*", "[::1]")


@pytest.mark.parametrize("value", ["example.org", ["https://example.org"], [""], [None], 5, None,
                                   ["*example.org"], ["example.org/x"]])
def test_what_is_no_list_of_host_names_is_refused(value):
    with pytest.raises(InvalidSetting, match="host"):
        Settings(allowed_hosts=value)


@pytest.mark.parametrize("limit, connections", [
    (150, 50), (200, 100), (1024, 924), (2000, 1900), (4000, 3800)])
def test_the_file_limit_leaves_a_reserve_for_the_site(file_limit, limit, connections):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < limit:
        pytest.skip("this process may not open so many files")
    file_limit(limit)
    assert default_max_connections() == connections
    assert Settings().max_connections == connections


def test_a_tiny_file_limit_still_allows_one_connection(file_limit):
    file_limit(90)
    assert default_max_connections() == 1


@pytest.mark.parametrize("origin, normal", [
    ("http://example.org", "http://example.org"),
    ("HTTP://EXAMPLE.org", "http://example.org"),
    ("http://example.org/", "http://example.org"),
    ("http://example.org:80", "http://example.org"),
    ("https://example.org:443", "https://example.org"),
    ("https://example.org:80", "https://example.org:80"),
    ("http://example.org:8080", "http://example.org:8080"),
    ("ws://example.org:80", "http://example.org"),
    ("wss://example.org:8443", "https://example.org:8443"),
    ("http://[::1]:8888", "http://[::1]:8888"),
    ("http://[2001:DB8::1]", "http://[2001:db8::1]")])
def test_an_origin_has_one_normal_form(origin, normal):
    assert normal_origin(origin) == normal


@pytest.mark.parametrize("origin", [
    "", "example.org", "//example.org", "http://", "http://example.org/page",
    "http://example.org?x", "http://example.org#x", "http://me@example.org",
    "http://example.org:port", "http://example.org:70000", "http://[::1", None, 5,
    b"http://example.org"])
def test_what_is_no_origin_is_refused(origin):
    with pytest.raises(InvalidSetting, match="use scheme://host"):
        normal_origin(origin)


hosts = st.from_regex(r"[A-Za-z0-9-]{1,8}(\.[A-Za-z0-9-]{1,8}){0,2}", fullmatch=True) \
    | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(lambda host: f"[{host}]")
ports = st.just("") | st.integers(0, 65535).map(lambda port: f":{port}")
origins = st.builds(lambda scheme, host, port, end: f"{scheme}://{host}{port}{end}",
                    st.sampled_from(["http", "https", "ws", "wss", "HTTP", "chrome-extension"]),
                    hosts, ports, st.sampled_from(["", "/"]))


@given(origins)
def test_the_normal_form_of_an_origin_is_its_own_normal_form(origin):
    normal = normal_origin(origin)
    assert normal_origin(normal) == normal
    assert normal == normal_origin(origin.upper())
    assert not normal.endswith("/")


@given(st.text() | st.text(alphabet="htps:/[]@.%#?a1İ℀", max_size=16)
       | st.text(max_size=8).map(lambda text: f"http://{text}"))
def test_any_text_is_an_origin_with_a_normal_form_or_refused(text):
    try:
        normal = normal_origin(text)
    except InvalidSetting:
        return
    assert normal_origin(normal) == normal
