//! What the kernel says of a process and its descendants: processor time and resident memory.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

/// Processor time that the process and its living descendants have used so far, in user and kernel mode.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let ticks: u64 = family(pid).iter().map(|stat| stat.cpu_ticks).sum();
    Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64)
}

/// Resident memory of the process and its living descendants. Pages that they share are counted for each.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    family(pid).iter().map(|stat| resident_bytes_of(stat.pid)).sum()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    cpu_ticks: u64,
}

fn family(pid: u32) -> Vec<Stat> {
    let mut all: Vec<Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect();
    let mut members = HashSet::from([pid]);
    // A child may be listed before its parent, so look until nothing is added.
    loop {
        let before = members.len();
        members
            .extend(all.iter().filter(|stat| members.contains(&stat.parent)).map(|stat| stat.pid).collect::<Vec<_>>());
        if members.len() == before {
            break;
        }
    }
    all.retain(|stat| members.contains(&stat.pid));
    all
}

/// Reads `/proc/PID/stat`. The program's name stands in brackets and may hold anything, so the fields are counted after them.
fn parse(text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(')')?;
    let pid = head.split_whitespace().next()?.parse().ok()?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // After the name: state, parent, …; user and kernel time are the 14th and 15th field of the line.
    Some(Stat { pid, parent: u32::try_from(number(1)?).ok()?, cpu_ticks: number(11)? + number(12)? })
}

fn resident_bytes_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_programs_name() {
        let line =
            "42 (a ) b) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 12345 1000 200 18446744073709551615";
        assert_eq!(parse(line), Some(Stat { pid: 42, parent: 7, cpu_ticks: 200 }));
        assert_eq!(parse("42"), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        assert!(resident_bytes(std::process::id()) > 100_000);
        assert!(family(1).iter().any(|stat| stat.pid == std::process::id()) || !family(std::process::id()).is_empty());
    }

    #[test]
    fn children_are_counted_with_their_parent() {
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let found = family(std::process::id()).iter().any(|stat| stat.pid == child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
