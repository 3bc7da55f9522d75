//! x
/// x
pub fn decode(_b: &[u8]) -> Result<crate::canonical::ChatResponse, crate::UpstreamFault> { Err(crate::UpstreamFault::Cut) }
