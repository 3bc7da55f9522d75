//! Traces read back through the real binary: filters, pages, figures, other projects, and the command line.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{Answer, Stand};

/// The routes that read, and what of `fill` each must show to its project alone.
const LISTS: [&str; 12] = [
    "/api/public/traces",
    "/api/public/observations",
    "/api/public/v2/observations",
    "/api/public/sessions",
    "/api/public/scores",
    "/api/public/v2/scores",
    "/api/public/v3/scores",
    "/api/public/metrics/daily",
    "/api/traces",
    "/api/sessions",
    "/api/users",
    "/api/metrics/daily?by=model",
];
const SINGLES: [&str; 8] = [
    "/api/public/traces/t1",
    "/api/public/observations/g1",
    "/api/public/sessions/s1",
    "/api/public/scores/c1",
    "/api/public/v2/scores/c1",
    "/api/traces/t1",
    "/api/sessions/s1",
    "/api/users/ada",
];

fn event(kind: &str, body: Value) -> Value {
    json!({"id": uuid::Uuid::now_v7(), "type": kind, "timestamp": "2026-11-24T10:00:00.000Z", "body": body})
}

/// Five traces on two days; the fifth has nothing.
async fn fill(stand: &Stand) {
    let generation = |id: &str, trace: &str, start: &str, model: &str, tokens: u64, seconds: u64| {
        let end = format!("{start}:{seconds:02}.000Z");
        event(
            "generation-create",
            json!({
                "id": id, "traceId": trace, "name": "Answer", "startTime": format!("{start}:00.000Z"), "endTime": end, "model": model,
                "usageDetails": {"input": tokens, "output": tokens / 2, "total": tokens + tokens / 2},
                "costDetails": {"input": 0.5, "output": 0.25}, "input": [{"role": "user", "content": "hey"}], "output": "hi",
                "promptName": "Answer", "promptVersion": 2, "metadata": {"long": "x".repeat(300), "short": 1},
            }),
        )
    };
    let trace = |id: &str, at: &str, body: Value| {
        let mut whole = json!({"id": id, "timestamp": format!("{at}:00.000Z")});
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        event("trace-create", whole)
    };
    let batch = json!([
        trace(
            "t1",
            "2026-11-24T10:00",
            json!({"name": "ask", "userId": "ada", "sessionId": "s1", "tags": ["a", "b"], "input": {"q": 1}, "release": "r1"})
        ),
        trace(
            "t2",
            "2026-11-24T11:00",
            json!({"name": "ask", "userId": "ada", "sessionId": "s1", "tags": ["b"], "environment": "prod"})
        ),
        trace(
            "t3",
            "2026-11-25T10:00",
            json!({"name": "tell", "userId": "bob", "sessionId": "s2", "metadata": {"plan": "pro"}})
        ),
        trace("t4", "2026-11-25T11:00", json!({"name": "tell", "userId": "bob"})),
        trace("t5", "2026-11-25T12:00", json!({})),
        generation("g1", "t1", "2026-11-24T10:00", "gpt-4o", 10, 2),
        generation("g2", "t2", "2026-11-24T11:00", "gpt-4o", 20, 4),
        generation("g3", "t3", "2026-11-25T10:00", "other", 30, 6),
        event(
            "span-create",
            json!({"id": "o1", "traceId": "t1", "parentObservationId": "g1", "name": "tool", "level": "ERROR",
            "statusMessage": "broken", "startTime": "2026-11-24T10:00:01.000Z", "endTime": "2026-11-24T10:00:09.000Z"})
        ),
        event("score-create", json!({"id": "c1", "traceId": "t1", "name": "quality", "value": 0.5, "comment": "why"})),
        event(
            "score-create",
            json!({"id": "c2", "traceId": "t1", "observationId": "g1", "name": "helpful", "value": 1, "dataType": "BOOLEAN"})
        ),
        event(
            "score-create",
            json!({"id": "c3", "traceId": "t2", "name": "mood", "value": "happy", "dataType": "CATEGORICAL"})
        ),
        event("score-create", json!({"id": "c4", "traceId": "t2", "name": "quality", "value": 0.9})),
        event(
            "score-create",
            json!({"id": "c5", "traceId": "t2", "name": "words", "value": "a text", "dataType": "TEXT"})
        ),
    ]);
    let answer = Answer::of(stand.post("/api/public/ingestion", json!({"batch": batch}).to_string())).await;
    assert_eq!((answer.status, answer.json()["errors"].as_array().unwrap().len()), (207, 0), "{answer:?}");
}

