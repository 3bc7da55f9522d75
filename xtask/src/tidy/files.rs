//! The form of source files: size, name, opening line, and words that mean unfinished work.

/// Without the unit tests at its end.
const LINES_MAX: usize = 600;
const SOURCE_EXTENSIONS: [&str; 9] = ["rs", "ts", "tsx", "js", "mjs", "py", "css", "sh", "sql"];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"];
/// Written in two parts, so that this file does not hold them itself.
const UNFINISHED: [(&str, &str); 2] = [
    (concat!("to", "do!("), "write it, or leave it out"),
    (concat!("#[ig", "nore"), "a test that never runs proves nothing; fix it or remove it"),
];

/// Whether the rules for source files apply.
pub(super) fn is_source(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| SOURCE_EXTENSIONS.contains(&extension))
}

/// What is wrong with one source file.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = lines_without_tests(path, text);
    if lines > LINES_MAX {
        problems.push(format!("{path}: {lines} lines; split it, a file tells one story in {LINES_MAX} at most"));
    }
    if let Some(name) = empty_name(path) {
        problems.push(format!("{path}: `{name}` does not say what is inside"));
    }
    if path.ends_with(".rs") {
        problems.extend(check_rust(path, text));
    }
    problems
}

/// What is wrong with a file being in the repository at all.
pub(super) fn check_committed(path: &str) -> Option<String> {
    let built = path.split('/').find(|part| matches!(*part, "dist" | "node_modules"))?;
    Some(format!("{path}: `{built}` is built or installed; do not commit it"))
}

fn check_rust(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!("{path}: open it with `//!`, its purpose and what it does not do"));
    }
    if path.ends_with("/mod.rs") {
        problems.push(format!("{path}: name it after its module, beside the folder"));
    }
    for (number, line) in text.lines().enumerate() {
        for (word, remedy) in UNFINISHED.iter().filter(|(word, _)| line.contains(word)) {
            problems.push(format!("{path}:{}: `{word}`: {remedy}", number + 1));
        }
    }
    problems
}

/// Files of tests have no limit; elsewhere a test module at the end is not counted.
fn lines_without_tests(path: &str, text: &str) -> usize {
    if path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests") {
        return 0;
    }
    let lines: Vec<&str> = text.lines().collect();
    let opens_tests =
        |pair: &[&str]| matches!(pair, ["#[cfg(test)]", module] if module.starts_with("mod ") && module.ends_with('{'));
    lines.windows(2).position(opens_tests).unwrap_or(lines.len())
}

fn empty_name(path: &str) -> Option<&str> {
    let stem = |part: &'_ str| part.split_once('.').map_or(part.len(), |(stem, _)| stem.len());
    path.split('/').filter_map(|part| part.get(..stem(part))).find(|stem| EMPTY_NAMES.contains(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_lines(count: usize) -> String {
        format!("//! Purpose.\n{}", "fn f() {}\n".repeat(count - 1))
    }

    #[test]
    fn a_file_of_600_lines_is_allowed_and_one_more_is_not() {
        assert!(check("crates/a/src/b.rs", &of_lines(600)).is_empty());
        assert!(check("crates/a/src/b.rs", &of_lines(601))[0].contains("601 lines"));
    }

    #[test]
    fn unit_tests_at_the_end_and_test_files_are_not_counted() {
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", of_lines(600), "    // x\n".repeat(900));
        assert!(check("crates/a/src/b.rs", &tested).is_empty());
        assert!(check("crates/a/tests/api/b.rs", &of_lines(900)).is_empty());
        assert!(check("crates/a/src/b/tests.rs", &of_lines(900)).is_empty());
        let attribute_only = format!("//! Purpose.\n#[cfg(test)]\nuse x;\n{}", "fn f() {}\n".repeat(600));
        assert_eq!(check("crates/a/src/b.rs", &attribute_only).len(), 1);
    }

    #[test]
    fn names_that_say_nothing_are_refused_for_files_and_folders() {
        for path in ["a/src/utils.rs", "a/src/common/x.rs", "console/src/helpers.test.ts", "a/src/manager.rs"] {
            assert!(check(path, "//! Purpose.\n").len() == 1, "{path}");
        }
        assert!(check("a/src/commonplace.rs", "//! Purpose.\n").is_empty());
    }

    #[test]
    fn a_rust_file_opens_with_its_purpose() {
        assert_eq!(check("a/src/b.rs", "use std::fmt;\n").len(), 1);
        assert_eq!(check("a/src/b.rs", "").len(), 1);
        assert!(check("a/b.py", "import os\n").is_empty());
    }

    #[test]
    fn module_files_carry_the_modules_name() {
        assert_eq!(check("a/src/b/mod.rs", "//! Purpose.\n").len(), 1);
    }

    #[test]
    fn unfinished_work_is_found_with_its_line() {
        let text = format!("//! Purpose.\nfn f() {{ {}) }}\n{}]\n", concat!("to", "do!("), concat!("#[ig", "nore"));
        let problems = check("a/src/b.rs", &text);
        assert!(problems[0].starts_with("a/src/b.rs:2: "), "{problems:?}");
        assert!(problems[1].starts_with("a/src/b.rs:3: "), "{problems:?}");
    }

    #[test]
    fn built_and_installed_files_are_not_committed() {
        assert!(check_committed("console/dist/index.html").is_some());
        assert!(check_committed("tests/sdk/node/node_modules/openai/index.js").is_some());
        assert!(check_committed("crates/a/src/dist.rs").is_none());
    }
}
