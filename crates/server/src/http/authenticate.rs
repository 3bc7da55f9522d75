//! Who calls: an extractor that yields the caller of a valid key, if the key is good for the route.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use privet_domain::id::RequestId;
use privet_domain::scope::Scope;
use privet_engine::Engine;
use privet_engine::keyring::Caller;
use serde::Deserialize;

use super::error::ApiError;
use super::rate_status::{RateSlot, RateStatus};
use super::router::Http;
use super::surface::{Failure, GOOGLE_KEY, Surface};

/// The code of a key that is not one of ours, or not any more.
const INVALID_KEY: &str = "invalid_api_key";

/// Some clients leave the padding out.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a route needs of a key.
pub(crate) trait Need: Send + Sync + 'static {
    /// The scope; `None` where any valid key will do.
    const SCOPE: Option<Scope>;
    /// Whether a key's public key will do, where the surface takes pairs.
    const TAKES_PUBLIC_KEY: bool = false;
}

/// Any valid key.
pub(crate) struct AnyKey;
/// A key for chats, and for changing what was said.
pub(crate) struct ForChat;
/// A key for embeddings.
pub(crate) struct ForEmbeddings;
/// A key for reading what the project recorded.
pub(crate) struct ForRead;
/// A key for changing prompts.
pub(crate) struct ForPrompts;
/// A key for writing traces.
pub(crate) struct ForTraces;
/// A key for writing scores; its public key will do, which web pages hold.
pub(crate) struct ForScores;
/// A key for making keys.
pub(crate) struct ForAdmin;

impl Need for AnyKey {
    const SCOPE: Option<Scope> = None;
}
impl Need for ForChat {
    const SCOPE: Option<Scope> = Some(Scope::Chat);
}
impl Need for ForEmbeddings {
    const SCOPE: Option<Scope> = Some(Scope::Embeddings);
}
impl Need for ForRead {
    const SCOPE: Option<Scope> = Some(Scope::Read);
}
impl Need for ForPrompts {
    const SCOPE: Option<Scope> = Some(Scope::Prompts);
}
impl Need for ForTraces {
    const SCOPE: Option<Scope> = Some(Scope::Traces);
}
impl Need for ForScores {
    const SCOPE: Option<Scope> = Some(Scope::Traces);
    const TAKES_PUBLIC_KEY: bool = true;
}
impl Need for ForAdmin {
    const SCOPE: Option<Scope> = Some(Scope::Admin);
}

/// The caller, once the key was found valid and good for the route.
pub(crate) struct Authenticated<S: Surface, N: Need> {
    pub(crate) caller: Caller,
    /// Whether only its public key was presented, which is no secret.
    pub(crate) by_public_key: bool,
    marker: PhantomData<(S, N)>,
}

impl<S: Surface, N: Need> FromRequestParts<Http> for Authenticated<S, N> {
    type Rejection = Failure<S>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        let address = http.door.enter(parts)?;
        let counted = http.door.count(parts, address, S::COUNTED);
        let (caller, by_public_key) = match authenticate::<S, N>(&http.engine, parts) {
            Ok(found) => found,
            Err(error) => {
                counted?;
                if error.code == INVALID_KEY {
                    http.door.refused_key(address)?;
                }
                return Err(error.into());
            }
        };
        match caller.limits.address {
            Some(rate) => http.door.count_of_key(parts, address, caller.family_id, rate)?,
            None => counted?,
        }
        permit(&caller, N::SCOPE)?;
        Ok(Self { caller, by_public_key, marker: PhantomData })
    }
}

/// A caller that is about to spend: its request counts against the rates of its key, before its body is read.
pub(crate) struct Spending<S: Surface, N: Need> {
    pub(crate) caller: Caller,
    marker: PhantomData<(S, N)>,
}

impl<S: Surface, N: Need> FromRequestParts<Http> for Spending<S, N> {
    type Rejection = Failure<S>;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Result<Self, Self::Rejection> {
        let Authenticated { caller, .. } = Authenticated::<S, N>::from_request_parts(parts, http).await?;
        let counted = http.engine.count_request(&caller);
        if let Err(refused) = &counted
            && let Some(id) = parts.extensions.get::<RequestId>()
        {
            http.engine.note_refusal(&caller, *id, None, refused);
        }
        let counted = counted?;
        if let Some(slot) = parts.extensions.get::<RateSlot>() {
            if let Some(standing) = counted {
                slot.note(RateStatus::of_requests(&standing));
            }
            if http.engine.token_standing(&caller).is_some() {
                let (engine, caller) = (http.engine.clone(), caller.clone());
                let standing = move || engine.token_standing(&caller);
                slot.note_tokens(Box::new(move || standing().as_ref().map(RateStatus::of_tokens)));
            }
        }
        Ok(Self { caller, marker: PhantomData })
    }
}

