//! Counting what ran: from the JUnit files of nextest, pytest and node, and from the lines of Rust's own test runner.

use std::fmt;
use std::fs;
use std::ops::{Add, AddAssign};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Tests that passed and that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Counts a JUnit file. A run of no tests is an error: it would pass whatever is broken.
pub(super) fn read(file: &Path) -> Result<Count> {
    let xml = fs::read_to_string(file).with_context(|| format!("the report {} cannot be read", file.display()))?;
    let count = count(&xml);
    if count.passed == 0 {
        bail!("no test passed according to {}", file.display());
    }
    Ok(count)
}

/// The writers escape `<` in what tests print, so a tag in the text is a tag of the file.
fn count(xml: &str) -> Count {
    let mut count = Count::default();
    for case in xml.split("<testcase ").skip(1) {
        let case = case.split("</testcase>").next().unwrap_or(case);
        if case.contains("<failure") || case.contains("<error") {
            count.failed += 1;
        } else if case.contains("<skipped") {
            count.skipped += 1;
        } else {
            count.passed += 1;
        }
    }
    count
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
pub(super) fn libtest_count(line: &str) -> Option<Count> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut count = Count::default();
    for part in numbers.split("; ") {
        match part.split_once(' ') {
            Some((number, "passed")) => count.passed = number.parse().ok()?,
            Some((number, "failed")) => count.failed = number.parse().ok()?,
            Some((number, "ignored")) => count.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_with_and_without_content() {
        let xml = r#"<testsuites><testsuite name="a" tests="4">
            <testcase name="one" time="0.1"/>
            <testcase name="two"><system-out>&lt;failure&gt;</system-out></testcase>
            <testcase name="three"><failure message="no">text</failure></testcase>
            <testcase name="four"><skipped type="node"/></testcase>
        </testsuite></testsuites>"#;
        assert_eq!(count(xml), Count { passed: 2, failed: 1, skipped: 1 });
    }

    #[test]
    fn a_report_without_a_passed_test_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("junit.xml");
        fs::write(&file, "<testsuites/>").unwrap();
        assert!(read(&file).unwrap_err().to_string().starts_with("no test passed"));
    }

    #[test]
    fn the_lines_of_rusts_test_runner_are_counted() {
        let line = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.50s";
        assert_eq!(libtest_count(line), Some(Count { passed: 3, failed: 0, skipped: 1 }));
        assert_eq!(libtest_count("running 3 tests"), None);
    }

    #[test]
    fn the_closing_line_is_plain() {
        assert_eq!(Count { passed: 12, failed: 0, skipped: 0 }.to_string(), "12 passed, 0 failed");
    }
}
