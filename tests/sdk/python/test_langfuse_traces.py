"""Langfuse's SDK for Python, version 5, unmodified, and a plain OpenTelemetry SDK: what they send is read back."""

import base64
import json
import urllib.request
import uuid

import pytest
from conftest import PRIVET_PUBLIC_KEY, PRIVET_SECRET_KEY, PRIVET_URL
from langfuse import Langfuse, observe, propagate_attributes
from langfuse._client.resource_manager import LangfuseResourceManager
from langfuse.api import NotFoundError
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

ALL_FIELDS = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"
BASIC = "Basic " + base64.b64encode(f"{PRIVET_PUBLIC_KEY}:{PRIVET_SECRET_KEY}".encode()).decode()


@pytest.fixture
def langfuse():
    LangfuseResourceManager.reset()
    yield Langfuse(
        base_url=PRIVET_URL,
        public_key=PRIVET_PUBLIC_KEY,
        secret_key=PRIVET_SECRET_KEY,
        environment="staging",
        release="r-1",
        # A provider of its own: nothing of another test's is in it.
        tracer_provider=TracerProvider(),
    )
    LangfuseResourceManager.reset()


def observations(langfuse, trace_id, **query):
    """By name, with every group of fields."""
    page = langfuse.api.observations.get_many(trace_id=trace_id, fields=ALL_FIELDS, limit=100, **query)
    return {observation.name: observation for observation in page.data}


