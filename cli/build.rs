//! Tells the program the commit it was built from, for its benchmark results. Outside a repository it does without.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let done = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| text.trim().to_owned())
}

fn main() {
    // HEAD changes with a checkout, its log with each commit.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    if let Some(commit) = git(&[
        "describe",
        "--always",
        "--abbrev=12",
        "--match=",
        "--dirty=-changed",
    ]) {
        println!("cargo:rustc-env=SLIPRING_COMMIT={commit}");
    }
}
