"""Langfuse's SDK for Python, the last version 2, unmodified: what it sends is read back."""

import uuid
from datetime import datetime, timezone

import pytest
from conftest import PRIVET_PUBLIC_KEY, PRIVET_SECRET_KEY, PRIVET_URL
from langfuse.api.resources.commons.errors import NotFoundError
from langfuse.decorators import langfuse_context, observe


def test_nested_observations_and_scores_are_read_back_as_they_were_sent(langfuse, name):
    langfuse.create_prompt(name=name, prompt="Say {{what}}", labels=["production"])
    mark = uuid.uuid4().hex
    trace = langfuse.trace(
        name="What is the weather in Oslo?",
        user_id=f"ada-{mark}",
        session_id=f"session-{mark}",
        tags=["alpha", "beta"],
        metadata={"plan": "pro"},
        input={"q": "hey"},
        version="v7",
        release="r-1",
    )
    span = trace.span(name="request", input={"q": 1}, metadata={"n": 3})
    messages = [{"role": "user", "content": "hey"}]
    generation = span.generation(
        name="Answer",
        model="gpt-4o",
        model_parameters={"temperature": 0.2},
        input=messages,
        prompt=langfuse.get_prompt(name),
    )
    generation.update(completion_start_time=datetime.now(timezone.utc))
    generation.end(output="hi", usage_details={"input": 10, "output": 5, "total": 15}, cost_details={"total": 0.003})
    generation.score(name="quality", value=0.9, comment="good")
    old = span.generation(name="old", model="gpt-4o", usage={"promptTokens": 3, "completionTokens": 4, "totalTokens": 7})
    old.end(output="x", level="ERROR", status_message="boom")
    span.event(name="clicked", input="button")
    span.end(output={"a": 2})
    trace.score(name="helpful", value=1, data_type="BOOLEAN")
    trace.score(name="mood", value="happy", data_type="CATEGORICAL")
    trace.update(output={"a": "hi"}, tags=["gamma"])
    langfuse.flush()

    read = langfuse.fetch_trace(trace.id).data
    assert (read.name, read.user_id, read.session_id) == (
        "What is the weather in Oslo?", f"ada-{mark}", f"session-{mark}",
    )  # fmt: skip
    assert (read.input, read.output, read.version, read.release) == ({"q": "hey"}, {"a": "hi"}, "v7", "r-1")
    assert read.metadata == {"plan": "pro"} and {"alpha", "beta", "gamma"} == set(read.tags)
    seen = {observation.name: observation for observation in read.observations}
    assert {name: o.type for name, o in seen.items()} == {
        "request": "SPAN", "Answer": "GENERATION", "old": "GENERATION", "clicked": "EVENT",
    }  # fmt: skip
    assert seen["request"].parent_observation_id is None
    assert all(seen[child].parent_observation_id == span.id for child in ["Answer", "old", "clicked"])
    answer = seen["Answer"]
    assert (answer.input, answer.output, answer.model) == (messages, "hi", "gpt-4o")
    # The client's own type knows no fractions there, and makes texts of them.
    assert answer.model_parameters == {"temperature": "0.2"}
    assert answer.usage_details == {"input": 10, "output": 5, "total": 15}
    assert (answer.prompt_name, answer.prompt_version) == (name, 1)
    assert answer.completion_start_time is not None and answer.end_time >= answer.start_time
    assert (seen["old"].level, seen["old"].status_message) == ("ERROR", "boom")
    assert (seen["old"].usage.input, seen["old"].usage.output, seen["old"].usage.total) == (3, 4, 7)
    scores = {score.name: score for score in read.scores}
    assert (scores["quality"].value, scores["quality"].observation_id) == (0.9, generation.id)
    assert (scores["helpful"].value, scores["helpful"].string_value) == (1, "True")
    assert scores["mood"].string_value == "happy"

    assert [t.id for t in langfuse.fetch_traces(user_id=f"ada-{mark}").data] == [trace.id]
    assert [t.id for t in langfuse.fetch_traces(session_id=f"session-{mark}", tags="gamma").data] == [trace.id]
    assert langfuse.fetch_observation(generation.id).data.name == "Answer"
    generations = langfuse.fetch_observations(trace_id=trace.id, type="GENERATION").data
    assert {o.name for o in generations} == {"Answer", "old"}
    assert f"session-{mark}" in [session.id for session in langfuse.fetch_sessions(limit=100).data]


def test_decorated_functions_are_nested(langfuse):
    langfuse_context.configure(host=PRIVET_URL, public_key=PRIVET_PUBLIC_KEY, secret_key=PRIVET_SECRET_KEY)
    ids = []

    @observe()
    def outer(x):
        ids.append(langfuse_context.get_current_trace_id())
        langfuse_context.update_current_trace(user_id="grace", tags=["d"])
        langfuse_context.score_current_trace(name="s", value=1.0)
        return inner(x)

    @observe(as_type="generation")
    def inner(x):
        langfuse_context.update_current_observation(model="m", usage={"input": 1, "output": 2})
        return x + 1

    assert outer(1) == 2
    langfuse_context.flush()
    read = langfuse.fetch_trace(ids[0]).data
    assert (read.name, read.user_id, read.tags) == ("outer", "grace", ["d"])
    assert read.input == {"args": [1], "kwargs": {}} and read.output == 2
    assert [(o.name, o.type, o.model) for o in read.observations] == [("inner", "GENERATION", "m")]
    assert [score.name for score in read.scores] == ["s"]


def test_an_unknown_trace_is_not_found(langfuse):
    with pytest.raises(NotFoundError):
        langfuse.fetch_trace(uuid.uuid4().hex)
