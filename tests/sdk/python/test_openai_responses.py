"""The official OpenAI client, unmodified: the Responses API, with the models of three providers."""

import asyncio
import base64
import json

import openai
import pytest
from conftest import DEFAULT_CONTENT, PRIVET_KEY, PRIVET_URL, PROVIDERS, model_name
from pydantic import BaseModel

QUESTION = "What is the weather in Oslo?"
WEATHER_TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


class Person(BaseModel):
    name: str
    age: int
    likes: list[str]


def calls_of(response):
    return [item for item in response.output if item.type == "function_call"]


def output_of(call, text="seventeen degrees"):
    return {"type": "function_call_output", "call_id": call.call_id, "output": text}


def test_response_is_made_read_and_deleted(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    made = client.responses.create(model=model, input=QUESTION, instructions="Be brief.", metadata={"team": "blue"})
    assert (made.object, made.status, made.output_text) == ("response", "completed", DEFAULT_CONTENT)
    assert made.usage.input_tokens > 0 and made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert (made.instructions, made.metadata, made.id[:5]) == ("Be brief.", {"team": "blue"}, "resp_")
    assert client.responses.retrieve(made.id) == made
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_instructions_reach_the_provider(client, mock, provider, scripted):
    client.responses.create(model=model_name(provider, scripted), input=QUESTION, instructions="Speak like a pirate.")
    assert "Speak like a pirate." in json.dumps(mock.requests(scripted)[-1]["body"])


def test_input_items_are_listed_page_by_page(client, provider):
    said = [{"role": "user", "content": f"item {number}"} for number in range(5)]
    made = client.responses.create(model=model_name(provider, PROVIDERS[provider]), input=said)
    items = list(client.responses.input_items.list(made.id, order="asc", limit=2))
    assert [item.content[0].text for item in items] == [f"item {number}" for number in range(5)]
    newest = client.responses.input_items.list(made.id, limit=1)
    assert (newest.data[0].content[0].text, newest.has_more) == ("item 4", True)


def test_stream_is_sound_from_created_to_completed(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    events = list(client.responses.create(model=model, input=QUESTION, stream=True))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert (last.type, text, last.response.output_text) == ("response.completed", DEFAULT_CONTENT, DEFAULT_CONTENT)
    assert last.response.usage.output_tokens > 0
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1
    assert client.responses.retrieve(last.response.id).output_text == DEFAULT_CONTENT


def test_stream_helper_assembles_text_and_calls(client, mock, provider, scripted):
    cities = ["Oslo", "Bergen", "Tromsø"]
    mock.script(scripted, tool_calls=[{"name": "get_weather", "arguments": {"city": city}} for city in cities])
    with client.responses.stream(
        model=model_name(provider, scripted), input=QUESTION, tools=[{**WEATHER_TOOL, "strict": True}]
    ) as stream:
        kinds = {event.type for event in stream}
        response = stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds
    assert [json.loads(call.arguments)["city"] for call in calls_of(response)] == cities
    assert [call.parsed_arguments for call in calls_of(response)] == [{"city": city} for city in cities]


@pytest.mark.parametrize("stream", [False, True])
def test_tool_loop_goes_on_by_previous_response_id(client, mock, provider, scripted, stream):
    mock.script(scripted, once=True, tool_calls=[{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}])
    mock.script(scripted, content="It is 17 degrees.")
    model = model_name(provider, scripted)
    asked = {"model": model, "input": QUESTION, "tools": [WEATHER_TOOL]}
    if stream:
        # The next request goes out the moment the last event is read.
        first = [event for event in client.responses.create(**asked, stream=True)][-1].response
    else:
        first = client.responses.create(**asked)
    [call] = calls_of(first)
    assert json.loads(call.arguments) == {"city": "Oslo", "days": 2}
    second = client.responses.create(
        model=model, input=[output_of(call)], tools=[WEATHER_TOOL], previous_response_id=first.id
    )
    assert (second.output_text, second.previous_response_id) == ("It is 17 degrees.", first.id)
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "seventeen degrees" in sent and "get_weather" in sent and QUESTION in sent


def test_tool_loop_of_a_client_that_keeps_all_itself(client, mock, provider, scripted):
    mock.script(scripted, once=True, tool_calls=[{"name": "get_weather", "arguments": {"city": "Oslo"}}])
    mock.script(scripted, content="It is 17 degrees.")
    asked = {
        "model": model_name(provider, scripted),
        "tools": [WEATHER_TOOL],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    said = [{"role": "user", "content": QUESTION}]
    first = client.responses.create(input=said, **asked)
    said += first.output
    said += [output_of(call) for call in calls_of(first)]
    second = client.responses.create(input=said, **asked)
    assert second.output_text == "It is 17 degrees."
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def test_kept_items_can_be_referred_to(client, mock, provider, scripted):
    model = model_name(provider, scripted)
    first = client.responses.create(model=model, input="My cat is Filemon.")
    said = [{"type": "item_reference", "id": item.id} for item in first.output]
    client.responses.create(model=model, input=[*said, {"role": "user", "content": QUESTION}])
    assert DEFAULT_CONTENT in json.dumps(mock.requests(scripted)[-1]["body"])


def test_structured_output_is_parsed(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    reply = client.responses.parse(model=model, input=QUESTION, text_format=Person)
    assert reply.output_parsed == Person(name="text", age=1, likes=["text"])
    with client.responses.stream(model=model, input=QUESTION, text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(name="text", age=1, likes=["text"])


def test_picture_reaches_the_provider(client, mock, provider, scripted):
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
    ]
    client.responses.create(model=model_name(provider, scripted), input=[{"role": "user", "content": content}])
    assert PIXEL in json.dumps(mock.requests(scripted)[-1]["body"])


def test_output_limit_ends_as_incomplete(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    reply = client.responses.create(model=model, input=QUESTION, max_output_tokens=3)
    assert (reply.status, reply.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_unknown_previous_response_is_bad_request_error(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=model, input=QUESTION, previous_response_id="resp_unknown")
    assert caught.value.code == "previous_response_not_found"


def test_cancel_of_what_is_done_is_bad_request_error(client, provider):
    made = client.responses.create(model=model_name(provider, PROVIDERS[provider]), input=QUESTION)
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(made.id)


def test_hosted_tool_is_bad_request_error(client, provider):
    model = model_name(provider, PROVIDERS[provider])
    with pytest.raises(openai.BadRequestError, match="web_search"):
        client.responses.create(model=model, input=QUESTION, tools=[{"type": "web_search"}])


def test_failure_in_the_middle_of_a_stream_ends_as_failed(client, mock, provider, scripted):
    mock.script(scripted, content="one two three", error_inside_200={"after_chunks": 2})
    events = list(client.responses.create(model=model_name(provider, scripted), input=QUESTION, stream=True))
    assert (events[-1].type, events[-1].response.status) == ("response.failed", "failed")
    assert events[-1].response.error.message
    assert "response.completed" not in {event.type for event in events}


def test_tokens_are_counted(client, provider):
    if provider == "openai":
        with pytest.raises(openai.BadRequestError):
            client.responses.input_tokens.count(model=model_name(provider, PROVIDERS[provider]), input=QUESTION)
        return
    counted = client.responses.input_tokens.count(model=model_name(provider, PROVIDERS[provider]), input=QUESTION)
    assert (counted.object, counted.input_tokens > 0) == ("response.input_tokens", True)


def test_async_client_streams_too(provider):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{PRIVET_URL}/v1", api_key=PRIVET_KEY, max_retries=0) as client:
            model = model_name(provider, PROVIDERS[provider])
            text = ""
            async for event in await client.responses.create(model=model, input=QUESTION, stream=True):
                text += event.delta if event.type == "response.output_text.delta" else ""
            return text

    assert asyncio.run(ask()) == DEFAULT_CONTENT
