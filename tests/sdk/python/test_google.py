"""The official Gemini client, unmodified, does what its users do, with the models of three providers."""

import asyncio
import base64
import json

import pytest
from conftest import DEFAULT_CONTENT, PRIVET_KEY, PRIVET_URL, PROVIDERS, call, model_name
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

QUESTION = "What is the weather in Oslo?"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            description="The weather of a city.",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={"city": types.Schema(type=types.Type.STRING), "days": types.Schema(type=types.Type.INTEGER)},
                required=["city"],
            ),
        )
    ]
)


class Person(BaseModel):
    name: str
    age: int
    likes: list[str]


def options(**more):
    return types.HttpOptions(base_url=PRIVET_URL, timeout=60_000, **more)


@pytest.fixture(scope="session")
def google():
    with genai.Client(api_key=PRIVET_KEY, http_options=options()) as made:
        yield made


def config(**more):
    return types.GenerateContentConfig(
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True), max_output_tokens=1024, **more
    )


def test_models_are_listed_page_by_page(google):
    names = [model.name for model in google.models.list(config={"page_size": 3})]
    assert f"models/{model_name('openai', 'gpt-4o-mini')}" in names
    assert len(set(names)) == len(names) > 3
    one = google.models.get(model=model_name("gemini", "gemini-2.5-flash"))
    assert one.display_name == model_name("gemini", "gemini-2.5-flash")
    assert "generateContent" in one.supported_actions
    # What is listed can be asked.
    assert google.models.generate_content(model=one.name, contents=QUESTION).text == DEFAULT_CONTENT


def test_a_question_is_answered_with_usage(google, provider):
    reply = google.models.generate_content(model=model_name(provider, PROVIDERS[provider]), contents=QUESTION)
    assert reply.text == DEFAULT_CONTENT
    assert reply.candidates[0].finish_reason == types.FinishReason.STOP
    usage = reply.usage_metadata
    assert usage.prompt_token_count > 0 and usage.candidates_token_count > 0
    assert reply.response_id and reply.model_version


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_either_version_of_the_api_is_served(provider, version):
    with genai.Client(api_key=PRIVET_KEY, http_options=options(api_version=version)) as client:
        model = model_name(provider, PROVIDERS[provider])
        assert client.models.generate_content(model=model, contents=QUESTION).text == DEFAULT_CONTENT
        assert client.models.get(model=model_name("openai", "gpt-4o-mini")).name


def test_instructions_and_parameters_reach_the_provider(google, mock, provider, scripted):
    said = config(system_instruction="Speak like a pirate.", temperature=0.5, top_p=0.9, stop_sequences=["END"])
    google.models.generate_content(model=model_name(provider, scripted), contents=QUESTION, config=said)
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "Speak like a pirate." in sent and "END" in sent and "0.5" in sent and "0.9" in sent and "1024" in sent


def test_max_output_tokens_ends_with_max_tokens(google, provider):
    few = types.GenerateContentConfig(max_output_tokens=3)
    reply = google.models.generate_content(model=model_name(provider, PROVIDERS[provider]), contents=QUESTION, config=few)
    assert reply.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert reply.usage_metadata.candidates_token_count == 3


def test_a_stream_is_read_to_its_end(google, provider):
    model = model_name(provider, PROVIDERS[provider])
    pieces = list(google.models.generate_content_stream(model=model, contents=QUESTION))
    assert "".join(piece.text or "" for piece in pieces) == DEFAULT_CONTENT
    assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert pieces[-1].usage_metadata.total_token_count > 0


def test_a_chat_goes_on_with_its_whole_history(google, mock, provider, scripted):
    chat = google.chats.create(model=model_name(provider, scripted))
    assert chat.send_message("My cat is Filemon.").text == DEFAULT_CONTENT
    streamed = "".join(piece.text or "" for piece in chat.send_message_stream("And my cat?"))
    assert streamed == DEFAULT_CONTENT
    # The client keeps an answer only where each piece of it is sound.
    assert [content.role for content in chat.get_history(curated=True)][:3] == ["user", "model", "user"]
    assert chat.send_message("Sure?").text == DEFAULT_CONTENT
    sent = mock.requests(scripted)[-1]["body"]
    assert json.dumps(sent).count(DEFAULT_CONTENT) == 2 or provider == "gemini"
    if provider != "gemini":
        assert len(sent["messages"]) == 5


