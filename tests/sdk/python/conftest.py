"""Where the server and its mock upstream are, and how to script the mock.

`PRIVET_URL`, `PRIVET_KEY` and `MOCK_URL` come from the environment, and `PRIVET_PUBLIC_KEY` and `PRIVET_SECRET_KEY`, the pair for
Langfuse's SDKs. With `PRIVET_MODEL_PREFIX=""` the model names carry no
provider, so that `test_openai.py` can be run against the mock itself (`PRIVET_URL` = `MOCK_URL`).
"""

import json
import os
import urllib.request

import openai
import pytest

PRIVET_URL = os.environ["PRIVET_URL"].rstrip("/")
PRIVET_KEY = os.environ["PRIVET_KEY"]
PRIVET_PUBLIC_KEY = os.environ.get("PRIVET_PUBLIC_KEY", "")
PRIVET_SECRET_KEY = os.environ.get("PRIVET_SECRET_KEY", "")
MOCK_URL = os.environ["MOCK_URL"].rstrip("/")
PREFIXED = os.environ.get("PRIVET_MODEL_PREFIX") != ""

# Each provider with a model of its own that nothing is scripted for.
PROVIDERS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}

DEFAULT_CONTENT = "The mock upstream answers every question with this sentence."

# The servers are on this machine, whatever proxy the developer uses.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url, body=None, key=None):
    """A JSON call past the SDK; returns the parsed answer."""
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    with _opener.open(urllib.request.Request(url, data=data, headers=headers), timeout=30) as reply:
        return json.load(reply)


def model_name(provider, model):
    return f"{provider}/{model}" if PREFIXED else model


class Mock:
    """The mock upstream, told what to answer by the model's name, which is a test's own."""

    def script(self, model, *, once=False, **behaviour):
        call(f"{MOCK_URL}/script", {"model": model, "once": once, "behaviour": behaviour})

    def requests(self, model):
        """What the provider was asked with this model, the oldest first."""
        sent = call(f"{MOCK_URL}/requests")
        return [r for r in sent if (r["body"] or {}).get("model") == model or f"/models/{model}:" in r["path"]]


@pytest.fixture(scope="session")
def mock():
    return Mock()


@pytest.fixture(scope="session")
def client():
    # No retries: a test sees the first answer.
    with openai.OpenAI(base_url=f"{PRIVET_URL}/v1", api_key=PRIVET_KEY, max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture(params=PROVIDERS)
def provider(request):
    return request.param


@pytest.fixture
def scripted(request, provider):
    """A model name that no other test uses, at the provider."""
    return f"test-py-{request.node.originalname.removeprefix('test_').replace('_', '-')}-{provider}"
