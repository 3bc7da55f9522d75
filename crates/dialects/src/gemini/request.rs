//! x
/// x
pub fn encode(_r: &crate::canonical::ChatRequest) -> Result<Vec<u8>, crate::Unsupported> { Ok(vec![]) }
