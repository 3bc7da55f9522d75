//! Migrations: both databases take the same steps, each number once.

use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with the names of the files in the two folders.
pub(super) fn check(sqlite: &[String], postgres: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let of_sqlite = numbers("sqlite", sqlite, &mut problems);
    let of_postgres = numbers("postgres", postgres, &mut problems);
    for number in of_sqlite.difference(&of_postgres) {
        problems.push(format!("migrations: {number:04} is in sqlite and not in postgres"));
    }
    for number in of_postgres.difference(&of_sqlite) {
        problems.push(format!("migrations: {number:04} is in postgres and not in sqlite"));
    }
    problems
}

fn numbers(folder: &str, names: &[String], problems: &mut Vec<String>) -> BTreeSet<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for name in names {
        match name.split_once('_').and_then(|(number, _)| number.parse().ok()) {
            Some(number) if name.ends_with(".sql") => *counts.entry(number).or_default() += 1,
            _ => problems.push(format!("migrations/{folder}/{name}: expected a name such as 0001_what_it_adds.sql")),
        }
    }
    for (number, _) in counts.iter().filter(|(_, count)| **count > 1) {
        problems.push(format!("migrations/{folder}: {number:04} is there more than once"));
    }
    counts.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_same_numbers_are_fine_whatever_the_names() {
        assert!(check(&names(&["0001_a.sql", "0002_b.sql"]), &names(&["0002_c.sql", "0001_a.sql"])).is_empty());
    }

    #[test]
    fn a_number_in_one_folder_alone_is_reported_from_either_side() {
        let problems = check(&names(&["0001_a.sql", "0002_b.sql"]), &names(&["0001_a.sql", "0003_c.sql"]));
        assert_eq!(
            problems,
            ["migrations: 0002 is in sqlite and not in postgres", "migrations: 0003 is in postgres and not in sqlite",]
        );
    }

    #[test]
    fn a_number_twice_and_a_strange_name_are_reported() {
        assert_eq!(check(&names(&["0001_a.sql", "0001_b.sql"]), &names(&["0001_a.sql"])).len(), 1);
        assert_eq!(check(&names(&["notes.txt"]), &names(&[])).len(), 1);
    }
}
