"""The official Anthropic client, unmodified, does what its users do, with the models of three providers."""

import asyncio
import json

import anthropic
import pytest
from conftest import DEFAULT_CONTENT, PRIVET_KEY, PRIVET_URL, PROVIDERS, call, model_name
from pydantic import BaseModel

QUESTION = [{"role": "user", "content": "What is the weather in Oslo?"}]
WEATHER_TOOL = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Person(BaseModel):
    name: str
    age: int
    likes: list[str]


@pytest.fixture(scope="session")
def claude():
    # No retries: a test sees the first answer.
    with anthropic.Anthropic(base_url=PRIVET_URL, api_key=PRIVET_KEY, max_retries=0, timeout=60) as made:
        yield made


def ask(model, **more):
    return {"model": model, "max_tokens": 1024, "messages": QUESTION, **more}


def test_models_are_listed_page_by_page(claude):
    ids = [model.id for model in claude.models.list(limit=3)]
    assert model_name("anthropic", "claude-sonnet-4-5") in ids and model_name("openai", "gpt-4o-mini") in ids
    assert len(set(ids)) == len(ids) > 3
    one = claude.models.retrieve(model_name("anthropic", "claude-sonnet-4-5"))
    assert (one.type, one.display_name, one.created_at.year) == ("model", one.id, 1970)


def test_a_message_is_answered_with_usage(claude, provider):
    message = claude.messages.create(**ask(model_name(provider, PROVIDERS[provider])))
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert [block.text for block in message.content] == [DEFAULT_CONTENT]
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message._request_id


def test_system_in_blocks_reaches_the_provider(claude, mock, provider, scripted):
    system = [{"type": "text", "text": "Speak like a pirate."}]
    system += [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    request = ask(model_name(provider, scripted), system=system, stop_sequences=["END"])
    # The client of this version has no words of its own for the sampling.
    claude.messages.create(**request, extra_body={"temperature": 0.5, "top_p": 0.9})
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "Speak like a pirate." in sent and "Be brief." in sent and "END" in sent and "0.5" in sent
    assert ("cache_control" in sent) == (provider == "anthropic")


def test_max_tokens_ends_with_max_tokens(claude, provider):
    request = {**ask(model_name(provider, PROVIDERS[provider])), "max_tokens": 3}
    message = claude.messages.create(**request)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)


def test_a_stream_is_put_together_by_the_sdk(claude, provider):
    with claude.messages.stream(**ask(model_name(provider, PROVIDERS[provider]))) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == DEFAULT_CONTENT == message.content[0].text
    assert (message.stop_reason, len(message.content)) == ("end_turn", 1)
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert stream.request_id


