//! Documentation that runs: the console blocks of the README and of `tests/console/*.md`.
//!
//! In a block marked `console`, a line that starts with `$ ` is a command, run by `sh`; the lines up to the next command
//! are what it prints on stdout. There, `[..]` stands for any text within a line, and a line `...` for any lines. The
//! commands of a file run one after the other with a directory for queues of their own. Commands that start with
//! `cargo` or `git` are not run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails is to panic"
)]

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

#[test]
fn the_readme_is_right() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    if readme.exists() {
        check(&readme);
    }
}

#[test]
fn the_console_documents_are_right() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    let mut checked = 0;
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            checked += check(&path);
        }
    }
    assert!(checked > 0);
}

/// Runs a file's commands and compares; says how many there were.
fn check(path: &Path) -> usize {
    let steps = steps(&std::fs::read_to_string(path).unwrap());
    let dir = TempDir::new().unwrap();
    let mut wrong = String::new();
    for step in &steps {
        if ["cargo ", "git "]
            .iter()
            .any(|tool| step.command.starts_with(tool))
        {
            continue;
        }
        let found = run(&step.command, dir.path());
        let lines: Vec<_> = found.lines().map(str::to_owned).collect();
        if !matches(&step.expected, &lines) {
            let (path, line, expected) = (path.display(), step.line, step.expected.join("\n"));
            writeln!(
                wrong,
                "{path}:{line}: $ {}\nexpected:\n{expected}\nfound:\n{found}",
                step.command
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    steps.len()
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (line, content) in (1..).zip(text.lines()) {
        if content.starts_with("```") {
            inside = !inside && content.trim_end() == "```console";
        } else if let Some(command) = content.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step {
                line,
                command: command.to_owned(),
                expected: Vec::new(),
            });
        } else if let Some(step) = steps.last_mut().filter(|_| inside) {
            step.expected.push(content.to_owned());
        }
    }
    steps
}

fn run(command: &str, dir: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_slipring")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("PATH", format!("{}:{path}", program.display()))
        .env("SLIPRING_DIR", dir)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end: $ {command}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    reader.join().unwrap()
}

/// Whether the lines are as expected, wildcards considered.
fn matches(expected: &[String], found: &[String]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=found.len()).any(|skipped| matches(rest, found.get(skipped..).unwrap()))
        }
        Some((first, rest)) => found
            .split_first()
            .is_some_and(|(line, left)| line_matches(first, line) && matches(rest, left)),
    }
}

fn line_matches(expected: &str, found: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected == found,
        Some((start, rest)) => found.strip_prefix(start).is_some_and(|found| {
            let mut ends = found.char_indices().map(|(at, _)| at).chain([found.len()]);
            ends.any(|at| line_matches(rest, found.get(at..).unwrap()))
        }),
    }
}

#[test]
fn wildcards_match_what_they_say() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&lines("a\n...\nd"), &lines("a\nb\nc\nd")));
    assert!(matches(&lines("...\na"), &lines("a")));
    assert!(!matches(&lines("a\n...\nd"), &lines("a\nb")));
    assert!(!matches(&lines("a"), &lines("a\nb")));
    assert!(line_matches("took [..] s, [..]", "took 1.5 s, all well"));
    assert!(line_matches("x[..]", "x"));
    assert!(!line_matches("x[..]y", "xyz"));
}
