//! All inputs that are kept, tried with all that must hold for them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use privet_fuzz::{Target, targets};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(files) = std::fs::read_dir(corpus().join(&target.corpus)) else { return Vec::new() };
    let paths = files.map(|file| file.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn what_must_hold_holds_for_every_kept_input() {
    for target in targets() {
        let inputs = inputs(&target);
        assert!(!inputs.is_empty(), "`{}` has no inputs in fuzz/corpus/{}", target.name, target.corpus);
        for (path, input) in inputs {
            let held = catch_unwind(AssertUnwindSafe(|| (target.check)(&input)));
            assert!(held.is_ok(), "`{}` does not hold for {}", target.name, path.display());
        }
    }
}

#[test]
fn every_folder_of_inputs_has_a_target() {
    let known: BTreeSet<String> = targets().into_iter().map(|target| target.corpus).collect();
    for folder in std::fs::read_dir(corpus()).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "fuzz/corpus/{name} is of no target");
    }
}

#[test]
fn names_of_targets_are_their_own() {
    let names: BTreeSet<String> = targets().into_iter().map(|target| target.name).collect();
    assert_eq!(names.len(), targets().len());
}
