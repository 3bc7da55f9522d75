//! Lists the targets and the folders of their inputs, for `cargo xtask fuzz`.
#![expect(clippy::print_stdout, reason = "it speaks through its output")]

fn main() {
    for target in privet_fuzz::targets() {
        println!("{} {}", target.name, target.corpus);
    }
}
