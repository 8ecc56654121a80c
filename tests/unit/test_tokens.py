"""Tokens: what is taken, and each refusal."""
from __future__ import annotations

import base64
import json
import sys

import pytest

jwt = pytest.importorskip("jwt")
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402

from pushserver.errors import InvalidSetting  # noqa: E402
from pushserver.tokens import MAX_TTL, Claims, TokenExpired, TokenInvalid, Tokens  # noqa: E402

SECRET = "0123456789abcdef0123456789abcdef"
NOW = 1_000_000.0


def clock():
    return NOW


def made(claims=None, key=SECRET, algorithm="HS256", **more):
    return jwt.encode({**(claims or {}), **more}, key, algorithm=algorithm)


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM,
                                         serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def ec_key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def tokens():
    return Tokens(secret=SECRET, clock=clock)


def segment(data):
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def test_a_token_says_who_the_client_is(tokens):
    token = made(sub="42", exp=NOW + 60, info={"name": "Ann"}, channels=["a", "b", "a"])
    assert tokens.connection(token) == Claims("42", NOW + 60, {"name": "Ann"}, "", ("a", "b"))
    assert tokens.connection(token).ttl(NOW) == 60
    assert tokens.connection(made()) == Claims("")
    assert tokens.connection(made()).ttl(NOW) is None
    assert tokens.connection(made(exp=NOW * 1000)).ttl(NOW) == MAX_TTL


def test_rsa_and_elliptic_keys_are_taken(rsa_key, ec_key):
    for key, algorithm in ((rsa_key, "RS256"), (ec_key, "ES256")):
        tokens = Tokens(public_key=pem(key), algorithm=algorithm, clock=clock)
        assert tokens.connection(made(sub="42", key=key, algorithm=algorithm)).user == "42"


def test_what_a_token_opens_lives_as_long_as_the_token_is_taken():
    tokens = Tokens(secret=SECRET, clock=clock, leeway=40, grace=25)
    assert tokens.life(Claims("42"), can_refresh=True) is None
    assert tokens.life(Claims("42", NOW + 10), can_refresh=True) == 50
    assert tokens.life(Claims("42", NOW - 30), can_refresh=False) == 10
    strict = Tokens(secret=SECRET, clock=clock)
    assert strict.life(Claims("42", NOW + 10), can_refresh=True) == 35
    assert strict.life(Claims("42", NOW + 10), can_refresh=False) == 10


def test_a_token_of_another_key_is_refused(tokens, rsa_key):
    other = rsa.generate_private_key(65537, 2048)
    with pytest.raises(TokenInvalid, match="Signature verification failed"):
        tokens.connection(made(sub="42", key="x" * 32))
    with pytest.raises(TokenInvalid):
        Tokens(public_key=pem(rsa_key), algorithm="RS256").connection(
            made(sub="42", key=other, algorithm="RS256"))


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
def test_a_token_without_a_signature_is_refused(tokens, name):
    for signature in ("", "x"):
        token = f"{segment({'alg': name})}.{segment({'sub': 'admin'})}.{signature}"
        with pytest.raises(TokenInvalid):
            tokens.connection(token)
    if name == "none":
        with pytest.raises(TokenInvalid):
            tokens.connection(jwt.encode({"sub": "admin"}, None, algorithm="none"))


def test_a_public_key_does_not_serve_as_a_shared_secret(rsa_key):
    """The classic confusion: the token says HS256, signed with what everybody may know."""
    import hashlib
    import hmac
    public = pem(rsa_key)
    head = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment({'sub': 'admin'})}"
    signature = hmac.new(public, head.encode(), hashlib.sha256).digest()
    token = f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises(TokenInvalid, match="alg"):
        Tokens(public_key=public, algorithm="RS256").connection(token)


def test_another_algorithm_than_ours_is_refused(tokens, rsa_key, ec_key):
    for token in (made(key=SECRET * 2, algorithm="HS512"), made(key=rsa_key, algorithm="RS256"),
                  made(key=ec_key, algorithm="ES256")):
        with pytest.raises(TokenInvalid, match="alg"):
            tokens.connection(token)


def test_the_audience_and_the_issuer_must_be_ours():
    tokens = Tokens(secret=SECRET, audience="push", issuer="site", clock=clock)
    assert tokens.connection(made(aud=["x", "push"], iss="site")).user == ""
    for claims in ({}, {"aud": "push"}, {"iss": "site"}, {"aud": "other", "iss": "site"},
                   {"aud": "push", "iss": "other"}, {"aud": 5, "iss": "site"}):
        with pytest.raises(TokenInvalid):
            tokens.connection(made(claims))


def test_without_an_audience_of_ours_the_tokens_is_not_looked_at(tokens):
    assert tokens.connection(made(sub="42", aud="anybody")).user == "42"


