"""Langfuse's SDK for Python, version 5, unmodified, with its base URL set to Privet: keys and prompts."""

import uuid

import pytest
from conftest import PRIVET_KEY, PRIVET_PUBLIC_KEY, PRIVET_SECRET_KEY, PRIVET_URL
from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from langfuse.api import NotFoundError, UnauthorizedError
from langfuse.api.core.api_error import ApiError
from relay import Relay

CHAT = [
    {"role": "system", "content": "You help {{user}}."},
    {"type": "placeholder", "name": "history"},
    {"role": "user", "content": "{{question}}"},
]


def made(base_url=PRIVET_URL, public_key=PRIVET_PUBLIC_KEY, secret_key=PRIVET_SECRET_KEY):
    # The SDK keeps one client for each public key, with the URL it was first made with.
    LangfuseResourceManager.reset()
    return Langfuse(base_url=base_url, public_key=public_key, secret_key=secret_key)


@pytest.fixture
def langfuse():
    yield made()
    LangfuseResourceManager.reset()


@pytest.fixture
def name():
    return f"py5-{uuid.uuid4()}"


def test_auth_check_accepts_the_pair_and_names_the_project(langfuse):
    assert langfuse.auth_check()
    (project,) = langfuse.api.projects.get().data
    assert project.id == "sdk-tests" and project.name == "SDK tests"
    assert project.organization.name and project.metadata == {}
    assert langfuse.api.health.health().status == "OK"


@pytest.mark.parametrize(
    ("public_key", "secret_key"),
    [
        (PRIVET_PUBLIC_KEY, "sk-lf-wrong"),
        ("pk-lf-wrong", PRIVET_SECRET_KEY),
        (PRIVET_SECRET_KEY, PRIVET_PUBLIC_KEY),
        (PRIVET_PUBLIC_KEY, PRIVET_KEY),
    ],
)
def test_auth_check_refuses_what_is_no_pair(public_key, secret_key):
    with pytest.raises(UnauthorizedError):
        made(public_key=public_key, secret_key=secret_key).auth_check()


def test_keys_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("LANGFUSE_BASE_URL", PRIVET_URL)
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PRIVET_PUBLIC_KEY)
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", PRIVET_SECRET_KEY)
    LangfuseResourceManager.reset()
    assert Langfuse().auth_check()


def test_a_prompt_is_had_by_label_and_version(langfuse, name):
    first = langfuse.create_prompt(
        name=name,
        prompt="Say {{what}}",
        labels=["production", "staging"],
        tags=["greeting"],
        config={"temperature": 0.5, "nested": {"a": [1]}},
        commit_message="the first",
    )
    second = langfuse.create_prompt(name=name, prompt="Shout {{what}}")
    assert (first.version, second.version) == (1, 2)

    production = langfuse.get_prompt(name)
    assert (production.version, production.prompt, production.name) == (1, "Say {{what}}", name)
    assert production.config == {"temperature": 0.5, "nested": {"a": [1]}}
    assert production.tags == ["greeting"] and production.commit_message == "the first"
    assert set(production.labels) == {"production", "staging"}
    assert langfuse.get_prompt(name, label="latest").prompt == "Shout {{what}}"
    assert langfuse.get_prompt(name, label="staging").version == 1
    assert langfuse.get_prompt(name, version=2).prompt == "Shout {{what}}"


def test_a_prompt_without_the_label_is_not_found(langfuse, name):
    langfuse.create_prompt(name=name, prompt="x")
    for ask in [{}, {"label": "staging"}, {"version": 2}]:
        with pytest.raises(NotFoundError) as caught:
            langfuse.get_prompt(name, max_retries=0, **ask)
        assert caught.value.body["error"] == "LangfuseNotFoundError"
        assert name in caught.value.body["message"]
    with pytest.raises(NotFoundError, match="production"):
        langfuse.get_prompt(f"{name}-unknown", max_retries=0)


def test_labels_move_to_the_version_that_they_are_given_to(langfuse, name):
    for text, labels in [("one", ["production"]), ("two", ["production", "beta"])]:
        langfuse.create_prompt(name=name, prompt=text, labels=labels)
    assert langfuse.get_prompt(name, cache_ttl_seconds=0).prompt == "two"
    langfuse.update_prompt(name=name, version=1, new_labels=["production", "rollback"])
    assert langfuse.get_prompt(name, cache_ttl_seconds=0).prompt == "one"
    assert langfuse.get_prompt(name, label="rollback").version == 1
    assert langfuse.get_prompt(name, label="beta").version == 2, "what is not named stays"
    assert set(langfuse.get_prompt(name, version=2, cache_ttl_seconds=0).labels) == {"beta", "latest"}


def test_a_text_is_compiled(langfuse, name):
    text = "Dear {{name}}, {{ spaced }} <b>&amp;\" {{missing}} {{name}}"
    prompt = langfuse.create_prompt(name=name, prompt=text, labels=["production"])
    expected = "Dear Ada & Żółw, {x} <b>&amp;\" {{missing}} Ada & Żółw"
    for each in [prompt, langfuse.get_prompt(name)]:
        assert each.compile(name="Ada & Żółw", spaced="{x}") == expected
        assert each.variables == ["name", "spaced", "missing", "name"]


