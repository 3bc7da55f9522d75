//! What the kernel says of another process's memory. On systems without `/proc` it says nothing.

use serde::Serialize;

/// Resident memory of the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    /// The most it had at any time since its start.
    pub(super) peak_bytes: Option<u64>,
    /// What it has now.
    pub(super) after_bytes: Option<u64>,
}

impl Memory {
    pub(super) fn of_process(pid: Option<u32>) -> Self {
        let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        Self::parse(&status.unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Self { peak_bytes: bytes("VmHWM:"), after_bytes: bytes("VmRSS:") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_and_present_memory_are_read_and_what_is_missing_is_not_zero() {
        let memory = Memory::parse("Name:\tprivet\nVmHWM:\t   54321 kB\nVmRSS:\t   12345 kB\n");
        assert_eq!((memory.peak_bytes, memory.after_bytes), (Some(54_321 * 1024), Some(12_345 * 1024)));
        let nothing = Memory::parse("");
        assert_eq!((nothing.peak_bytes, nothing.after_bytes), (None, None));
    }
}
