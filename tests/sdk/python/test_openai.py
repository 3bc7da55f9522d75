"""The official OpenAI client, unmodified, does what its users do, with the models of three providers."""

import asyncio
import json

import openai
import pytest
from conftest import DEFAULT_CONTENT, PRIVET_KEY, PRIVET_URL, PROVIDERS, model_name
from pydantic import BaseModel

QUESTION = [{"role": "user", "content": "What is the weather in Oslo?"}]
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


class Person(BaseModel):
    name: str
    age: int
    likes: list[str]


def collect(stream):
    """Text, tool calls by index, finish reasons and usages of a stream."""
    text, calls, finishes, usages = "", {}, [], []
    for chunk in stream:
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finishes += [choice.finish_reason] if choice.finish_reason else []
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": None, "name": "", "arguments": ""})
                call["id"] = call["id"] or delta.id
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""
    return text, calls, finishes, usages


def dot(one, other):
    return sum(x * y for x, y in zip(one, other, strict=True))


def test_models_are_listed(client):
    listed = client.models.list()
    assert listed.object == "list"
    ids = {model.id for model in listed}
    assert model_name("openai", "gpt-4o-mini") in ids


def test_chat_answers_with_usage(client, provider):
    reply = client.chat.completions.create(model=model_name(provider, PROVIDERS[provider]), messages=QUESTION)
    choice = reply.choices[0]
    assert reply.object == "chat.completion"
    assert (choice.message.role, choice.message.content) == ("assistant", DEFAULT_CONTENT)
    assert choice.finish_reason == "stop"
    assert reply.usage.prompt_tokens > 0 and reply.usage.completion_tokens > 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_system_message_reaches_the_provider(client, mock, provider, scripted):
    messages = [{"role": "system", "content": "Speak like a pirate."}, *QUESTION]
    client.chat.completions.create(model=model_name(provider, scripted), messages=messages)
    assert "Speak like a pirate." in json.dumps(mock.requests(scripted)[-1]["body"])


def test_max_tokens_ends_with_length(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    reply = client.chat.completions.create(model=model, messages=QUESTION, max_completion_tokens=3)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 3


def test_stream_has_role_first_and_no_usage_unasked(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    chunks = list(client.chat.completions.create(model=model, messages=QUESTION, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices for chunk in chunks)
    text, _, finishes, usages = collect(chunks)
    assert (text, finishes, usages) == (DEFAULT_CONTENT, ["stop"], [])
    assert len({chunk.id for chunk in chunks}) == 1


def test_stream_without_usage_when_the_option_is_off(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    options = {"include_usage": False}
    stream = client.chat.completions.create(model=model, messages=QUESTION, stream=True, stream_options=options)
    assert collect(stream)[3] == []


def test_stream_ends_with_usage_when_asked(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=model, messages=QUESTION, stream=True, stream_options=options))
    assert chunks[-1].choices == []
    text, _, finishes, usages = collect(chunks)
    assert (text, finishes, len(usages)) == (DEFAULT_CONTENT, ["stop"], 1)
    assert usages[0].total_tokens == usages[0].prompt_tokens + usages[0].completion_tokens > 0


def test_stream_can_be_closed_early(client, mock, provider, scripted):
    mock.script(scripted, content="one two three four", hang_after_chunks=2)
    with client.chat.completions.create(model=model_name(provider, scripted), messages=QUESTION, stream=True) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
    # The connection is free again: the same client goes on.
    test_chat_answers_with_usage(client, provider)


def test_tool_loop_takes_two_steps(client, mock, provider, scripted):
    mock.script(scripted, once=True, tool_calls=[{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}])
    mock.script(scripted, content="It is 17 degrees.")
    model = model_name(provider, scripted)
    first = client.chat.completions.create(model=model, messages=QUESTION, tools=[WEATHER_TOOL])
    assert first.choices[0].finish_reason == "tool_calls"
    [call] = first.choices[0].message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Oslo", "days": 2}

    result = {"role": "tool", "tool_call_id": call.id, "content": "seventeen degrees"}
    messages = [*QUESTION, first.choices[0].message, result]
    second = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER_TOOL])
    assert second.choices[0].message.content == "It is 17 degrees."
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "seventeen degrees" in sent and "get_weather" in sent


def test_parallel_tool_calls_stream_apart(client, mock, provider, scripted):
    cities = ["Oslo", "Bergen", "Tromsø"]
    mock.script(scripted, tool_calls=[{"name": "get_weather", "arguments": {"city": city}} for city in cities])
    model = model_name(provider, scripted)
    stream = client.chat.completions.create(model=model, messages=QUESTION, tools=[WEATHER_TOOL], stream=True)
    _, calls, finishes, _ = collect(stream)
    assert list(calls) == [0, 1, 2]
    assert [json.loads(call["arguments"])["city"] for call in calls.values()] == cities
    assert {call["name"] for call in calls.values()} == {"get_weather"}
    assert len({call["id"] for call in calls.values()}) == 3
    assert finishes == ["tool_calls"]


def test_stream_helper_of_the_sdk_assembles_tool_calls(client, mock, provider, scripted):
    mock.script(scripted, tool_calls=[{"name": "get_weather", "arguments": {"city": "Oslo"}}])
    # The helper parses arguments, so it takes strict tools alone.
    function = {**WEATHER_TOOL["function"], "strict": True}
    tool = {"type": "function", "function": function}
    model = model_name(provider, scripted)
    with client.chat.completions.stream(model=model, messages=QUESTION, tools=[tool]) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert "tool_calls.function.arguments.done" in kinds
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Oslo"}


def test_structured_output_is_parsed(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    reply = client.chat.completions.parse(model=model, messages=QUESTION, response_format=Person)
    assert reply.choices[0].message.parsed == Person(name="text", age=1, likes=["text"])


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_embeddings_of_several_texts(client, encoding):
    extra = {} if encoding is None else {"encoding_format": encoding}
    model = model_name("openai", "text-embedding-3-small")
    reply = client.embeddings.create(model=model, input=["a red fox", "the red fox", "tax law"], **extra)
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert reply.usage.prompt_tokens > 0
    if encoding != "base64":
        a, b, c = (item.embedding for item in reply.data)
        assert len(a) == 1536 and dot(a, b) > 0.6 and dot(a, c) < 0.4


def test_refused_request_is_bad_request_error(client, mock, provider, scripted):
    mock.script(scripted, status=400, error_message="top_p is out of range")
    with pytest.raises(openai.BadRequestError, match="top_p is out of range"):
        client.chat.completions.create(model=model_name(provider, scripted), messages=QUESTION)


def test_model_unknown_to_the_provider_is_not_found_error(client, mock, provider, scripted):
    mock.script(scripted, status=404)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=model_name(provider, scripted), messages=QUESTION)


@pytest.mark.parametrize("stream", [False, True])
def test_rate_limit_error_carries_retry_after(client, mock, provider, scripted, stream):
    mock.script(scripted, status=429, headers={"retry-after": "27"})
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=model_name(provider, scripted), messages=QUESTION, stream=stream)
    # A gateway may have counted some of it down.
    assert 20 <= int(caught.value.response.headers["retry-after"]) <= 27


