//! Reading contents back: what stands in rows, and the bodies that they refer to.

use std::collections::HashMap;

use privet_domain::trace::JsonText;
use sqlx::FromRow;

use super::TraceStore;
use super::body::{self, Form, Hash};
use crate::db::reading;
use crate::error::StoreError;

/// A body and all before it, first to last.
const CHAIN: &str = "WITH RECURSIVE chain (hash, parent, content) AS (\
     SELECT hash, parent, content FROM bodies WHERE hash = $1 \
     UNION ALL \
     SELECT bodies.hash, bodies.parent, bodies.content FROM bodies JOIN chain ON bodies.hash = chain.parent) \
     SELECT hash, parent, content FROM chain";
const BODY: &str = "SELECT hash, parent, content FROM bodies WHERE hash = $1";

#[derive(FromRow)]
struct BodyRow {
    hash: Vec<u8>,
    parent: Option<Vec<u8>>,
    content: Vec<u8>,
}

/// The bodies read so far: threads share their beginnings.
#[derive(Default)]
pub(crate) struct Bodies(HashMap<Hash, (Option<Hash>, String)>);

impl TraceStore {
    /// The JSON of a stored content. What was read before is not read again.
    pub(crate) async fn content(&self, stored: &[u8], bodies: &mut Bodies) -> Result<JsonText, StoreError> {
        match body::read(stored)? {
            Form::Json(json) => Ok(JsonText::from_stored(json)),
            Form::Body(hash) => Ok(JsonText::from_stored(self.body(hash, bodies).await?)),
            Form::Thread(tail, None) => Ok(body::join(&self.thread(tail, bodies).await?, None)),
            Form::Thread(tail, Some((member, object))) => {
                let object = match *object {
                    Form::Json(json) => json,
                    Form::Body(hash) => self.body(hash, bodies).await?,
                    Form::Thread(..) => return Err(StoreError::Damaged("the object of a thread".to_owned())),
                };
                Ok(body::join(&self.thread(tail, bodies).await?, Some((member, &object))))
            }
        }
    }

    async fn body(&self, hash: Hash, bodies: &mut Bodies) -> Result<String, StoreError> {
        if !bodies.0.contains_key(&hash) {
            bodies.add(self.rows(BODY, hash).await?)?;
        }
        let (_, json) = bodies.0.get(&hash).ok_or_else(missing)?;
        Ok(json.clone())
    }

    async fn thread(&self, tail: Hash, bodies: &mut Bodies) -> Result<Vec<String>, StoreError> {
        if let Some(messages) = bodies.thread(tail) {
            return Ok(messages);
        }
        bodies.add(self.rows(CHAIN, tail).await?)?;
        bodies.thread(tail).ok_or_else(missing)
    }

    async fn rows(&self, statement: &'static str, hash: Hash) -> Result<Vec<BodyRow>, StoreError> {
        Ok(reading!(self, pool => sqlx::query_as(statement).bind(hash.as_slice()).fetch_all(pool).await)?)
    }
}

impl Bodies {
    fn add(&mut self, rows: Vec<BodyRow>) -> Result<(), StoreError> {
        for row in rows {
            let hash = |bytes: &[u8]| bytes.try_into().map_err(|_| missing());
            let parent = row.parent.as_deref().map(hash).transpose()?;
            self.0.insert(hash(&row.hash)?, (parent, body::unpack(&row.content)?));
        }
        Ok(())
    }

    /// The messages up to this one; `None` if not all were read.
    fn thread(&self, tail: Hash) -> Option<Vec<String>> {
        let mut messages = Vec::new();
        let mut next = Some(tail);
        while let Some(hash) = next {
            let (parent, json) = self.0.get(&hash)?;
            messages.push(json.clone());
            next = *parent;
        }
        messages.reverse();
        Some(messages)
    }
}

fn missing() -> StoreError {
    StoreError::Damaged("a content of a trace refers to one that is not there".to_owned())
}
