//! The messages of OTLP (opentelemetry-proto 1.x, `trace/v1/trace.proto`), as far as they are read. The same types are protobuf and
//! JSON; in JSON ids are hexadecimal and 64-bit numbers may be texts.

use serde::{Deserialize, Serialize};

use super::lenient;

/// An export of spans.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExportTraceServiceRequest {
    /// By what sends them.
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// The answer to an export.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportTraceServiceResponse {
    /// What was not kept.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// What of an export was not kept.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    /// How many spans.
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// The spans of one process.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceSpans {
    /// What sends them.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// By the library that made them.
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// What sends spans.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resource {
    /// What is known of it.
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub attributes: Vec<KeyValue>,
}

/// The spans of one library.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ScopeSpans {
    /// The library.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// Its spans.
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub spans: Vec<Span>,
}

/// A library that makes spans.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Scope {
    /// Its name.
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub version: String,
    /// What else is known of it.
    #[prost(message, repeated, tag = "3")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub attributes: Vec<KeyValue>,
}

/// A span.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(with = "lenient::hex")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "lenient::hex")]
    pub span_id: Vec<u8>,
    /// 8 bytes, or none of a root.
    #[prost(bytes = "vec", tag = "4")]
    #[serde(with = "lenient::hex")]
    pub parent_span_id: Vec<u8>,
    /// What it is called.
    #[prost(string, tag = "5")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub name: String,
    /// Whether it is internal, a server's, a client's … A number.
    #[prost(int32, tag = "6")]
    #[serde(deserialize_with = "lenient::enumeration")]
    pub kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    #[serde(deserialize_with = "lenient::unsigned")]
    pub start_time_unix_nano: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    #[serde(deserialize_with = "lenient::unsigned")]
    pub end_time_unix_nano: u64,
    /// What is said of it.
    #[prost(message, repeated, tag = "9")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub attributes: Vec<KeyValue>,
    /// What happened in it.
    #[prost(message, repeated, tag = "11")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub events: Vec<Event>,
    /// How it ended.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

/// Something that happened in a span.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Event {
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "1")]
    #[serde(deserialize_with = "lenient::unsigned")]
    pub time_unix_nano: u64,
    /// What it is called.
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub name: String,
    /// What is said of it.
    #[prost(message, repeated, tag = "3")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub attributes: Vec<KeyValue>,
}

/// How a span ended.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// Why, where it failed.
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub message: String,
    /// 0 unset, 1 ok, 2 error.
    #[prost(int32, tag = "3")]
    #[serde(deserialize_with = "lenient::enumeration")]
    pub code: i32,
}

/// A name and what it stands for.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KeyValue {
    /// The name.
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A value of any type.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
#[serde(transparent)]
pub struct AnyValue {
    /// The value.
    #[prost(oneof = "AnyValueKind", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub value: Option<AnyValueKind>,
}

/// The types of values.
#[derive(Clone, PartialEq, prost::Oneof, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AnyValueKind {
    /// A text.
    #[prost(string, tag = "1")]
    StringValue(String),
    /// A truth.
    #[prost(bool, tag = "2")]
    BoolValue(bool),
    /// A whole number.
    #[prost(int64, tag = "3")]
    IntValue(i64),
    /// A number.
    #[prost(double, tag = "4")]
    DoubleValue(f64),
    /// A list.
    #[prost(message, tag = "5")]
    ArrayValue(ArrayValue),
    /// A map.
    #[prost(message, tag = "6")]
    KvlistValue(KeyValueList),
    /// Bytes; in JSON base64.
    #[prost(bytes = "vec", tag = "7")]
    #[serde(with = "lenient::base64_text")]
    BytesValue(Vec<u8>),
}

/// A list of values.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ArrayValue {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub values: Vec<AnyValue>,
}

/// A map of values.
#[derive(Clone, PartialEq, prost::Message, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KeyValueList {
    /// The values with their names.
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "lenient::nullable")]
    pub values: Vec<KeyValue>,
}
