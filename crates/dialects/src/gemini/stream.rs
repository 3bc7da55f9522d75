//! x
/// x
#[derive(Default)] pub struct StreamDecoder;
impl StreamDecoder { 
/// x
pub fn event(&mut self, _e: &crate::sse::SseEvent, _o: &mut Vec<crate::canonical::ChatEvent>) -> Result<(), crate::UpstreamFault> { Ok(()) }
/// x
pub fn is_complete(&self) -> bool { false } }
