//! An embedder that speaks OpenAI's dialect, over a model in a folder.

use std::path::Path;

use anyhow::{Context as _, Result};

/// How long the vectors of a model are.
pub(crate) fn dimensions(model: &Path) -> Result<usize> {
    let file = model.join("config.json");
    let text = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let config: serde_json::Value = serde_json::from_slice(&text)?;
    let size = config.get("hidden_size").and_then(serde_json::Value::as_u64);
    Ok(usize::try_from(size.context("the model does not say its hidden_size")?)?)
}

#[cfg(not(feature = "local-embedder"))]
pub(crate) async fn serve(_listener: tokio::net::TcpListener, _model: &Path) -> Result<()> {
    anyhow::bail!("this program was built without models: build it with --features local-embedder")
}

#[cfg(feature = "local-embedder")]
pub(crate) use with_models::serve;

#[cfg(feature = "local-embedder")]
mod with_models {
    use std::convert::Infallible;
    use std::path::Path;
    use std::sync::Arc;

    use anyhow::{Context as _, Result};
    use bytes::Bytes;
    use http::{Request, Response, StatusCode, header};
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use privet_domain::memory::embedder::Embedder as _;
    use privet_providers::local_embedder::LocalEmbedder;
    use serde_json::{Value, json};
    use tokio::net::{TcpListener, TcpStream};

    use crate::bare_proxy::accept;

    /// Serves until the process is ended.
    pub(crate) async fn serve(listener: TcpListener, model: &Path) -> Result<()> {
        let embedder = Arc::new(LocalEmbedder::load(model)?);
        accept(listener, move |stream| serve_connection(stream, embedder.clone())).await
    }

    async fn serve_connection(stream: TcpStream, embedder: Arc<LocalEmbedder>) {
        let service = service_fn(|request| answer(request, embedder.clone()));
        // A client that leaves needs no answer.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(
        request: Request<Incoming>,
        embedder: Arc<LocalEmbedder>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let embedded = embed(request, &embedder).await;
        let (status, body) = match embedded {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => (
                StatusCode::BAD_REQUEST,
                json!({"error": {"message": format!("{error:#}"), "type": "invalid_request_error"}}),
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        Ok(response)
    }

    async fn embed(request: Request<Incoming>, embedder: &LocalEmbedder) -> Result<Value> {
        let body = request.into_body().collect().await?.to_bytes();
        let request: Value = serde_json::from_slice(&body)?;
        let texts: Vec<&str> = match request.get("input").context("there is no input")? {
            Value::String(text) => vec![text],
            Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
            _ => anyhow::bail!("the input is no text"),
        };
        let mut data = Vec::with_capacity(texts.len());
        for batch in embedder.limits().batches(&texts) {
            let batch = texts.get(batch).unwrap_or_default();
            for vector in embedder.embed(batch).await?.vectors {
                data.push(json!({"object": "embedding", "index": data.len(), "embedding": vector}));
            }
        }
        let tokens = body.len() / 4;
        Ok(
            json!({"object": "list", "model": "local", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}),
        )
    }
}