def test_tool_loop_takes_two_steps(google, mock, provider, scripted):
    mock.script(scripted, once=True, tool_calls=[{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}])
    mock.script(scripted, content="It is 17 degrees.")
    request = {"model": model_name(provider, scripted), "config": config(tools=[WEATHER])}
    first = google.models.generate_content(contents=QUESTION, **request)
    [asked] = first.function_calls
    assert (asked.name, asked.args) == ("get_weather", {"city": "Oslo", "days": 2})
    # The client has no place for the call's id here: it is known by its name.
    result = types.Part.from_function_response(name="get_weather", response={"degrees": "seventeen"})
    contents = [
        types.UserContent(parts=[types.Part(text=QUESTION)]),
        first.candidates[0].content,
        types.Content(role="user", parts=[result]),
    ]
    second = google.models.generate_content(contents=contents, **request)
    assert second.text == "It is 17 degrees."
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "seventeen" in sent and "get_weather" in sent


@pytest.mark.parametrize("index", ["normal", "interleaved"])
def test_parallel_tool_calls_stream_apart(google, mock, provider, scripted, index):
    cities = ["Oslo", "Bergen", "Tromsø"]
    calls = [{"name": "get_weather", "arguments": {"city": city}} for city in cities]
    mock.script(scripted, tool_calls=calls, tool_index=index)
    stream = google.models.generate_content_stream(
        model=model_name(provider, scripted), contents=QUESTION, config=config(tools=[WEATHER])
    )
    asked = [call for piece in stream for call in piece.function_calls or []]
    assert [call.args for call in asked] == [{"city": city} for city in cities]


def test_functions_are_called_by_the_sdk_itself(google, mock, provider, scripted):
    mock.script(scripted, once=True, tool_calls=[{"name": "get_weather", "arguments": {"city": "Oslo"}}])
    asked = []

    def get_weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "seventeen degrees"

    reply = google.models.generate_content(
        model=model_name(provider, scripted),
        contents=QUESTION,
        config=types.GenerateContentConfig(tools=[get_weather], max_output_tokens=1024),
    )
    assert (asked, reply.text) == (["Oslo"], DEFAULT_CONTENT)
    assert "seventeen degrees" in json.dumps(mock.requests(scripted)[-1]["body"])


def test_images_reach_the_provider(google, mock, provider, scripted):
    # Bytes whose base64 differs in the alphabet for URLs, which this client writes.
    data = base64.b64decode(PIXEL) + b"\xff\xef\xbe\xfb\xff"
    contents = ["What is it?", types.Part.from_bytes(data=data, mime_type="image/png")]
    contents.append(types.Part.from_uri(file_uri="https://example.com/cat.png", mime_type="image/png"))
    google.models.generate_content(model=model_name(provider, scripted), contents=contents)
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    standard, for_urls = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    assert standard != for_urls and "https://example.com/cat.png" in sent
    # A provider of another dialect gets the usual alphabet.
    assert standard in sent or (provider == "gemini" and for_urls in sent)


def test_thinking_is_shown_and_goes_back(google, mock, provider, scripted):
    mock.script(scripted, once=True, thinking="Let me see.", signature="c2lnbmF0dXJl", content="Sunny.")
    thinking = types.ThinkingConfig(thinking_budget=1024, include_thoughts=True)
    request = {
        "model": model_name(provider, scripted),
        "config": types.GenerateContentConfig(max_output_tokens=4096, thinking_config=thinking),
    }
    contents, thought = [types.UserContent(parts=[types.Part(text=QUESTION)])], ""
    for piece in google.models.generate_content_stream(contents=contents[:1], **request):
        content = piece.candidates[0].content
        contents.append(content)
        thought += "".join(part.text or "" for part in content.parts if part.thought)
    assert thought == "Let me see."
    contents.append(types.UserContent(parts=[types.Part(text="Sure?")]))
    google.models.generate_content(contents=contents, **request)
    sent = mock.requests(scripted)[-1]["body"]
    if provider == "anthropic":
        block = sent["messages"][1]["content"][0]
        assert (block["thinking"], block["signature"]) == ("Let me see.", "c2lnbmF0dXJl")
    elif provider == "openai":
        assert "Let me see." not in json.dumps(sent)


