"""What Privet adds or mends, seen through the official OpenAI client. Not to be run against the mock itself."""

import json

import openai
import pytest
from conftest import DEFAULT_CONTENT, PRIVET_KEY, PRIVET_URL, PROVIDERS, call, model_name

QUESTION = [{"role": "user", "content": "What is the weather in Oslo?"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def new_conversation():
    return call(f"{PRIVET_URL}/api/conversations", {}, key=PRIVET_KEY)["id"]


def history(conversation_id):
    messages = call(f"{PRIVET_URL}/api/conversations/{conversation_id}", key=PRIVET_KEY)["messages"]
    return [(message["role"], message["content"]) for message in messages]


def test_wrong_key_is_authentication_error(client):
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="openai/gpt-4o-mini", messages=QUESTION)


def test_unknown_provider_is_not_found_error_naming_the_model(client):
    with pytest.raises(openai.NotFoundError, match="nosuch/model"):
        client.chat.completions.create(model="nosuch/model", messages=QUESTION)


def test_request_without_messages_is_bad_request_error(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="openai/gpt-4o-mini", messages=[])
    assert caught.value.response.headers["x-request-id"]


def test_conversation_goes_on_by_header(client, mock, provider, scripted):
    model, conversation = model_name(provider, scripted), new_conversation()
    headers = {"x-conversation-id": conversation}
    for text in ["My name is Ada.", "What is my name?"]:
        messages = [{"role": "user", "content": text}]
        client.chat.completions.create(model=model, messages=messages, extra_headers=headers)
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "My name is Ada." in sent and DEFAULT_CONTENT in sent and "What is my name?" in sent
    assert history(conversation) == [
        ("user", "My name is Ada."),
        ("assistant", DEFAULT_CONTENT),
        ("user", "What is my name?"),
        ("assistant", DEFAULT_CONTENT),
    ]


def test_conversation_goes_on_by_metadata_and_stream(client, mock, provider, scripted):
    model, conversation = model_name(provider, scripted), new_conversation()
    metadata = {"conversation_id": conversation}
    for text in ["My name is Ada.", "What is my name?"]:
        messages = [{"role": "user", "content": text}]
        for _ in client.chat.completions.create(model=model, messages=messages, metadata=metadata, stream=True):
            pass
    assert "My name is Ada." in json.dumps(mock.requests(scripted)[-1]["body"])
    assert [role for role, _ in history(conversation)] == ["user", "assistant", "user", "assistant"]


def test_answer_names_the_conversation_it_began(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
    conversation = raw.headers["x-conversation-id"]
    assert history(conversation) == [("user", QUESTION[0]["content"]), ("assistant", DEFAULT_CONTENT)]


def test_unknown_conversation_is_not_found_error(client):
    headers = {"x-conversation-id": "0198c0de-0000-7000-8000-000000000000"}
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="openai/gpt-4o-mini", messages=QUESTION, extra_headers=headers)


@pytest.mark.parametrize("index", ["omit", "repeat", "gap", "interleaved"])
def test_tool_calls_are_numbered_whatever_the_provider_sends(client, mock, index):
    name = f"test-py-numbered-{index}"
    calls = [{"name": "f", "arguments": {"n": n}} for n in range(3)]
    mock.script(name, tool_calls=calls, tool_index=index)
    stream = client.chat.completions.create(model=f"openai/{name}", messages=QUESTION, tools=[TOOL], stream=True)
    arguments = {}
    for chunk in stream:
        for choice in chunk.choices:
            for delta in choice.delta.tool_calls or []:
                arguments[delta.index] = arguments.get(delta.index, "") + (delta.function.arguments or "")
    assert {n: json.loads(text) for n, text in arguments.items()} == {n: {"n": n} for n in range(3)}


@pytest.mark.parametrize("stream", [False, True])
def test_tool_call_without_arguments_has_an_empty_object(client, mock, provider, scripted, stream):
    mock.script(scripted, tool_calls=[{"name": "f"}], empty_arguments=True)
    model = model_name(provider, scripted)
    reply = client.chat.completions.create(model=model, messages=QUESTION, tools=[TOOL], stream=stream)
    if not stream:
        assert reply.choices[0].message.tool_calls[0].function.arguments == "{}"
        return
    deltas = [d for c in reply for choice in c.choices for d in choice.delta.tool_calls or []]
    assert "".join(delta.function.arguments or "" for delta in deltas) == "{}"


def test_cut_stream_ends_in_an_error(client, mock, provider, scripted):
    mock.script(scripted, content="one two three", cut_after_chunks=2)
    text = ""
    with pytest.raises(openai.APIError):
        stream = client.chat.completions.create(model=model_name(provider, scripted), messages=QUESTION, stream=True)
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text == "one two "


def test_malformed_answer_is_bad_gateway(client, mock, provider, scripted):
    mock.script(scripted, malformed="bad_json")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model_name(provider, scripted), messages=QUESTION)
    assert caught.value.status_code == 502