@pytest.mark.parametrize("stream", [False, True])
def test_failure_of_the_provider_is_internal_server_error(client, mock, provider, scripted, stream):
    mock.script(scripted, status=500)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=model_name(provider, scripted), messages=QUESTION, stream=stream)
    assert caught.value.status_code >= 500


def test_error_in_the_middle_of_a_stream_is_raised(client, mock, provider, scripted):
    mock.script(scripted, content="one two three", error_inside_200={"after_chunks": 2})
    text = ""
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(
            model=model_name(provider, scripted), messages=QUESTION, stream=True
        ):
            text += chunk.choices[0].delta.content or ""
    assert text == "one two "


def test_async_client_streams_too(provider):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{PRIVET_URL}/v1", api_key=PRIVET_KEY, max_retries=0) as client:
            model = model_name(provider, PROVIDERS[provider])
            text = ""
            async for chunk in await client.chat.completions.create(model=model, messages=QUESTION, stream=True):
                text += chunk.choices[0].delta.content or ""
            return text

    assert asyncio.run(ask()) == DEFAULT_CONTENT


def test_pictures_are_made(client, mock):
    model = "test-py-pictures"
    made = client.images.generate(model=model_name("openai", model), prompt="a cat", n=2, size="1024x1024")
    assert len(made.data) == 2 and made.data[0].b64_json
    assert made.usage.output_tokens > 0
    assert mock.requests(model)[-1]["body"] == {"model": model, "prompt": "a cat", "n": 2, "size": "1024x1024"}
    with pytest.raises(openai.BadRequestError):
        client.images.generate(model=model_name("anthropic", "claude-sonnet-4-5"), prompt="a cat")


def test_texts_are_moderated(client):
    judged = client.moderations.create(input=["one", "two"])
    assert [result.flagged for result in judged.results] == [False, False]
    assert client.moderations.create(model=model_name("openai", "omni-moderation-latest"), input="x").id


def test_a_text_is_spoken(client, mock):
    model = "test-py-speech"
    asked = {"model": model_name("openai", model), "voice": "alloy", "input": "hey"}
    with client.audio.speech.with_streaming_response.create(**asked) as spoken:
        assert spoken.headers["content-type"] == "audio/mpeg"
        assert b"".join(spoken.iter_bytes())
    assert mock.requests(model)[-1]["body"] == {"model": model, "voice": "alloy", "input": "hey"}


def test_a_recording_is_written_down(client, mock):
    bare = "test-py-gpt-recording"
    model, file = model_name("openai", bare), ("a.wav", bytes(64), "audio/wav")
    heard = client.audio.transcriptions.create(model=model, file=file, include=["logprobs"])
    assert heard.text == DEFAULT_CONTENT
    body = mock.requests(bare)[-1]["body"]
    assert (body["model"], body["include[]"], body["file"]["bytes"]) == (bare, "logprobs", 64)
    events = client.audio.transcriptions.create(model=model, file=file, stream=True)
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert "".join(deltas) == DEFAULT_CONTENT
    assert client.audio.transcriptions.create(model=model, file=file, response_format="text").strip() == DEFAULT_CONTENT
    assert client.audio.translations.create(model=model, file=file).text == DEFAULT_CONTENT