def read(path):
    """What this version's client has no method for."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{PRIVET_URL}/api/public{path}", headers={"authorization": BASIC})
    with opener.open(request, timeout=30) as reply:
        return json.load(reply)


def test_nested_observations_are_read_back_as_they_were_sent(langfuse):
    mark = uuid.uuid4().hex
    langfuse.create_prompt(name=f"Answer-{mark}", prompt="Say {{what}}", labels=["production"])
    prompt = langfuse.get_prompt(f"Answer-{mark}")
    messages = [{"role": "user", "content": "Jaka jest pogoda?"}]
    with langfuse.start_as_current_observation(as_type="span", name="request", input={"q": "hey"}, metadata={"n": 3}) as root:
        with propagate_attributes(
            trace_name="What is the weather in Oslo?",
            user_id=f"ada-{mark}",
            session_id=f"session-{mark}",
            tags=["alpha", "beta"],
            metadata={"plan": "pro"},
            version="v7",
        ):
            with langfuse.start_as_current_observation(
                as_type="generation",
                name="Answer",
                model="gpt-4o",
                model_parameters={"temperature": 0.2, "stop": ["x"]},
                input=messages,
                prompt=prompt,
            ) as generation:
                generation.update(
                    output={"role": "assistant", "content": "hi"},
                    usage_details={"input": 10, "output": 5, "total": 15},
                    cost_details={"input": 0.001, "output": 0.002, "total": 0.003},
                    metadata={"text": "a string", "number": 7, "object": {"a": [1]}},
                )
            with langfuse.start_as_current_observation(as_type="agent", name="agent"):
                with langfuse.start_as_current_observation(as_type="tool", name="search", input={"x": 1}) as tool:
                    tool.update(level="ERROR", status_message="boom")
                for kind in ["retriever", "embedding", "guardrail", "evaluator", "chain"]:
                    with langfuse.start_as_current_observation(as_type=kind, name=kind):
                        pass
            langfuse.create_event(name="clicked", input="button")
        root.update(output="done")
    langfuse.flush()

    seen = observations(langfuse, root.trace_id)
    types = {name: observation.type for name, observation in seen.items()}
    assert types == {
        "request": "SPAN", "Answer": "GENERATION", "agent": "AGENT", "search": "TOOL", "retriever": "RETRIEVER",
        "embedding": "EMBEDDING", "guardrail": "GUARDRAIL", "evaluator": "EVALUATOR", "chain": "CHAIN", "clicked": "EVENT",
    }  # fmt: skip
    assert seen["request"].parent_observation_id is None and seen["request"].id == root.id
    assert seen["Answer"].parent_observation_id == root.id
    assert seen["search"].parent_observation_id == seen["agent"].id

    answer = seen["Answer"]
    assert json.loads(answer.input) == messages and json.loads(answer.output) == {"role": "assistant", "content": "hi"}
    assert answer.model == "gpt-4o"
    assert answer.usage_details == {"input": 10, "output": 5, "total": 15}
    assert answer.cost_details == pytest.approx({"input": 0.001, "output": 0.002, "total": 0.003})
    assert (answer.prompt_name, answer.prompt_version) == (f"Answer-{mark}", 1)
    assert (answer.metadata["text"], answer.metadata["number"], answer.metadata["object"]) == ("a string", 7, {"a": [1]})
    assert (answer.user_id, answer.session_id, answer.version) == (f"ada-{mark}", f"session-{mark}", "v7")
    assert (answer.environment, answer.release, answer.trace_name) == ("staging", "r-1", "What is the weather in Oslo?")
    assert sorted(answer.tags) == ["alpha", "beta"]
    assert answer.end_time >= answer.start_time
    assert (seen["search"].level, seen["search"].status_message) == ("ERROR", "boom")

    trace = read(f"/traces/{root.trace_id}")
    assert (trace["name"], trace["userId"], trace["sessionId"]) == (
        "What is the weather in Oslo?", f"ada-{mark}", f"session-{mark}",
    )  # fmt: skip
    assert (trace["input"], trace["output"]) == ({"q": "hey"}, "done")
    assert trace["metadata"]["plan"] == "pro" and len(trace["observations"]) == len(types)
    assert [t["id"] for t in read(f"/traces?userId=ada-{mark}")["data"]] == [root.trace_id]
    assert [t["id"] for t in read(f"/sessions/session-{mark}")["traces"]] == [root.trace_id]


def test_observations_are_filtered_and_paged(langfuse):
    with langfuse.start_as_current_observation(as_type="span", name="root") as root:
        for n in range(5):
            langfuse.start_observation(as_type="generation", name=f"g{n}", level="WARNING" if n == 4 else "DEFAULT").end()
    langfuse.flush()
    assert set(observations(langfuse, root.trace_id, type="GENERATION")) == {"g0", "g1", "g2", "g3", "g4"}
    assert set(observations(langfuse, root.trace_id, level="WARNING")) == {"g4"}
    names, cursor = [], None
    while True:
        page = langfuse.api.observations.get_many(trace_id=root.trace_id, limit=2, cursor=cursor)
        names += [observation.name for observation in page.data]
        cursor = page.meta.cursor
        if cursor is None:
            break
        assert len(page.data) == 2
    assert sorted(names) == ["g0", "g1", "g2", "g3", "g4", "root"]


def test_a_decorated_function_that_fails_is_an_error(langfuse):
    @observe(name="outer")
    def outer(x):
        langfuse.update_current_span(metadata={"seen": True})
        return inner(x)

    @observe(as_type="generation", name="inner")
    def inner(x):
        raise ValueError("broken")

    trace_id = langfuse.create_trace_id()
    with pytest.raises(ValueError):
        outer(1, langfuse_trace_id=trace_id, langfuse_public_key=PRIVET_PUBLIC_KEY)
    langfuse.flush()
    seen = observations(langfuse, trace_id)
    assert seen["inner"].level == "ERROR" and "broken" in seen["inner"].status_message
    assert seen["inner"].parent_observation_id == seen["outer"].id
    assert json.loads(seen["outer"].input) == {"args": [1], "kwargs": {}}


def test_scores_are_read_back_from_what_they_were_given_to(langfuse):
    session = f"session-{uuid.uuid4().hex}"
    with langfuse.start_as_current_observation(as_type="span", name="root") as root:
        with propagate_attributes(session_id=session):
            with langfuse.start_as_current_observation(as_type="generation", name="Answer") as generation:
                generation.score(name="quality", value=0.9, comment="good")
        root.score_trace(name="helpful", value=1, data_type="BOOLEAN")
        root.score_trace(name="mood", value="happy", data_type="CATEGORICAL", metadata={"k": "v"})
    langfuse.create_score(name="session-score", value=3.5, session_id=session)
    langfuse.create_score(name="words", value="some words", data_type="TEXT", trace_id=root.trace_id)
    score_id = uuid.uuid4().hex
    for value in [1.0, 2.0]:
        langfuse.create_score(name="again", value=value, trace_id=root.trace_id, score_id=score_id)
        langfuse.flush()

    def scores(**query):
        page = langfuse.api.scores.get_many(fields="details,subject", **query)
        return {score.name: score for score in page.data}

    seen = scores(trace_id=root.trace_id)
    assert set(seen) == {"quality", "helpful", "mood", "words", "again"}
    assert (seen["quality"].value, seen["quality"].comment, seen["quality"].source) == (0.9, "good", "API")
    assert seen["quality"].subject.id == generation.id
    assert seen["helpful"].value is True and seen["mood"].value == "happy" and seen["mood"].metadata == {"k": "v"}
    assert seen["words"].value == "some words"
    assert (seen["again"].id, seen["again"].value) == (score_id, 2.0), "the same id is the same score"
    assert scores(session_id=session)["session-score"].value == 3.5


def test_a_trace_is_deleted(langfuse):
    with langfuse.start_as_current_observation(as_type="span", name="root") as root:
        pass
    langfuse.flush()
    assert observations(langfuse, root.trace_id)
    langfuse.api.trace.delete(root.trace_id)
    assert observations(langfuse, root.trace_id) == {}


def test_what_a_plain_opentelemetry_sdk_sends_is_a_trace(langfuse):
    exporter = OTLPSpanExporter(endpoint=f"{PRIVET_URL}/api/public/otel/v1/traces", headers={"Authorization": BASIC})
    provider = TracerProvider(resource=Resource.create({"service.name": "shop", "deployment.environment.name": "prod"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("shop")
    user = f"ada-{uuid.uuid4().hex}"
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.request.temperature": 0.3,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"hey"}]}]',
        "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"hi"}]}]',
    }
    retrieval = {"openinference.span.kind": "RETRIEVER", "input.value": "q", "output.value": '{"docs":[1]}'}
    with tracer.start_as_current_span("POST /ask", attributes={"user.id": user, "session.id": "s"}) as root:
        with tracer.start_as_current_span("chat gpt-4o", attributes=chat):
            pass
        with tracer.start_as_current_span("retrieve", attributes=retrieval):
            pass
        with pytest.raises(ValueError):
            with tracer.start_as_current_span("fails"):
                raise ValueError("broken")
    provider.shutdown()

    trace_id = format(root.get_span_context().trace_id, "032x")
    seen = observations(langfuse, trace_id)
    assert {name: observation.type for name, observation in seen.items()} == {
        "POST /ask": "SPAN", "chat gpt-4o": "GENERATION", "retrieve": "RETRIEVER", "fails": "SPAN",
    }  # fmt: skip
    assert seen["chat gpt-4o"].model == "gpt-4o-2024-08-06"
    usage = seen["chat gpt-4o"].usage_details
    assert (usage["input"], usage["output"]) == (12, 7)
    assert "hey" in seen["chat gpt-4o"].input and "hi" in seen["chat gpt-4o"].output
    assert (seen["retrieve"].input, json.loads(seen["retrieve"].output)) == ("q", {"docs": [1]})
    assert seen["fails"].level == "ERROR" and "broken" in seen["fails"].status_message
    assert {observation.environment for observation in seen.values()} == {"prod"}
    assert read(f"/traces/{trace_id}")["userId"] == user


def test_an_unknown_trace_is_not_found(langfuse):
    with pytest.raises(NotFoundError):
        langfuse.api.trace.delete("0123456789abcdef0123456789abcdef")