def test_a_chat_is_compiled_with_its_placeholders(langfuse, name):
    langfuse.create_prompt(name=name, type="chat", prompt=CHAT, labels=["production"])
    prompt = langfuse.get_prompt(name, type="chat")
    history = [{"role": "user", "content": "hey"}, {"role": "assistant", "content": "hi"}]
    compiled = prompt.compile(user="Ada", question="Why?", history=history)
    assert [(m["role"], m["content"]) for m in compiled] == [
        ("system", "You help Ada."),
        ("user", "hey"),
        ("assistant", "hi"),
        ("user", "Why?"),
    ]
    unresolved = prompt.compile(user="Ada", question="Why?")
    assert {"type": "placeholder", "name": "history"} in unresolved
    assert all(m["content"] != "" for m in prompt.compile(user="Ada", question="?", history=[]))


def test_names_have_folders_and_any_characters(langfuse, name):
    for tail in ["/answers/short", " with spaces", "/ŻÓŁĆ", "?a=b&c#d", "%2F", "+plus"]:
        langfuse.create_prompt(name=name + tail, prompt=tail, labels=["production"])
        assert langfuse.get_prompt(name + tail).prompt == tail
        updated = langfuse.update_prompt(name=name + tail, version=1, new_labels=["moved"])
        assert "moved" in updated.labels
    found = langfuse.api.prompts.list(name=f"{name}/answers/short").data
    assert [meta.name for meta in found] == [f"{name}/answers/short"]


def test_a_prompt_is_made_of_others(langfuse, name):
    langfuse.create_prompt(name=f"{name}-tone", prompt="Be kind, {{user}}.", labels=["production"])
    reference = f"@@@langfusePrompt:name={name}-tone|label=production@@@"
    langfuse.create_prompt(name=name, prompt=f"{reference} Answer {{{{question}}}}.", labels=["production"])
    assert langfuse.get_prompt(name).compile(user="Ada", question="it") == "Be kind, Ada. Answer it."
    langfuse.create_prompt(name=f"{name}-tone", prompt="Be brief.", labels=["production"])
    assert langfuse.get_prompt(name, cache_ttl_seconds=0).prompt == "Be brief. Answer {{question}}."
    with pytest.raises(ApiError) as caught:
        langfuse.create_prompt(name=f"{name}-x", prompt="@@@langfusePrompt:name=nothing-here|version=1@@@")
    assert caught.value.status_code == 400


def test_what_cannot_be_a_prompt_is_refused(langfuse, name):
    langfuse.create_prompt(name=name, prompt="x")
    for wrong in [
        {"name": name, "type": "chat", "prompt": CHAT},
        {"name": f"/{name}", "prompt": "x"},
        {"name": f"{name}|x", "prompt": "x"},
        {"name": f"{name}-label", "prompt": "x", "labels": ["No Label"]},
        {"name": f"{name}-long", "prompt": "x", "commit_message": "x" * 501},
    ]:
        with pytest.raises(ApiError) as caught:
            langfuse.create_prompt(**wrong)
        assert caught.value.status_code == 400, wrong
        assert caught.value.body["message"], wrong
    with pytest.raises(ApiError) as caught:
        langfuse.update_prompt(name=name, version=1, new_labels=["latest"])
    assert caught.value.status_code == 400
    with pytest.raises(ApiError) as caught:
        langfuse.api.prompts.get(name, version=1, label="latest")
    assert caught.value.status_code == 400


def test_prompts_are_listed_and_deleted(langfuse, name):
    for n in range(3):
        langfuse.create_prompt(name=f"{name}-{n}", prompt="x", labels=["production"], tags=[name], config={"n": n})
    langfuse.create_prompt(name=f"{name}-0", prompt="y")
    page = langfuse.api.prompts.list(tag=name, limit=2, page=1)
    assert (page.meta.total_items, page.meta.total_pages, page.meta.limit, len(page.data)) == (3, 2, 2, 2)
    (meta,) = langfuse.api.prompts.list(name=f"{name}-0").data
    assert sorted(meta.versions) == [1, 2] and set(meta.labels) == {"production", "latest"} and meta.tags == [name]

    langfuse.api.prompts.delete(f"{name}-0", version=2)
    assert langfuse.get_prompt(f"{name}-0", label="latest", cache_ttl_seconds=0).version == 1
    langfuse.api.prompts.delete(f"{name}-0")
    assert langfuse.api.prompts.list(name=f"{name}-0").data == []
    with pytest.raises(NotFoundError):
        langfuse.api.prompts.delete(f"{name}-0")


def test_a_prompt_stays_when_the_server_is_down(langfuse, name):
    langfuse.create_prompt(name=name, prompt="Say {{what}}", labels=["production"])
    relay = Relay(PRIVET_URL)
    client = made(base_url=relay.url)
    assert client.get_prompt(name, cache_ttl_seconds=60).compile(what="hi") == "Say hi"
    relay.cut()
    assert client.get_prompt(name, cache_ttl_seconds=60).compile(what="hi") == "Say hi", "from the cache"
    fallback = client.get_prompt(f"{name}-other", fallback="Mumble {{what}}", max_retries=0, fetch_timeout_seconds=2)
    assert fallback.is_fallback and fallback.compile(what="hi") == "Mumble hi"
    with pytest.raises(Exception):
        client.get_prompt(f"{name}-other", max_retries=0, fetch_timeout_seconds=2)