/// Whether the caller's key has the scope.
fn permit(caller: &Caller, needed: Option<Scope>) -> Result<(), ApiError> {
    let Some(needed) = needed.filter(|needed| !caller.scopes.allow(*needed)) else { return Ok(()) };
    let (needed, had, id) = (needed.as_str(), caller.scopes, caller.key_id);
    let wanted = [&had.to_string().replace(' ', ","), needed].join(",");
    let message = format!(
        "This needs a key with the scope `{needed}`; yours has `{had}`. Take another key (`privet keys create --name NAME \
         --scopes {needed}`), or let an administrator widen this one: `privet keys update {id} --scopes {wanted}`."
    );
    Err(ApiError::new(StatusCode::FORBIDDEN, "scope_missing", message).at_gate("scope"))
}

/// `Authorization: Bearer KEY`, `x-api-key: KEY` and `x-goog-api-key: KEY` are all accepted, on every surface; `?key=KEY` where its
/// clients send it. The words are the lesson's. The answer says whether it was a public key.
fn authenticate<S: Surface, N: Need>(engine: &Arc<Engine>, parts: &Parts) -> Result<(Caller, bool), ApiError> {
    let headers = &parts.headers;
    if let Some(encoded) = authorization(headers, "basic").filter(|_| S::TAKES_PAIRS) {
        return authenticate_pair(engine, encoded).map(|caller| (caller, false));
    }
    let in_header = |name: &str| headers.get(name)?.to_str().ok();
    let token = authorization(headers, "bearer").or_else(|| in_header("x-api-key")).or_else(|| in_header(GOOGLE_KEY));
    let in_query = if S::TAKES_QUERY_KEYS && token.is_none() { key_in_query(&parts.uri) } else { None };
    let Some(token) = token.or(in_query.as_deref()).filter(|token| !token.is_empty()) else {
        return Err(unauthorized("missing_api_key", "Unauthorized: No token provided"));
    };
    let now = engine.clock.now();
    if let Some(caller) = engine.keyring.authenticate(token, now) {
        return Ok((caller, false));
    }
    match engine.keyring.find_public(token, now).filter(|_| S::TAKES_PAIRS) {
        Some(caller) if N::TAKES_PUBLIC_KEY => Ok((caller, true)),
        Some(_) => Err(public_key_alone()),
        None => Err(unauthorized(INVALID_KEY, "Unauthorized: Invalid token")),
    }
}

/// `?key=KEY`. It is read here and told nowhere.
fn key_in_query(uri: &Uri) -> Option<String> {
    #[derive(Deserialize)]
    struct KeyQuery {
        key: Option<String>,
    }
    Query::<KeyQuery>::try_from_uri(uri).ok()?.0.key
}

/// `PUBLIC:SECRET` in base 64.
fn authenticate_pair(engine: &Arc<Engine>, encoded: &str) -> Result<Caller, ApiError> {
    let decoded = LENIENT_BASE64.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let caller =
        pair.and_then(|(public_key, secret)| engine.keyring.authenticate_pair(public_key, secret, engine.clock.now()));
    caller.ok_or_else(|| {
        let message = "Invalid credentials: no key is this pair of public and secret key. Confirm that \
                       LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are of one key, and that the base URL is this server's.";
        unauthorized(INVALID_KEY, message)
    })
}

/// What stands behind a scheme. Its name is case-insensitive (RFC 9110, section 11.1).
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (given, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn public_key_alone() -> ApiError {
    let message = "A public key alone may only write scores. Send the pair (`Authorization: Basic` with PUBLIC_KEY:SECRET_KEY), \
                   or the secret key as `Authorization: Bearer`.";
    ApiError::new(StatusCode::FORBIDDEN, "public_key_alone", message).at_gate("key")
}

fn unauthorized(code: &str, message: &str) -> ApiError {
    let mut error = ApiError::new(StatusCode::UNAUTHORIZED, code, message).at_gate("key");
    error.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    error
}