def test_structured_output_is_parsed(google, provider):
    reply = google.models.generate_content(
        model=model_name(provider, PROVIDERS[provider]),
        contents=QUESTION,
        config=config(response_mime_type="application/json", response_schema=Person),
    )
    assert reply.parsed == Person(name="text", age=1, likes=["text"])


def test_tokens_are_counted_where_the_provider_counts(google, provider):
    model = model_name(provider, PROVIDERS[provider])
    if provider == "openai":
        with pytest.raises(errors.ClientError, match="count of tokens"):
            google.models.count_tokens(model=model, contents=QUESTION)
    else:
        assert google.models.count_tokens(model=model, contents=QUESTION).total_tokens >= 5


def test_what_a_provider_cannot_do_is_a_client_error_that_names_the_field(google, mock, provider, scripted):
    search = config(tools=[types.Tool(google_search=types.GoogleSearch())])
    ask = {"model": model_name(provider, scripted), "contents": QUESTION, "config": search}
    if provider == "gemini":
        google.models.generate_content(**ask)
        assert mock.requests(scripted)[-1]["body"]["tools"] == [{"googleSearch": {}}]
        return
    with pytest.raises(errors.ClientError) as caught:
        google.models.generate_content(**ask)
    error = caught.value
    assert (error.code, error.status) == (400, "INVALID_ARGUMENT")
    assert "tools[0].googleSearch" in error.message
    assert error.details["error"]["details"][0]["metadata"]["code"] == "unsupported_by_provider"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind"), [(400, errors.ClientError), (404, errors.ClientError), (429, errors.ClientError), (500, errors.ServerError)])
def test_errors_have_their_status(google, mock, provider, scripted, status, kind, stream):
    mock.script(scripted, status=status, error_message="top_p is out of range", headers={"retry-after": "27"})
    ask = {"model": model_name(provider, scripted), "contents": QUESTION}
    with pytest.raises(kind) as caught:
        if stream:
            list(google.models.generate_content_stream(**ask))
        else:
            google.models.generate_content(**ask)
    assert caught.value.code == (502 if status == 500 else status)
    assert "top_p is out of range" in caught.value.message


def test_a_wrong_key_is_unauthenticated():
    with genai.Client(api_key="wrong", http_options=options()) as stranger:
        with pytest.raises(errors.ClientError) as caught:
            stranger.models.generate_content(model="gpt-4o-mini", contents=QUESTION)
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")


def test_error_in_the_middle_of_a_stream_is_raised(google, mock, provider, scripted):
    mock.script(scripted, content="one two three", error_inside_200={"after_chunks": 2})
    text = ""
    with pytest.raises(errors.APIError):
        for piece in google.models.generate_content_stream(model=model_name(provider, scripted), contents=QUESTION):
            text += piece.text or ""
    assert text == "one two "


def test_a_conversation_is_continued_by_its_id(google, mock, provider, scripted):
    model = model_name(provider, scripted)
    first = google.models.generate_content(model=model, contents=QUESTION)
    conversation = first.sdk_http_response.headers["x-conversation-id"]
    more = config(http_options=types.HttpOptions(headers={"x-conversation-id": conversation}))
    google.models.generate_content(model=model, contents="And tomorrow?", config=more)
    sent = json.dumps(mock.requests(scripted)[-1]["body"])
    assert "in Oslo" in sent and "And tomorrow?" in sent
    kept = call(f"{PRIVET_URL}/api/conversations/{conversation}", key=PRIVET_KEY)
    assert [message["role"] for message in kept["messages"]] == ["user", "assistant"] * 2


def test_async_client_streams_too(provider):
    async def run():
        async with genai.Client(api_key=PRIVET_KEY, http_options=options()).aio as client:
            model = model_name(provider, PROVIDERS[provider])
            stream = await client.models.generate_content_stream(model=model, contents=QUESTION)
            return "".join([piece.text or "" async for piece in stream])

    assert asyncio.run(run()) == DEFAULT_CONTENT