def test_raw_events_of_a_stream_have_their_order(claude, provider):
    events = list(claude.messages.create(**ask(model_name(provider, PROVIDERS[provider])), stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds.count("message_start") == 1
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1


def test_a_stream_can_be_closed_early(claude, mock, provider, scripted):
    mock.script(scripted, content="one two three four", hang_after_chunks=2)
    with claude.messages.stream(**ask(model_name(provider, scripted))) as stream:
        for text in stream.text_stream:
            assert text
            break
    # The connection is free again: the same client goes on.
    test_a_message_is_answered_with_usage(claude, provider)


def test_tool_loop_takes_two_steps(claude, mock, provider, scripted):
    mock.script(scripted, once=True, tool_calls=[{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}])
    mock.script(scripted, content="It is 17 degrees.")
    request = ask(model_name(provider, scripted), tools=[WEATHER_TOOL])
    first = claude.messages.create(**request)
    assert first.stop_reason == "tool_use"
    [tool_use] = [block for block in first.content if block.type == "tool_use"]
    assert (tool_use.name, tool_use.input) == ("get_weather", {"city": "Oslo", "days": 2})

    result = {"type": "tool_result", "tool_use_id": tool_use.id, "content": "seventeen degrees"}
    messages = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = claude.messages.create(**{**request, "messages": messages})
    assert second.content[0].text == "It is 17 degrees."
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "seventeen degrees" in sent and "get_weather" in sent


@pytest.mark.parametrize("index", ["normal", "interleaved"])
def test_parallel_tool_calls_stream_apart(claude, mock, provider, scripted, index):
    cities = ["Oslo", "Bergen", "Tromsø"]
    calls = [{"name": "get_weather", "arguments": {"city": city}} for city in cities]
    mock.script(scripted, tool_calls=calls, tool_index=index)
    with claude.messages.stream(**ask(model_name(provider, scripted), tools=[WEATHER_TOOL])) as stream:
        partial = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    assert partial
    tool_uses = [block for block in message.content if block.type == "tool_use"]
    assert [tool_use.input for tool_use in tool_uses] == [{"city": city} for city in cities]
    assert len({tool_use.id for tool_use in tool_uses}) == 3
    assert message.stop_reason == "tool_use"


def test_tool_runner_of_the_sdk_runs_the_loop_by_itself(claude, mock, provider, scripted):
    mock.script(scripted, once=True, tool_calls=[{"name": "get_weather", "arguments": {"city": "Oslo"}}])
    asked = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: Its name.
        """
        asked.append(city)
        return "seventeen degrees"

    runner = claude.beta.messages.tool_runner(**ask(model_name(provider, scripted), tools=[get_weather]))
    message = runner.until_done()
    assert (asked, message.content[0].text) == (["Oslo"], DEFAULT_CONTENT)


def test_images_reach_the_provider_in_a_message_and_in_a_result(claude, mock, provider, scripted):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    by_url = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image, by_url]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [image], "is_error": True}],
        },
    ]
    request = {**ask(model_name(provider, scripted), tools=[WEATHER_TOOL]), "messages": messages}
    claude.messages.create(**request)
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert sent.count(PIXEL) == 2 and "https://example.com/cat.png" in sent


def test_thinking_is_shown_and_goes_back(claude, mock, provider, scripted):
    mock.script(scripted, once=True, thinking="Let me see.", signature="c2lnbmF0dXJl", content="Sunny.")
    request = ask(model_name(provider, scripted), thinking={"type": "enabled", "budget_tokens": 1024})
    request["max_tokens"] = 4096
    with claude.messages.stream(**request) as stream:
        thought = "".join(event.thinking for event in stream if event.type == "thinking")
        message = stream.get_final_message()
    assert thought == "Let me see." == message.content[0].thinking
    messages = [*QUESTION, {"role": "assistant", "content": message.content}, {"role": "user", "content": "Sure?"}]
    claude.messages.create(**{**request, "messages": messages})
    sent = mock.requests(scripted)[-1]["body"]
    if provider == "anthropic":
        block = sent["messages"][1]["content"][0]
        assert (block["thinking"], block["signature"]) == ("Let me see.", "c2lnbmF0dXJl")
    else:
        assert "Let me see." not in json.dumps(sent)


def test_structured_output_is_parsed(claude, provider):
    message = claude.messages.parse(**ask(model_name(provider, PROVIDERS[provider])), output_format=Person)
    assert message.parsed_output == Person(name="text", age=1, likes=["text"])


def test_betas_and_the_version_reach_anthropic_alone(claude, mock, provider, scripted):
    betas = ["interleaved-thinking-2025-05-14", "context-management-2025-06-27"]
    claude.beta.messages.create(**ask(model_name(provider, scripted)), betas=betas)
    sent = mock.requests(scripted)[-1]
    if provider == "anthropic":
        assert sent["path"].startswith("/v1/messages")
        assert sent["headers"]["anthropic-beta"] == ",".join(betas)
        assert sent["headers"]["anthropic-version"] == claude.default_headers["anthropic-version"]
    else:
        assert "anthropic-beta" not in sent["headers"] and "anthropic-version" not in sent["headers"]


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_tokens_are_counted_where_the_provider_counts(claude, provider, system):
    request = {"model": model_name(provider, PROVIDERS[provider]), "messages": QUESTION, "system": system}
    if provider == "openai":
        with pytest.raises(anthropic.BadRequestError, match="count of tokens"):
            claude.messages.count_tokens(**request, tools=[WEATHER_TOOL])
    else:
        assert claude.messages.count_tokens(**request, tools=[WEATHER_TOOL]).input_tokens >= 8


def test_what_a_provider_cannot_do_is_a_bad_request_that_names_the_field(claude, mock, provider, scripted):
    search = {"type": "web_search_20250305", "name": "web_search"}
    request = ask(model_name(provider, scripted), tools=[search])
    if provider == "anthropic":
        claude.messages.create(**request)
        assert mock.requests(scripted)[-1]["body"]["tools"] == [search]
        return
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(**request)
    error = caught.value
    assert (error.type, error.body["error"]["details"]["param"]) == ("invalid_request_error", "tools[0].type")
    assert error.error_code == "unsupported_by_provider" and error.request_id


def test_refused_request_is_bad_request_error(claude, mock, provider, scripted):
    mock.script(scripted, status=400, error_message="top_p is out of range")
    with pytest.raises(anthropic.BadRequestError, match="top_p is out of range"):
        claude.messages.create(**ask(model_name(provider, scripted)))


def test_model_unknown_to_the_provider_is_not_found_error(claude, mock, provider, scripted):
    mock.script(scripted, status=404)
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**ask(model_name(provider, scripted)))


def test_a_wrong_key_is_authentication_error():
    with anthropic.Anthropic(base_url=PRIVET_URL, api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            stranger.messages.create(**ask("gpt-4o-mini"))
    assert caught.value.type == "authentication_error"


def test_a_token_is_accepted_as_well_as_a_key(provider):
    with anthropic.Anthropic(base_url=PRIVET_URL, auth_token=PRIVET_KEY, max_retries=0) as bearer:
        message = bearer.messages.create(**ask(model_name(provider, PROVIDERS[provider])))
    assert message.content[0].text == DEFAULT_CONTENT


@pytest.mark.parametrize("stream", [False, True])
def test_rate_limit_error_carries_retry_after(claude, mock, provider, scripted, stream):
    mock.script(scripted, status=429, headers={"retry-after": "27"})
    with pytest.raises(anthropic.RateLimitError) as caught:
        claude.messages.create(**ask(model_name(provider, scripted)), stream=stream)
    # A gateway may have counted some of it down.
    assert 20 <= int(caught.value.response.headers["retry-after"]) <= 27


@pytest.mark.parametrize("stream", [False, True])
def test_failure_of_the_provider_is_internal_server_error(claude, mock, provider, scripted, stream):
    mock.script(scripted, status=500)
    with pytest.raises(anthropic.InternalServerError):
        claude.messages.create(**ask(model_name(provider, scripted)), stream=stream)
    mock.script(scripted, status=529)
    with pytest.raises(anthropic.OverloadedError):
        claude.messages.create(**ask(model_name(provider, scripted)), stream=stream)


def test_error_in_the_middle_of_a_stream_is_raised(claude, mock, provider, scripted):
    mock.script(scripted, content="one two three", error_inside_200={"after_chunks": 2})
    text = ""
    with pytest.raises(anthropic.APIStatusError):
        with claude.messages.stream(**ask(model_name(provider, scripted))) as stream:
            for piece in stream.text_stream:
                text += piece
    assert text == "one two "


def test_a_conversation_is_continued_by_its_id(claude, mock, provider, scripted):
    raw = claude.messages.with_raw_response.create(**ask(model_name(provider, scripted)))
    conversation = raw.headers["x-conversation-id"]
    more = {**ask(model_name(provider, scripted)), "messages": [{"role": "user", "content": "And tomorrow?"}]}
    claude.messages.create(**more, extra_headers={"x-conversation-id": conversation})
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "in Oslo" in sent and "And tomorrow?" in sent
    kept = call(f"{PRIVET_URL}/api/conversations/{conversation}", key=PRIVET_KEY)
    assert [message["role"] for message in kept["messages"]] == ["user", "assistant"] * 2


def test_async_client_streams_too(provider):
    async def run():
        async with anthropic.AsyncAnthropic(base_url=PRIVET_URL, api_key=PRIVET_KEY, max_retries=0) as client:
            async with client.messages.stream(**ask(model_name(provider, PROVIDERS[provider]))) as stream:
                return "".join([text async for text in stream.text_stream])

    assert asyncio.run(run()) == DEFAULT_CONTENT
