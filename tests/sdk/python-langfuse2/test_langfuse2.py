"""Langfuse's SDK for Python, the last version 2, unmodified, with its host set to Privet: keys and prompts."""

import pytest
from conftest import PRIVET_PUBLIC_KEY, PRIVET_SECRET_KEY, PRIVET_URL, made
from langfuse import Langfuse
from langfuse.api.resources.commons.errors import NotFoundError, UnauthorizedError
from relay import Relay


def test_auth_check_accepts_the_pair_and_names_the_project(langfuse):
    assert langfuse.auth_check()
    (project,) = langfuse.client.projects.get().data
    assert (project.id, project.name) == ("sdk-tests", "SDK tests")


def test_auth_check_refuses_what_is_no_pair():
    for public_key, secret_key in [(PRIVET_PUBLIC_KEY, "sk-lf-wrong"), (PRIVET_SECRET_KEY, PRIVET_PUBLIC_KEY)]:
        with pytest.raises(UnauthorizedError):
            made(public_key=public_key, secret_key=secret_key).auth_check()


def test_keys_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("LANGFUSE_HOST", PRIVET_URL)
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PRIVET_PUBLIC_KEY)
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", PRIVET_SECRET_KEY)
    assert Langfuse().auth_check()


def test_a_prompt_is_had_by_label_and_version(langfuse, name):
    langfuse.create_prompt(
        name=name,
        prompt="Say {{what}}",
        labels=["production"],
        tags=["greeting"],
        config={"temperature": 0.5},
        commit_message="the first",
    )
    assert langfuse.create_prompt(name=name, prompt="Shout {{what}}").version == 2
    production = langfuse.get_prompt(name)
    assert (production.version, production.compile(what="hi")) == (1, "Say hi")
    assert (production.config, production.tags) == ({"temperature": 0.5}, ["greeting"])
    assert production.commit_message == "the first"
    assert langfuse.get_prompt(name, label="latest").compile(what="hi") == "Shout hi"
    assert langfuse.get_prompt(name, version=2).prompt == "Shout {{what}}"
    with pytest.raises(NotFoundError):
        langfuse.get_prompt(name, label="staging", max_retries=1)


def test_labels_move_to_the_version_that_they_are_given_to(langfuse, name):
    # This version puts the name into the path as it is.
    for name in [name, f"{name}/in/folders"]:
        for text in ["one", "two"]:
            langfuse.create_prompt(name=name, prompt=text, labels=["production"])
        langfuse.update_prompt(name=name, version=1, new_labels=["production"])
        assert langfuse.get_prompt(name, cache_ttl_seconds=0).prompt == "one"


def test_a_chat_is_compiled(langfuse, name):
    chat = [{"role": "system", "content": "You help {{user}}."}, {"role": "user", "content": "{{ question }} {{missing}}"}]
    langfuse.create_prompt(name=name, type="chat", prompt=chat, labels=["production"])
    compiled = langfuse.get_prompt(name, type="chat").compile(user="Ada", question="Why?")
    assert compiled == [
        {"role": "system", "content": "You help Ada."},
        {"role": "user", "content": "Why? {{missing}}"},
    ]


def test_a_prompt_stays_when_the_server_is_down(langfuse, name):
    langfuse.create_prompt(name=name, prompt="Say {{what}}", labels=["production"])
    relay = Relay(PRIVET_URL)
    client = made(host=relay.url)
    assert client.get_prompt(name).compile(what="hi") == "Say hi"
    relay.cut()
    assert client.get_prompt(name).compile(what="hi") == "Say hi", "from the cache"
    fallback = client.get_prompt(f"{name}-other", fallback="Mumble {{what}}", max_retries=1, fetch_timeout_seconds=2)
    assert fallback.is_fallback and fallback.compile(what="hi") == "Mumble hi"