def test_an_expired_token_is_told_from_an_invalid_one(tokens):
    for late in (0, 1, 10_000):
        with pytest.raises(TokenExpired):
            tokens.connection(made(exp=NOW - late))
    with pytest.raises(TokenInvalid) as caught:
        tokens.connection(made(exp=NOW - 1, key="y" * 32))
    assert not isinstance(caught.value, TokenExpired)


def test_clocks_may_differ_by_the_leeway():
    strict, lenient = (Tokens(secret=SECRET, clock=clock, leeway=leeway) for leeway in (0, 5))
    for claims in ({"exp": NOW - 4}, {"nbf": NOW + 4}):
        assert lenient.connection(made(claims)).user == ""
        with pytest.raises(TokenInvalid):
            strict.connection(made(claims))
    for claims in ({"exp": NOW - 6}, {"nbf": NOW + 6}):
        with pytest.raises(TokenInvalid):
            lenient.connection(made(claims))


@pytest.mark.parametrize("claims, message", [
    ({"nbf": NOW + 1}, "not valid yet"),
    ({"exp": "soon"}, "exp is not a time"), ({"exp": True}, "exp is not a time"),
    ({"exp": float("inf")}, "exp is not a time"), ({"exp": float("nan")}, "exp is not a time"),
    ({"nbf": []}, "nbf is not a time"), ({"sub": 42}, "sub is not text"),
    ({"channels": "a"}, "not a list"), ({"channels": [5]}, "use text"),
    ({"channels": [""]}, "use text"), ({"channels": ["a", "x" * 256]}, "use text"),
    ({"channels": ["\ud800"]}, "whole characters"), ({"info": ["\ud800"]}, "its info"),
    ({"channel": "a"}, "for a channel")])
def test_claims_that_cannot_be_are_refused(tokens, claims, message):
    with pytest.raises(TokenInvalid, match=message):
        tokens.connection(made(claims))


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "...", "\ud800", "é.é.é", "x" * 9000,
                                   "e30.W10.x", f"{segment([])}.{segment({})}.x"])
def test_what_is_no_token_is_refused(tokens, token):
    with pytest.raises(TokenInvalid):
        tokens.connection(token)


def test_a_payload_that_is_no_object_is_refused(tokens):
    token = jwt.api_jws.encode(b"[1]", SECRET, algorithm="HS256")
    with pytest.raises(TokenInvalid):
        tokens.connection(token)


def test_a_channels_token_is_for_its_channel_and_its_user(tokens):
    token = made(sub="42", channel="private:a", info=5, exp=NOW + 9)
    assert tokens.subscription(token, "private:a", "42") == Claims("42", NOW + 9, 5, "private:a")
    for channel, user in (("private:b", "42"), ("private:a", "43"), ("private:a", "")):
        with pytest.raises(TokenInvalid, match="not for this"):
            tokens.subscription(token, channel, user)
    with pytest.raises(TokenInvalid, match="not for this channel"):
        tokens.subscription(made(sub="42"), "private:a", "42")
    with pytest.raises(TokenExpired):
        tokens.subscription(made(channel="a", exp=NOW - 9), "a", "")


@pytest.mark.parametrize("options, message", [
    ({}, "need a key"), ({"secret": SECRET, "public_key": "x"}, "need a key"),
    ({"secret": ""}, "secret is empty"), ({"secret": 5}, "secret is empty"),
    ({"secret": SECRET, "algorithm": "none"}, "algorithm is 'none'"),
    ({"secret": SECRET, "algorithm": "RS256"}, "use HS256"),
    ({"public_key": "x", "algorithm": "HS256"}, "use RS256 or ES256"),
    ({"public_key": "x"}, "use RS256 or ES256"),
    ({"public_key": "x", "algorithm": "RS256"}, "public_key is not a key for"),
    ({"secret": SECRET, "leeway": -1}, "leeway is -1"),
    ({"secret": SECRET, "grace": "5"}, "grace is '5'")])
def test_settings_that_cannot_work_are_clear_errors(options, message):
    with pytest.raises(InvalidSetting, match=message) as caught:
        Tokens(**options)
    assert "\n" not in str(caught.value)


def test_a_key_for_another_algorithm_and_a_private_key_are_refused(rsa_key, ec_key):
    private = rsa_key.private_bytes(serialization.Encoding.PEM,
                                    serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
    with pytest.raises(InvalidSetting, match="not a key for ES256"):
        Tokens(public_key=pem(rsa_key), algorithm="ES256")
    with pytest.raises(InvalidSetting, match="not a key for RS256"):
        Tokens(public_key=pem(ec_key), algorithm="RS256")
    with pytest.raises(InvalidSetting, match="private key"):
        Tokens(public_key=private, algorithm="RS256")


def test_a_short_secret_is_logged_and_no_secret_is_shown(caplog):
    tokens = Tokens(secret="short")
    assert "can be guessed" in caplog.text
    assert "short" not in repr(tokens) and "short" not in caplog.text


def test_without_pyjwt_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(InvalidSetting, match=r"pushserver\[jwt\]"):
        Tokens(secret=SECRET)
