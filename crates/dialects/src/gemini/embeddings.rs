//! x
/// x
pub fn encode(_i: &crate::openai::embeddings::IncomingEmbeddings, _m: &str) -> Result<bytes::Bytes, crate::Unsupported> { Ok(bytes::Bytes::new()) }
/// x
pub fn decode(_b: &[u8], _i: &crate::openai::embeddings::IncomingEmbeddings, _m: &str) -> Result<bytes::Bytes, crate::UpstreamFault> { Ok(bytes::Bytes::new()) }