fn ids(answer: &Value) -> String {
    let data = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
    data.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

impl Stand {
    async fn public(&self, path: &str) -> Value {
        let answer = self.get(&format!("/api/public/{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// A query with JSON in a parameter.
    async fn asked(&self, path: &str, name: &str, json: Value) -> Answer {
        Answer::of(self.request(Method::GET, &format!("/api/public/{path}")).query(&[(name, json.to_string())])).await
    }
}

#[tokio::test]
async fn traces_are_listed_by_filters_orders_and_pages() {
    let stand = Stand::start().await;
    fill(&stand).await;
    for (query, found) in [
        ("", "t5 t4 t3 t2 t1"),
        ("?userId=ada", "t2 t1"),
        ("?sessionId=s1&tags=b&tags=a", "t1"),
        ("?name=tell&fromTimestamp=2026-11-25T11:00:00Z", "t4"),
        ("?toTimestamp=2026-11-24T11:00:00.000Z", "t1"),
        ("?environment=prod&environment=staging", "t2"),
        ("?release=r1", "t1"),
        ("?orderBy=timestamp.asc&limit=2&page=2", "t3 t4"),
        ("?orderBy=totalTokens.desc&limit=1", "t3"),
        ("?orderBy=latency.desc&limit=1", "t1"),
        ("?fields=core&userId=bob", "t4 t3"),
    ] {
        assert_eq!(ids(&stand.public(&format!("traces{query}")).await), found, "{query}");
    }
    for (filter, found) in [
        (json!([{"type": "string", "column": "name", "operator": "contains", "value": "el"}]), "t4 t3"),
        (json!([{"type": "stringOptions", "column": "userId", "operator": "any of", "value": ["ada"]}]), "t2 t1"),
        (json!([{"type": "arrayOptions", "column": "tags", "operator": "all of", "value": ["a", "b"]}]), "t1"),
        (json!([{"type": "number", "column": "latency", "operator": ">=", "value": 6}]), "t3 t1"),
        (json!([{"type": "number", "column": "totalCost", "operator": ">", "value": 0.7}]), "t3 t2 t1"),
        (json!([{"type": "stringOptions", "column": "level", "operator": "any of", "value": ["ERROR"]}]), "t1"),
        (json!([{"type": "stringObject", "column": "metadata", "key": "plan", "operator": "=", "value": "pro"}]), "t3"),
        (json!([{"type": "null", "column": "name", "operator": "is null"}]), "t5"),
        (
            json!([{"type": "datetime", "column": "timestamp", "operator": "<", "value": "2026-11-24T10:30:00Z"},
                {"type": "string", "column": "userId", "operator": "=", "value": "ada"}]),
            "t1",
        ),
    ] {
        let answer = stand.asked("traces", "filter", filter.clone()).await;
        assert_eq!((answer.status, ids(&answer.json()).as_str()), (200, found), "{filter}");
    }
    // What `filter` says of a column holds in place of the parameter.
    let filter = json!([{"type": "string", "column": "userId", "operator": "=", "value": "bob"}]);
    let answer = stand.asked("traces?userId=ada&name=tell", "filter", filter).await;
    assert_eq!(ids(&answer.json()), "t4 t3");

    let page = stand.public("traces?limit=2&page=2").await;
    assert_eq!(page["meta"], json!({"page": 2, "limit": 2, "totalItems": 5, "totalPages": 3}));
    let last = stand.public("traces?limit=2&page=3").await;
    assert_eq!((ids(&last).as_str(), &last["meta"]["totalItems"]), ("t1", &json!(5)));
    let beyond = stand.public("traces?limit=2&page=9").await;
    assert_eq!((&beyond["data"], &beyond["meta"]["totalItems"]), (&json!([]), &json!(5)));
    let [t1] = stand.public("traces?release=r1").await["data"].as_array().unwrap().clone().try_into().unwrap();
    assert_eq!((&t1["input"], &t1["latency"], &t1["totalCost"]), (&json!({"q": 1}), &json!(9.0), &json!(0.75)));
    assert_eq!((t1["observations"].as_array().unwrap().len(), t1["scores"].as_array().unwrap().len()), (2, 2));
    assert_eq!(t1["timestamp"], "2026-11-24T10:00:00.000Z");
    let [core] =
        stand.public("traces?release=r1&fields=core").await["data"].as_array().unwrap().clone().try_into().unwrap();
    assert_eq!((core.get("input"), &core["observations"], &core["totalCost"]), (None, &json!([]), &json!(-1.0)));
}

#[tokio::test]
async fn a_trace_is_read_with_its_observations_and_scores() {
    let stand = Stand::start().await;
    fill(&stand).await;
    let trace = stand.public("traces/t1").await;
    let project = stand.public("projects").await["data"][0]["id"].clone();
    assert_eq!(trace["projectId"], project);
    assert_eq!(trace["htmlPath"], format!("/project/{}/traces/t1", project.as_str().unwrap()));
    let [generation, tool] = trace["observations"].as_array().unwrap().clone().try_into().unwrap();
    for (field, value) in [
        ("id", json!("g1")),
        ("traceId", json!("t1")),
        ("type", json!("GENERATION")),
        ("startTime", json!("2026-11-24T10:00:00.000Z")),
        ("endTime", json!("2026-11-24T10:00:02.000Z")),
        ("latency", json!(2.0)),
        ("level", json!("DEFAULT")),
        ("promptName", json!("Answer")),
        ("promptVersion", json!(2)),
        ("usageDetails", json!({"input": 10, "output": 5, "total": 15})),
        ("costDetails", json!({"input": 0.5, "output": 0.25})),
        ("calculatedTotalCost", json!(0.75)),
        ("parentObservationId", Value::Null),
        ("input", json!([{"role": "user", "content": "hey"}])),
        ("output", json!("hi")),
    ] {
        assert_eq!(generation[field], value, "{field}");
    }
    let usage = json!({"input": 10, "output": 5, "total": 15, "unit": "TOKENS", "inputCost": 0.5, "outputCost": 0.25, "totalCost": 0.75});
    assert_eq!(generation["usage"], usage);
    assert_eq!((&tool["parentObservationId"], &tool["statusMessage"]), (&json!("g1"), &json!("broken")));
    let scores = trace["scores"].as_array().unwrap();
    assert_eq!(
        (&scores[0]["name"], &scores[0]["value"], &scores[0]["stringValue"]),
        (&json!("quality"), &json!(0.5), &Value::Null)
    );
    assert_eq!((&scores[1]["observationId"], &scores[1]["stringValue"]), (&json!("g1"), &json!("True")));
    let t2 = stand.public("traces/t2").await;
    let types: Vec<_> = t2["scores"].as_array().unwrap().iter().map(|score| &score["dataType"]).collect();
    assert_eq!(types, ["CATEGORICAL", "NUMERIC"], "clients of old know three types");
    assert_eq!(stand.public("observations/g1").await, generation);

    let whole = stand.get("/api/traces/t1").await.json();
    assert_eq!((&whole["cost_nanos"], &whole["latency_ms"]), (&json!(750_000_000), &json!(9_000.0)));
    assert_eq!((&whole["steps"][0]["cost"]["input"], &whole["input"]), (&json!(500_000_000), &json!({"q": 1})));
    assert_eq!(whole["scores"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn observations_are_shown_by_groups_of_fields_and_paged_by_a_cursor() {
    let stand = Stand::start().await;
    fill(&stand).await;
    for (query, found) in [
        ("observations", "g3 g2 o1 g1"),
        ("observations?type=GENERATION&userId=ada", "g2 g1"),
        ("observations?traceId=t1&level=ERROR", "o1"),
        ("observations?parentObservationId=g1", "o1"),
        ("observations?promptName=Answer&promptVersion=2&environment=default", "g3 g2 g1"),
        ("observations?fromStartTime=2026-11-25T00:00:00Z", "g3"),
        ("v2/observations?parentObservationId=", "g3 g2 g1"),
        ("v2/observations?isRootObservation=false", "o1"),
        ("v2/observations?sessionId=s1&type=GENERATION", "g2 g1"),
    ] {
        assert_eq!(ids(&stand.public(query).await), found, "{query}");
    }
    let filter = json!([{"type": "number", "column": "totalTokens", "operator": ">", "value": 20},
                        {"type": "string", "column": "traceName", "operator": "=", "value": "ask"}]);
    assert_eq!(ids(&stand.asked("v2/observations", "filter", filter).await.json()), "g2");
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stand.public(&format!("v2/observations?limit=3&cursor={cursor}")).await;
        seen.push(ids(&page));
        let Some(next) = page["meta"]["cursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    assert_eq!(seen, ["g3 g2 o1", "g1"]);
    let fields = async |query: &str| {
        let [one] = stand.public(&format!("v2/observations?traceId=t2&{query}")).await["data"]
            .as_array()
            .unwrap()
            .clone()
            .try_into()
            .unwrap();
        one
    };
    let basic = fields("").await;
    assert_eq!((&basic["userId"], &basic["sessionId"], basic.get("input")), (&json!("ada"), &json!("s1"), None));
    let all = fields("fields=core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context").await;
    assert_eq!((&all["input"], &all["output"]), (&json!(r#"[{"role":"user","content":"hey"}]"#), &json!("hi")));
    assert_eq!((all["metadata"]["long"].as_str().unwrap().len(), &all["metadata"]["short"]), (200, &json!(1)));
    assert_eq!((&all["tags"], &all["traceName"], &all["totalCost"]), (&json!(["b"]), &json!("ask"), &json!(0.75)));
    let expanded = fields("fields=metadata&expandMetadata=long").await;
    assert_eq!((expanded["metadata"]["long"].as_str().unwrap().len(), expanded.get("name")), (300, None));
}

#[tokio::test]
async fn scores_and_sessions_are_listed_as_each_version_of_the_clients_reads_them() {
    let stand = Stand::start().await;
    fill(&stand).await;
    let names = |answer: Value| {
        let data = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
        data.iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (query, found) in [
        ("v2/scores", "c1 c2 c3 c4 c5"),
        ("scores?name=quality", "c1 c4"),
        ("v2/scores?userId=ada&dataType=BOOLEAN", "c2"),
        ("v2/scores?operator=>&value=0.6&name=quality", "c4"),
        ("v2/scores?scoreIds=c1,c3", "c1 c3"),
        ("v2/scores?traceTags=a", "c1 c2"),
        ("v3/scores?traceId=t2&name=mood,quality", "c3 c4"),
        ("v3/scores?dataType=numeric&valueMin=0.5&valueMax=0.6", "c1"),
        ("v3/scores?dataType=BOOLEAN&value=true", "c2"),
        ("v3/scores?dataType=CATEGORICAL&value=happy,sad", "c3"),
        ("v3/scores?traceId=t1&observationId=g1", "c2"),
    ] {
        assert_eq!(names(stand.public(query).await), found, "{query}");
    }
    let of_v2 = stand.public("v2/scores?scoreIds=c2").await["data"][0].clone();
    assert_eq!(
        (&of_v2["value"], &of_v2["trace"]["userId"], &of_v2["trace"]["tags"]),
        (&json!(1.0), &json!("ada"), &json!(["a", "b"]))
    );
    let of_v3 = stand.public("v3/scores?id=c2&fields=subject").await["data"][0].clone();
    assert_eq!((&of_v3["value"], of_v3.get("comment")), (&json!(true), None));
    assert_eq!(of_v3["subject"], json!({"kind": "observation", "id": "g1", "traceId": "t1"}));
    for wrong in [
        "v3/scores?limit=101",
        "v3/scores?fields=nothing",
        "v3/scores?valueMin=1",
        "v3/scores?value=1",
        "v3/scores?observationId=g1",
        "v3/scores?traceId=t1&sessionId=s1",
        "v3/scores?dataType=LOUD",
        "v2/scores?operator=~&value=1",
        "v2/observations?parseIoAsJson=true",
        "v2/observations?fields=nothing",
        "v2/observations?limit=1001",
        "metrics",
        "metrics?query=no",
    ] {
        assert_eq!(stand.get(&format!("/api/public/{wrong}")).await.status, 400, "{wrong}");
    }
    assert_eq!(Answer::of(stand.request(Method::DELETE, "/api/public/scores/c1")).await.status, 204);
    assert_eq!(stand.get("/api/public/scores/c1").await.status, 404);

    let sessions = stand.public("sessions?limit=1").await;
    assert_eq!((ids(&sessions).as_str(), &sessions["meta"]["totalItems"]), ("s2", &json!(2)));
    assert_eq!(sessions["data"][0]["createdAt"], "2026-11-25T10:00:00.000Z");
    let session = stand.public("sessions/s1").await;
    let traces: Vec<_> = session["traces"].as_array().unwrap().iter().map(|trace| &trace["id"]).collect();
    assert_eq!(traces, ["t1", "t2"]);
    let own = stand.get("/api/sessions/s1").await.json();
    assert_eq!(
        (&own["traces"], &own["cost_nanos"], &own["user_ids"]),
        (&json!(2), &json!(1_500_000_000), &json!(["ada"]))
    );
    let users = stand.get("/api/users").await.json();
    assert_eq!((ids(&users).as_str(), &users["data"][1]["traces"]), ("bob ada", &json!(2)));
}

/// What the figures of a query are, in the order of its answer.
async fn figures(stand: &Stand, query: Value) -> Vec<Value> {
    let answer = stand.asked("v2/metrics", "query", query.clone()).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    answer.json()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn figures_of_whole_days_and_of_any_range_are_the_same() {
    let stand = Stand::start().await;
    fill(&stand).await;
    // The sums of days answer the first range, a scan the second.
    for (from, to) in
        [("2026-11-24T00:00:00Z", "2026-11-26T00:00:00Z"), ("2026-11-24T00:00:01Z", "2026-11-25T22:00:00Z")]
    {
        let ask = |view: &str,
                   dimensions: &[&str],
                   metrics: &[(&str, &str)],
                   filters: Value,
                   granularity: Option<&str>| {
            let dimensions: Vec<Value> = dimensions.iter().map(|field| json!({"field": field})).collect();
            let metrics: Vec<Value> = metrics
                .iter()
                .map(|(aggregation, measure)| json!({"measure": measure, "aggregation": aggregation}))
                .collect();
            json!({
                "view": view, "dimensions": dimensions, "metrics": metrics, "filters": filters, "fromTimestamp": from, "toTimestamp": to,
                "timeDimension": granularity.map(|granularity| json!({"granularity": granularity})),
            })
        };
        let by_model = ask(
            "observations",
            &["providedModelName"],
            &[("sum", "totalTokens"), ("count", "count"), ("sum", "totalCost"), ("avg", "latency")],
            json!([]),
            None,
        );
        assert_eq!(
            figures(&stand, by_model).await,
            [
                json!({"providedModelName": "gpt-4o", "sum_totalTokens": 45, "count_count": 2, "sum_totalCost": 1.5, "avg_latency": 3_000}),
                json!({"providedModelName": "other", "sum_totalTokens": 45, "count_count": 1, "sum_totalCost": 0.75, "avg_latency": 6_000}),
                json!({"providedModelName": null, "sum_totalTokens": 0, "count_count": 1, "sum_totalCost": 0, "avg_latency": 8_000}),
            ]
            .to_vec(),
            "{from}"
        );
        let by_day = ask("traces", &[], &[("count", "count"), ("sum", "totalCost")], json!([]), Some("day"));
        assert_eq!(
            figures(&stand, by_day).await,
            [
                json!({"time_dimension": "2026-11-24T00:00:00.000Z", "count_count": 2, "sum_totalCost": 1.5}),
                json!({"time_dimension": "2026-11-25T00:00:00.000Z", "count_count": 3, "sum_totalCost": 0.75}),
            ],
            "{from}"
        );
        let of_ada = json!([{"type": "string", "column": "userId", "operator": "=", "value": "ada"}]);
        let of_ada = ask("traces", &["environment"], &[("count", "count"), ("avg", "latency")], of_ada, None);
        let mut of_ada = figures(&stand, of_ada).await;
        of_ada.sort_by_key(|row| row["environment"].to_string());
        assert_eq!(
            of_ada,
            [
                json!({"environment": "default", "count_count": 1, "avg_latency": 9_000}),
                json!({"environment": "prod", "count_count": 1, "avg_latency": 4_000}),
            ],
            "{from}"
        );
        let by_prompt = ask("observations", &["promptName", "promptVersion"], &[("count", "count")], json!([]), None);
        assert_eq!(
            figures(&stand, by_prompt).await[0],
            json!({"promptName": "Answer", "promptVersion": "2", "count_count": 3}),
            "{from}"
        );
        let by_tag = ask("traces", &["tags"], &[("count", "count")], json!([]), None);
        let by_tag: Vec<_> = figures(&stand, by_tag).await.into_iter().filter(|row| row["tags"].is_string()).collect();
        assert_eq!(by_tag, [json!({"tags": "b", "count_count": 2}), json!({"tags": "a", "count_count": 1})], "{from}");
    }
}

#[tokio::test]
async fn figures_that_only_a_scan_knows_are_right() {
    let stand = Stand::start().await;
    fill(&stand).await;
    let range = json!({"fromTimestamp": "2026-11-01T00:00:00Z", "toTimestamp": "2026-12-01T00:00:00Z"});
    let ask = |query: Value| {
        let mut query = query;
        query.as_object_mut().unwrap().extend(range.as_object().unwrap().clone());
        query
    };
    let latency = ask(json!({"view": "observations", "metrics": [
        {"measure": "latency", "aggregation": "p50"}, {"measure": "latency", "aggregation": "max"},
        {"measure": "inputCost", "aggregation": "sum"}, {"measure": "latency", "aggregation": "histogram"},
    ], "config": {"bins": 2}}));
    let [row] = figures(&stand, latency).await.try_into().unwrap();
    assert_eq!(
        (&row["p50_latency"], &row["max_latency"], &row["sum_inputCost"]),
        (&json!(5_000), &json!(8_000), &json!(1.5))
    );
    assert_eq!(row["histogram_latency"], json!([[2_000.0, 5_000.0, 2], [5_000.0, 8_000.0, 2]]));
    let scores = ask(json!({"view": "scores-numeric", "dimensions": [{"field": "name"}], "metrics": [
        {"measure": "value", "aggregation": "avg"}, {"measure": "count", "aggregation": "count"}],
        "orderBy": [{"field": "name", "direction": "desc"}]}));
    assert_eq!(
        figures(&stand, scores).await,
        [
            json!({"name": "quality", "avg_value": 0.7, "count_count": 2}),
            json!({"name": "helpful", "avg_value": 1, "count_count": 1})
        ]
    );
    let words =
        ask(json!({"view": "scores-categorical", "dimensions": [{"field": "stringValue"}, {"field": "traceName"}],
        "metrics": [{"measure": "count", "aggregation": "count"}]}));
    assert_eq!(figures(&stand, words).await, [json!({"stringValue": "happy", "traceName": "ask", "count_count": 1})]);
    let errors = ask(
        json!({"view": "observations", "dimensions": [{"field": "level"}, {"field": "isRootObservation"}],
        "metrics": [{"measure": "count", "aggregation": "count"}],
        "filters": [{"type": "string", "column": "traceName", "operator": "=", "value": "ask"}], "config": {"row_limit": 1}}),
    );
    assert_eq!(
        figures(&stand, errors).await,
        [json!({"level": "DEFAULT", "isRootObservation": "true", "count_count": 2})]
    );
    for wrong in [
        json!({"view": "nothing", "metrics": [{"measure": "count", "aggregation": "count"}]}),
        json!({"view": "traces", "metrics": []}),
        json!({"view": "traces", "metrics": [{"measure": "nothing", "aggregation": "sum"}]}),
        json!({"view": "traces", "metrics": [{"measure": "count", "aggregation": "most"}]}),
        json!({"view": "observations", "dimensions": [{"field": "traceId"}], "metrics": [{"measure": "count", "aggregation": "count"}]}),
        json!({"view": "traces", "metrics": [{"measure": "count", "aggregation": "count"}], "orderBy": [{"field": "x", "direction": "asc"}]}),
    ] {
        let answer = stand.asked("metrics", "query", ask(wrong.clone())).await;
        assert_eq!((answer.status, &answer.json()["message"]), (400, &json!("Invalid request data")), "{wrong}");
    }
}

#[tokio::test]
async fn days_are_summed_and_models_are_those_of_the_price_book() {
    let stand = Stand::start().await;
    fill(&stand).await;
    let days = stand.public("metrics/daily").await;
    let gpt = |traces: u64| json!([{"model": "gpt-4o", "inputUsage": 30, "outputUsage": 15, "totalUsage": 45, "countTraces": 0, "countObservations": traces, "totalCost": 1.5}]);
    assert_eq!(
        (&days["data"][1], &days["meta"]["totalItems"]),
        (
            &json!({"date": "2026-11-24", "countTraces": 2, "countObservations": 3, "totalCost": 1.5, "usage": gpt(2)}),
            &json!(2)
        )
    );
    let of_ada = stand.public("metrics/daily?userId=ada&fromTimestamp=2026-11-24T12:00:00Z").await;
    assert_eq!((&of_ada["data"][0]["countTraces"], of_ada["data"].as_array().unwrap().len()), (&json!(2), 1));
    let asked = stand.public("metrics/daily?traceName=ask&fromTimestamp=2026-11-24T00:00:00Z").await;
    let both = stand.public("metrics/daily?userId=ada&traceName=ask").await;
    assert_eq!((&both, asked["data"].as_array().unwrap().len()), (&asked, 1), "only ada asks");
    assert_eq!(
        asked["data"][0],
        json!({"date": "2026-11-24", "countTraces": 2, "countObservations": 3, "totalCost": 1.5, "usage": []})
    );
    let own = stand.get("/api/metrics/daily?by=prompt&value=Answer&since=2026-11-25").await.json();
    let [day] = own["data"].as_array().unwrap().clone().try_into().unwrap();
    assert_eq!(
        (&day["date"], &day["prompt_version"], &day["latency_ms"]),
        (&json!("2026-11-25"), &json!(2), &json!(6_000.0))
    );
    assert_eq!(stand.get("/api/metrics/daily?by=colour").await.status, 400);

    let models = stand.public("models?limit=100").await;
    let model = &models["data"][0];
    assert!(model["inputPrice"].as_f64().unwrap() >= 0.0 && model["unit"] == "TOKENS", "{model}");
    let id = model["id"].as_str().unwrap().replace('/', "%2F");
    assert_eq!(stand.public(&format!("models/{id}")).await, *model);
    assert_eq!(stand.get("/api/public/models/nothing").await.status, 404);
}

#[tokio::test]
async fn scores_that_name_a_configuration_are_held_to_it() {
    let stand = Stand::start().await;
    let ask = async |method: Method, path: &str, body: Value| {
        Answer::of(stand.request(method, path).header("content-type", "application/json").body(body.to_string())).await
    };
    let send = async |path: &str, body: Value| ask(Method::POST, path, body).await;
    let made = send(
        "/api/public/score-configs",
        json!({"name": "tone", "dataType": "CATEGORICAL", "categories": [{"label": "rude", "value": 0}, {"label": "kind", "value": 1}]}),
    )
    .await;
    assert_eq!(made.status, 200, "{made:?}");
    let config = made.json();
    let id = config["id"].as_str().unwrap().to_owned();
    assert_eq!((&config["isArchived"], &config["categories"][1]["label"]), (&json!(false), &json!("kind")));
    assert_eq!(stand.public("score-configs").await["data"], json!([config]));
    assert_eq!(stand.public(&format!("score-configs/{id}")).await, config);

    let score = |score: &str, value: &str| json!({"id": score, "sessionId": "s", "name": "tone", "value": value, "configId": id});
    assert_eq!(send("/api/public/scores", score("a", "kind")).await.status, 200);
    assert_eq!(stand.public("scores/a").await["value"], json!(1.0), "the word's value");
    let refused = send("/api/public/scores", score("b", "odd")).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.json().to_string().contains("one of `rude`, `kind`"), "{refused:?}");
    let listed = send("/api/public/scores", json!([score("c", "odd"), score("d", "rude")])).await;
    assert_eq!((listed.status, &listed.json()["errors"][0]["index"]), (207, &json!(0)), "{listed:?}");
    let batch = json!({"batch": [event("score-create", score("e", "odd")), event("score-create", score("f", "kind"))]});
    let answer = send("/api/public/ingestion", batch).await.json();
    assert_eq!((answer["successes"].as_array().unwrap().len(), answer["errors"].as_array().unwrap().len()), (1, 1));

    let archived = ask(Method::PATCH, &format!("/api/public/score-configs/{id}"), json!({"isArchived": true})).await;
    assert_eq!((archived.status, &archived.json()["isArchived"]), (200, &json!(true)), "{archived:?}");
    assert_eq!(send("/api/public/scores", score("g", "kind")).await.status, 400);
    for wrong in [
        json!({"name": "x"}),
        json!({"name": "x", "dataType": "COLOUR"}),
        json!({"name": "x", "dataType": "CATEGORICAL"}),
        json!({"name": "x", "dataType": "NUMERIC", "minValue": 2, "maxValue": 1}),
        json!({"dataType": "NUMERIC"}),
    ] {
        assert_eq!(send("/api/public/score-configs", wrong.clone()).await.status, 400, "{wrong}");
    }
    assert_eq!(stand.get("/api/public/score-configs/x").await.status, 404);
}

#[tokio::test]
async fn fault_30_no_route_shows_or_deletes_what_is_another_projects() {
    let stand = Stand::start().await;
    fill(&stand).await;
    let theirs = stand.key_of_project("theirs").await;
    let ask = async |method: Method, path: &str, body: &str| {
        let request = stand.client.request(method, format!("{}{path}", stand.server.url())).bearer_auth(&theirs);
        Answer::of(request.header("content-type", "application/json").body(body.to_owned())).await
    };
    for path in LISTS {
        let mine = stand.get(path).await.json();
        assert!(!mine["data"].as_array().unwrap().is_empty(), "{path}: {mine}");
        let answer = ask(Method::GET, path, "").await;
        assert_eq!((answer.status, &answer.json()["data"]), (200, &json!([])), "{path}");
    }
    for path in SINGLES {
        assert_eq!(stand.get(path).await.status, 200, "{path}");
        let answer = ask(Method::GET, path, "").await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        if path.starts_with("/api/public") {
            assert_eq!(answer.json()["error"], "LangfuseNotFoundError", "{path}");
        }
    }
    let all = json!({"view": "observations", "metrics": [{"measure": "count", "aggregation": "count"}],
        "fromTimestamp": "2026-11-24T00:00:00Z", "toTimestamp": "2026-11-26T00:00:01Z"});
    let request = stand.client.get(format!("{}/api/public/v2/metrics", stand.server.url())).bearer_auth(&theirs);
    let answer = Answer::of(request.query(&[("query", all.to_string())])).await;
    assert_eq!((answer.status, &answer.json()["data"]), (200, &json!([])));
    for path in ["/api/public/traces/t1", "/api/traces/t1", "/api/public/scores/c1"] {
        assert_eq!(ask(Method::DELETE, path, "").await.status, 404, "{path}");
    }
    assert_eq!(ask(Method::DELETE, "/api/public/traces", r#"{"traceIds": ["t1", "t2"]}"#).await.status, 200);
    assert_eq!(stand.public("traces").await["meta"]["totalItems"], 5);

    let body = r#"{"traceIds": ["t1", "t2", "nothing"]}"#;
    let deleted = Answer::of(
        stand.request(Method::DELETE, "/api/public/traces").header("content-type", "application/json").body(body),
    )
    .await;
    assert_eq!((deleted.status, deleted.json()["message"].is_string()), (200, true), "{deleted:?}");
    assert_eq!(ids(&stand.public("traces").await), "t5 t4 t3");
    assert_eq!(ids(&stand.public("observations").await), "g3");
    assert_eq!(stand.public("scores").await["data"], json!([]));
    assert_eq!(Answer::of(stand.request(Method::DELETE, "/api/traces/t3")).await.status, 204);
    assert_eq!(Answer::of(stand.request(Method::DELETE, "/api/traces/t3")).await.status, 404);
    for wrong in ["{}", r#"{"traceIds": []}"#, r#"{"traceIds": [7]}"#, "no"] {
        let request = stand.request(Method::DELETE, "/api/public/traces").header("content-type", "application/json");
        assert_eq!(Answer::of(request.body(wrong)).await.status, 400, "{wrong}");
    }
    // The days stay.
    assert_eq!(stand.public("metrics/daily").await["data"][1]["countTraces"], 2);
}

#[tokio::test]
async fn the_own_api_filters_and_pages_traces() {
    let stand = Stand::start().await;
    fill(&stand).await;
    for (query, found) in [
        ("", "t5 t4 t3 t2 t1"),
        ("?user_id=ada&tags=b,a", "t1"),
        ("?environment=prod,staging", "t2"),
        ("?has_errors=true", "t1"),
        ("?has_errors=false&since=2026-11-24T11:00:00Z&until=2026-11-25T11:00:00Z", "t3 t2"),
        ("?latency_ms_min=5000", "t3 t1"),
        ("?cost_nanos_min=750000000&total_tokens_min=30", "t3 t2"),
    ] {
        assert_eq!(ids(&stand.get(&format!("/api/traces{query}")).await.json()), found, "{query}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stand.get(&format!("/api/traces?limit=2{cursor}")).await.json();
        seen.push(ids(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["t5 t4", "t3 t2", "t1"]);
    for wrong in ["limit=0", "limit=501", "cursor=x", "since=soon", "has_errors=perhaps"] {
        let answer = stand.get(&format!("/api/traces?{wrong}")).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("invalid_request")), "{wrong}");
    }
}

#[tokio::test]
async fn the_command_line_lists_shows_and_follows_traces() {
    let stand = Stand::start().await;
    fill(&stand).await;
    let text = async |arguments: &[&str]| {
        let output = stand.privet(&[&["traces"], arguments].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = text(&["list"]).await;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[4].starts_with("2026-11-24T10:00:00.000Z  t1  ask ") && lines[4].ends_with("user ada  1 failed"),
        "{listed}"
    );
    for (arguments, count) in [
        (vec!["--user", "ada"], 2),
        (vec!["--session", "s2"], 1),
        (vec!["--name", "tell", "--limit", "1"], 1),
        (vec!["--tag", "a", "--tag", "b"], 1),
        (vec!["--errors"], 1),
        (vec!["--since", "2026-11-25T11:00:00Z"], 2),
    ] {
        let json = text(&[&["list", "--json"], arguments.as_slice()].concat()).await;
        let traces: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(traces.len(), count, "{arguments:?}");
    }
    let shown = text(&["show", "t1"]).await;
    for part in [
        "trace t1  ask\n",
        "\n  user ada\n  session s1\n",
        "\n  generation  Answer  2.00 s  gpt-4o  prompt Answer v2  10 in, 5 out  $0.75\n",
        "\n    > [{\"role\":\"user\",\"content\":\"hey\"}]\n    < \"hi\"\n    span  tool  8.00 s  ERROR\n      ! broken\n",
        "\n  score quality = 0.5  (why)\n",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    let json: Value = serde_json::from_str(&text(&["show", "t1", "--json"]).await).unwrap();
    assert_eq!(json, stand.get("/api/traces/t1").await.json());
    for (code, arguments) in [(1, ["traces", "show", "nothing"]), (2, ["traces", "list", "--since=soon"])] {
        let output = stand.privet(&arguments).await;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
}
