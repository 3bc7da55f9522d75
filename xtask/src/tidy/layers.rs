//! Which crate may depend on which: only downwards, so that a change is felt in one direction.

use crate::workspace::{Dependency, Package};

/// From the bottom to the top. Crates of one layer are siblings and never see each other.
const LAYERS: [&[&str]; 5] = [
    &["privet-domain"],
    &["privet-dialects"],
    &["privet-store", "privet-index", "privet-providers", "privet-evals"],
    &["privet-engine"],
    &["privet-server"],
];
const TESTKIT: &str = "privet-testkit";
/// The mock upstream: it judges the product's bill, so it shares nothing with it.
const UPSTREAM: &str = "privet-upstream";
/// Who may use the mock upstream, besides the tools: tests, and the binary for its drills.
const UPSTREAM_USERS: [&str; 2] = [TESTKIT, "privet-server"];
/// Programs for developers: they may use anything, and nothing uses them.
const TOOLS: [&str; 3] = ["privet-bench", "privet-fuzz", "xtask"];

/// One sentence for each dependency that points the wrong way.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let known = |name: &str| packages.iter().any(|package| package.name == name);
    let mut problems = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        if layer_of(name).is_none() && ![TESTKIT, UPSTREAM].contains(&name) && !TOOLS.contains(&name) {
            problems.push(format!("{name}: has no layer yet; give it one in xtask/src/tidy/layers.rs"));
        }
        for dependency in package.dependencies.iter().filter(|dependency| known(&dependency.name)) {
            problems.extend(check_dependency(name, dependency));
        }
    }
    problems
}

fn check_dependency(name: &str, dependency: &Dependency) -> Option<String> {
    let other = dependency.name.as_str();
    if TOOLS.contains(&other) {
        return Some(format!("{name}: depends on {other}, a tool that nothing may depend on"));
    }
    if TOOLS.contains(&name) {
        return None;
    }
    if name == UPSTREAM {
        return Some(format!("{name}: depends on {other}; it judges the other crates, so it uses none of them"));
    }
    if other == UPSTREAM {
        return (!UPSTREAM_USERS.contains(&name))
            .then(|| format!("{name}: depends on {other}, which is for {}", UPSTREAM_USERS.join(" and ")));
    }
    if other == TESTKIT {
        return (dependency.kind.as_deref() != Some("dev"))
            .then(|| format!("{name}: {TESTKIT} is for tests; move it to [dev-dependencies]"));
    }
    // The testkit stands beside the layers and may use any of them; an unknown crate was reported already.
    let (own, below) = (layer_of(name)?, layer_of(other)?);
    if below > own {
        return Some(format!("{name}: depends on {other}, which is above it"));
    }
    (below == own).then(|| format!("{name}: depends on its sibling {other}; what both need belongs below them"))
}

fn layer_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) })
            .collect();
        Package { name: name.to_owned(), dependencies }
    }

    fn problems_of(name: &str, other: &str, kind: Option<&str>) -> Vec<String> {
        check(&[package(name, &[(other, kind)]), package(other, &[])])
    }

    #[test]
    fn downward_dependencies_are_allowed() {
        assert!(problems_of("privet-server", "privet-domain", None).is_empty());
        assert!(problems_of("privet-engine", "privet-store", None).is_empty());
        assert!(problems_of("privet-dialects", "privet-domain", None).is_empty());
    }

    #[test]
    fn upward_dependencies_are_refused_for_tests_too() {
        assert_eq!(problems_of("privet-store", "privet-engine", None).len(), 1);
        assert_eq!(problems_of("privet-domain", "privet-dialects", Some("dev")).len(), 1);
    }

    #[test]
    fn siblings_are_refused() {
        let problems = problems_of("privet-providers", "privet-store", None);
        assert!(problems[0].contains("sibling privet-store"), "{problems:?}");
    }

    #[test]
    fn the_testkit_is_for_tests_and_tools() {
        assert!(problems_of("privet-store", TESTKIT, Some("dev")).is_empty());
        assert!(problems_of("privet-bench", TESTKIT, None).is_empty());
        assert_eq!(problems_of("privet-server", TESTKIT, None).len(), 1);
        assert_eq!(problems_of("privet-server", TESTKIT, Some("build")).len(), 1);
    }

    #[test]
    fn the_mock_upstream_is_for_drills_and_tests_and_uses_nothing() {
        assert!(problems_of("privet-server", UPSTREAM, None).is_empty());
        assert!(problems_of(TESTKIT, UPSTREAM, None).is_empty());
        assert!(problems_of("privet-bench", UPSTREAM, None).is_empty());
        assert_eq!(problems_of("privet-engine", UPSTREAM, Some("dev")).len(), 1);
        assert_eq!(problems_of(UPSTREAM, "privet-domain", None).len(), 1);
        assert_eq!(problems_of(UPSTREAM, TESTKIT, Some("dev")).len(), 1);
    }

    #[test]
    fn nothing_depends_on_tools() {
        assert_eq!(problems_of("privet-server", "privet-bench", Some("dev")).len(), 1);
        assert_eq!(problems_of("privet-bench", "xtask", None).len(), 1);
    }

    #[test]
    fn crates_from_elsewhere_do_not_matter_and_new_ones_need_a_layer() {
        assert!(check(&[package("privet-domain", &[("serde", None)])]).is_empty());
        assert!(check(&[package("privet-new", &[])])[0].contains("has no layer yet"));
    }
}
