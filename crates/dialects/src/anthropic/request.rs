//! x
/// x
pub fn encode(_r: &crate::canonical::ChatRequest, _d: u64) -> Result<Vec<u8>, crate::Unsupported> { Ok(vec![]) }
