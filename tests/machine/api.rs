//! Every public function is called by the machine, or there is a reason why not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where the types are that are made or used after creation.
const FILES: [&str; 11] = [
    "claims",
    "consumer",
    "dead",
    "delivery",
    "group",
    "inspect",
    "message",
    "options",
    "producer",
    "queue",
    "reservation",
];

/// The machine has no disk that loses power.
const DURABLE: &str = "power losses, tests/power_loss and tests/durability.rs";

const NOT_IN_THE_MACHINE: [(&str, &str); 25] = [
    ("Delivery::ack_durable", DURABLE),
    (
        "Inspector::durability",
        "does not change, tests/durability.rs",
    ),
    ("Options::checksums", DURABLE),
    ("Inspector::pending_recovery", DURABLE),
    ("Options::durability", DURABLE),
    ("Options::verify", DURABLE),
    ("Producer::flush", DURABLE),
    ("Producer::publish_durable", DURABLE),
    ("Queue::durability", "does not change, tests/durability.rs"),
    ("Queue::recovery", DURABLE),
    (
        "Delivery::value",
        "a way to read the payload, tests/behaviour.rs",
    ),
    ("Message::value", "a way to write it, tests/behaviour.rs"),
    (
        "Group::dead_letter_queue",
        "statistics tell the same, tests/dead_letters.rs",
    ),
    (
        "Inspector::created_ns",
        "does not change, tests/format_doc/main.rs",
    ),
    ("Inspector::full_policy", "does not change, tests/open.rs"),
    ("Inspector::geometry", "does not change, tests/format_doc"),
    (
        "Inspector::replay",
        "reads what peek does, in order, tests/replay.rs",
    ),
    (
        "Options::file_mode",
        "concerns the file's permissions, tests/open.rs",
    ),
    ("Options::huge_pages", "a hint to the kernel, tests/open.rs"),
    (
        "Options::in_memory",
        "nobody else can attach, and it cannot be opened again, tests/model.rs",
    ),
    (
        "Options::open_or_create",
        "races of creators, tests/open.rs",
    ),
    ("Queue::full_policy", "does not change, tests/open.rs"),
    ("Queue::open_or_create", "as that of its options"),
    ("Queue::replay", "as that of an inspector, tests/replay.rs"),
    ("Queue::unlink", "ends the file, tests/open.rs"),
];

/// The functions of a file's public types, as `Type::function`.
fn functions(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let (mut of, mut found) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("impl") {
            let rest = rest.split_once("> ").map_or(rest, |(_, rest)| rest);
            of = word(rest.trim_start());
        }
        let public = line
            .strip_prefix("    pub fn ")
            .or(line.strip_prefix("    pub const fn "));
        if let Some(rest) = public {
            found.insert(format!("{of}::{}", word(rest)));
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_public_function_is_in_the_machine_or_named_with_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let machine: String = fs::read_dir(root.join("tests/machine"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name() != Some("api.rs".as_ref()))
        .map(|path| read(&path))
        .collect();
    let sources = FILES.map(|file| read(&root.join(format!("src/{file}.rs"))));
    let all: BTreeSet<String> = sources.iter().flat_map(|text| functions(text)).collect();
    assert!(
        all.len() > 90,
        "functions are no longer found: {}",
        all.len()
    );
    let called = |function: &&String| {
        let (_, name) = function.split_once("::").unwrap();
        [".", "::"]
            .iter()
            .any(|before| machine.contains(&format!("{before}{name}(")))
    };
    let missing: BTreeSet<&str> = all
        .iter()
        .filter(|function| !called(function))
        .map(String::as_str)
        .collect();
    let named: BTreeSet<&str> = NOT_IN_THE_MACHINE.iter().map(|(name, _)| *name).collect();
    assert_eq!(missing, named);
}
