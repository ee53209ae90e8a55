//! Goal: the rules of our house that no compiler checks hold for every file, and go on holding.
//! Method: read our own source text. Comments and strings are blanked where a rule is about code. A rule that finds
//! something names the file, the line and what to do.

#![cfg(not(slipring_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Lines of a file, of a test file, and of a function.
const FILE_LINES: usize = 600;
const TEST_FILE_LINES: usize = 1200;
const FUNCTION_LINES: usize = 70;
/// How far above an access its ORDERING comment may begin.
const ORDERING_DISTANCE: usize = 12;

/// Where our Rust is.
const SOURCE: [&str; 5] = [
    "src",
    "cli/src",
    "soak/src",
    "disk-tests/src",
    "benches/compare/src",
];
const ALL_RUST: [&str; 14] = [
    "src",
    "cli/src",
    "cli/tests",
    "soak/src",
    "soak/tests",
    "disk-tests/src",
    "benches",
    "loom-tests/src",
    "loom-tests/tests",
    "shuttle-tests/src",
    "shuttle-tests/tests",
    "fuzz",
    "tests",
    "bindings",
];

/// One file of ours.
struct Text {
    /// From the root of the repository, with `/`.
    path: String,
    raw: String,
    /// The same lines with comments, and what is inside quotes, blanked.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    // A published package has fewer directories than the repository.
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let kind = entry.file_type().unwrap();
        let hidden = name.to_string_lossy().starts_with('.');
        let ours = [".ci", ".github", ".cargo", ".config"];
        if kind.is_dir() {
            // What is built, or belongs to tools, is not tracked.
            if name != "target" && (!hidden || ours.iter().any(|known| name == *known)) {
                walk(&entry.path(), found);
            }
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

/// Files below these directories with one of these endings, sorted.
fn files(directories: &[&str], endings: &[&str]) -> Vec<Text> {
    let mut paths = Vec::new();
    for directory in directories {
        walk(&root().join(directory), &mut paths);
    }
    paths.sort();
    paths.dedup();
    let ours = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        endings.contains(&&*ending)
    };
    let read = |path: PathBuf| {
        let raw = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap();
        Text {
            path: path.to_string_lossy().replace('\\', "/"),
            code: if path.extension().is_some_and(|ending| ending == "rs") {
                blanked(&raw)
            } else {
                String::new()
            },
            raw,
        }
    };
    paths.into_iter().filter(ours).map(read).collect()
}

fn rust(directories: &[&str]) -> Vec<Text> {
    let found = files(directories, &["rs"]);
    assert!(found.len() > 20, "the source is not where it was");
    found
}

/// Lines that are not empty after blanking keep their numbers; what is in comments and quotes becomes spaces.
fn blanked(raw: &str) -> String {
    let mut code = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(first) = rest.chars().next() {
        let (length, keep) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            '"' => (string(rest), false),
            'r' if is_raw_string(rest) && !ends_in_word(&code) => (raw_string(rest), false),
            'b' if is_raw_string(&rest[1..]) && !ends_in_word(&code) => {
                (1 + raw_string(&rest[1..]), false)
            }
            '\'' => (character(rest), false),
            _ => (first.len_utf8(), true),
        };
        let (part, after) = rest.split_at(length);
        for c in part.chars() {
            code.push(if keep || c == '\n' { c } else { ' ' });
        }
        rest = after;
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_in_word(code: &str) -> bool {
    code.ends_with(is_word)
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_raw_string(text: &str) -> bool {
    text.strip_prefix('r')
        .is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
}

fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let start = 1 + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = text[start..].find(&end);
    length.map_or(text.len(), |length| start + length + end.len())
}

/// A character literal, or the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), _) => text[3..].find('\'').map_or(1, |at| 3 + at + 1),
        (Some(c), Some('\'')) => 1 + c.len_utf8() + 1,
        _ => 1,
    }
}

/// Fails with everything that was found.
fn nothing(found: &[String], what_to_do: &str) {
    let mut text = String::new();
    for place in found {
        writeln!(text, "  {place}").unwrap();
    }
    assert!(found.is_empty(), "{what_to_do}:\n{text}");
}

/// Places in these texts where `wrong` says something about a line of code, or of raw text.
fn places(texts: &[Text], wrong: impl Fn(&Text, &str, &str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for text in texts {
        let code = text.code.lines().chain(std::iter::repeat(""));
        for (number, (raw, code)) in (1..).zip(text.raw.lines().zip(code)) {
            if let Some(what) = wrong(text, raw, code) {
                found.push(format!("{}:{number}: {what}", text.path));
            }
        }
    }
    found
}

/// True if `word` stands in `code` as a word of its own.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !ends_in_word(&code[..at]) && !code[at + word.len()..].starts_with(is_word))
}

#[test]
fn comments_and_quotes_are_not_code() {
    for quoted in [
        "\"{\"",
        "\"\\\"{\"",
        "b\"{\"",
        "r#\"{\"{\"#",
        "br\"{\"",
        "'{'",
        "'\\''",
        "'\\u{7b}'",
        "/* { /* } */ \" */",
        "// { \" '",
    ] {
        let source = format!("a({quoted}\n){{'_}}");
        // A lifetime loses its quote, which no rule needs; the `b` of a byte string stays.
        let b = if quoted.starts_with("b\"") { "b" } else { "" };
        let spaces = " ".repeat(quoted.len() - b.len());
        assert_eq!(blanked(&source), format!("a({b}{spaces}\n){{ _}}"));
    }
    assert_eq!(blanked("for\"a\""), "for   ", "a word that ends in r");
    assert!(has_word("x.unsafe()", "unsafe"));
    assert!(!has_word("unsafe_code", "unsafe"));
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let mut found = Vec::new();
    for text in rust(&SOURCE) {
        if !text.raw.starts_with("//! ") {
            found.push(format!("{}:1", text.path));
        }
    }
    nothing(&found, "begin the file with //! and what it is for");
}

#[test]
fn no_file_is_too_long_to_hold_one_idea() {
    let mut found = Vec::new();
    for (directories, most) in [
        (&SOURCE[..], FILE_LINES),
        (
            &[
                "tests",
                "cli/tests",
                "soak/tests",
                "loom-tests/tests",
                "benches/compare/tests",
            ],
            TEST_FILE_LINES,
        ),
    ] {
        for text in files(directories, &["rs"]) {
            let lines = text.raw.lines().count();
            if lines > most {
                found.push(format!(
                    "{}:{lines}: {lines} lines, {most} at most",
                    text.path
                ));
            }
        }
    }
    nothing(&found, "split the file by ideas");
}

/// Functions of a file: first line, lines down to the closing brace, name.
fn functions(code: &str) -> Vec<(usize, usize, String)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some(at) = line.find("fn ").filter(|at| !ends_in_word(&line[..*at])) else {
            continue;
        };
        let name: String = line[at + 3..].chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            // The type of a function, not one.
            continue;
        }
        let mut depth = 0;
        let text = lines[first..].iter().enumerate();
        let end = text.flat_map(|(number, line)| line.chars().map(move |c| (number, c)));
        for (number, c) in end.skip(at) {
            match c {
                '{' | '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                // Declared, without a body.
                ';' if depth == 0 => break,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        found.push((first + 1, number + 1, name));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn no_function_is_too_long_to_see_at_once() {
    let mut all = Vec::new();
    for text in rust(&SOURCE) {
        for (line, length, name) in functions(&text.code) {
            all.push((
                length,
                format!("{}:{line}: {name}: {length} lines", text.path),
            ));
        }
    }
    assert!(
        all.len() > 400,
        "functions are no longer found: {}",
        all.len()
    );
    all.sort_by(|a, b| b.cmp(a));
    println!("the longest functions:");
    for (_, place) in all.iter().take(5) {
        println!("  {place}");
    }
    let too_long = all
        .into_iter()
        .filter(|(length, _)| *length > FUNCTION_LINES);
    let found: Vec<_> = too_long.map(|(_, place)| place).collect();
    nothing(&found, "split the function: 70 lines at most");
}

#[test]
fn unsafe_stands_only_where_the_outside_is_touched() {
    let may = |path: &str| {
        path.starts_with("src/mem/") || path.starts_with("src/sys/") || path == "src/path.rs"
    };
    let found = places(&rust(&["src"]), |text, _, code| {
        (!may(&text.path) && has_word(code, "unsafe")).then(|| code.trim().to_owned())
    });
    nothing(
        &found,
        "move it to src/mem or src/sys, behind a safe function",
    );
}

#[test]
fn only_the_door_names_atomics_or_the_model_checker() {
    let may = [
        "src/sync.rs",
        "src/sync/light.rs",
        "src/sync/weaken.rs",
        "src/mem/model.rs",
    ];
    let found = places(&rust(&["src"]), |text, _, code| {
        let named = ["atomic::", "::atomic", "loom::"]
            .iter()
            .any(|name| code.contains(name));
        // `use core::sync::{atomic, ...}` names it as well.
        let grouped = code.contains("sync::{") && has_word(code, "atomic");
        (!may.contains(&&*text.path) && (named || grouped)).then(|| code.trim().to_owned())
    });
    nothing(&found, "use crate::sync instead");
}

/// What is wrong with an ordering used in line `at`, if another stands before it, in line `previous`.
fn ordering_fault(text: &Text, at: usize, previous: Option<usize>, name: &str) -> Option<String> {
    let raw: Vec<&str> = text.raw.lines().collect();
    let from = at.saturating_sub(ORDERING_DISTANCE);
    let marker = |line: &usize| raw[*line].contains("// ORDERING");
    let Some(start) = (from..=at).rev().find(marker) else {
        return Some(format!("Ordering::{name} without an // ORDERING comment"));
    };
    // A comment speaks for one statement; one for several would go stale when one of them changes.
    let same_statement = |previous| {
        let mut between = text.code.lines().skip(previous).take(at - previous);
        !between.any(|code| code.contains([';', '{', '}']))
    };
    if previous.is_some_and(|previous| start <= previous && !same_statement(previous)) {
        let line = start + 1;
        return Some(format!(
            "Ordering::{name} shares the // ORDERING comment of line {line}"
        ));
    }
    let block = raw[start..=at].iter();
    let comments = block.map_while(|line| line.split_once("//").map(|(_, comment)| comment));
    let says: String = comments.collect();
    (!has_word(&says, name)).then(|| format!("Ordering::{name}, but its comment says:{says}"))
}

#[test]
fn every_ordering_is_explained_where_it_is_used() {
    let owned = [
        "src/ring/",
        "src/sys/",
        "src/participant.rs",
        "src/queue.rs",
        "src/consumer.rs",
        "src/producer.rs",
        "src/group.rs",
        "src/stats.rs",
    ];
    let mut found = Vec::new();
    let mut uses = 0;
    for text in rust(&["src"]) {
        if !owned.iter().any(|prefix| text.path.starts_with(prefix)) {
            continue;
        }
        let mut previous = None;
        for (at, code) in text.code.lines().enumerate() {
            let mut here = false;
            for (place, _) in code.match_indices("Ordering::") {
                if ends_in_word(&code[..place]) || code.trim_start().starts_with("use ") {
                    continue;
                }
                let name = &code[place + "Ordering::".len()..];
                let name = name.split(|c| !is_word(c)).next().unwrap();
                uses += 1;
                here = true;
                if let Some(fault) = ordering_fault(&text, at, previous, name) {
                    found.push(format!("{}:{}: {fault}", text.path, at + 1));
                }
            }
            if here {
                previous = Some(at);
            }
        }
    }
    assert!(uses > 100, "orderings are no longer found: {uses}");
    nothing(
        &found,
        "say above the access which ordering it is, what it pairs with and what it carries",
    );
}

#[test]
fn text_is_ascii() {
    let mut texts = files(&ALL_RUST, &["rs"]);
    texts.extend(prose());
    texts.extend(files(
        &["ci", ".ci", "benches/compare"],
        &["sh", "yml", "toml", "cpp"],
    ));
    let found = places(&texts, |_, raw, _| {
        let other: BTreeSet<char> = raw.chars().filter(|c| !c.is_ascii()).collect();
        (!other.is_empty()).then(|| format!("{other:?}"))
    });
    nothing(&found, "write it in ASCII, in a string as an escape");
}

#[test]
fn nothing_is_left_over() {
    let macros = ["todo!", "unimplemented!", "dbg!"];
    // Put together here, or they would be found here.
    let marks = [
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
    ];
    let found = places(&files(&ALL_RUST, &["rs"]), |_, raw, code| {
        let left = macros.iter().find(|name| code.contains(*name));
        let left = left.or_else(|| marks.iter().find(|mark| has_word(raw, mark)));
        left.map(|what| (*what).to_owned())
    });
    nothing(&found, "do it, or take it out");
}

/// README.md, if there is one, docs/*.md, and the page on other queues.
fn prose() -> Vec<Text> {
    let mut found = files(&["docs", "benches/compare"], &["md"]);
    let path = "README.md".to_owned();
    if let Ok(raw) = fs::read_to_string(root().join(&path)) {
        let code = String::new();
        found.push(Text { path, raw, code });
    }
    found
}

/// Lines outside fenced code.
fn unfenced(raw: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    raw.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The name under which a heading can be linked to.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| is_word(*c) || *c == ' ' || *c == '-')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Targets of the links of a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, mark)| {
        let rest = &line[at + mark.len()..];
        rest.find(')').map(|end| &rest[..end])
    })
}

/// File names in code quotes: paths with an ending of ours.
fn quoted_files(line: &str) -> impl Iterator<Item = &str> {
    let endings = [".rs", ".md", ".toml", ".sh", ".yml", ".h", ".py"];
    line.split('`').skip(1).step_by(2).filter(move |quoted| {
        let path = quoted.chars().all(|c| is_word(c) || "./-".contains(c));
        path && endings
            .iter()
            .any(|ending| quoted.len() > ending.len() && quoted.ends_with(ending))
    })
}

/// Whether a path names something, from a file's own directory or from the root.
fn exists(text: &Text, target: &str) -> bool {
    let beside = root().join(&text.path).with_file_name("").join(target);
    let inside = |path: &Path| path.components().all(|part| part != Component::RootDir);
    inside(Path::new(target)) && (beside.exists() || root().join(target).exists())
}

fn link_fault(text: &Text, target: &str) -> Option<String> {
    let outside = ["http://", "https://", "mailto:"];
    if outside.iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    let (linked, raw) = if path.is_empty() {
        (true, text.raw.clone())
    } else {
        // A link is followed from the page itself.
        let file = root().join(&text.path).with_file_name("").join(path);
        (file.exists(), fs::read_to_string(file).unwrap_or_default())
    };
    if !linked {
        return Some(format!("a link to {path:?}, which does not exist"));
    }
    let headings = unfenced(&raw).filter(|(_, line)| line.starts_with('#'));
    let mut anchors = headings.map(|(_, line)| anchor(line));
    (!fragment.is_empty() && !anchors.any(|found| found == fragment))
        .then(|| format!("a link to {target:?}, and no such heading"))
}

#[test]
fn pages_point_to_what_exists() {
    let mut found = Vec::new();
    for text in prose() {
        for (at, line) in unfenced(&text.raw) {
            let broken = links(line).filter_map(|target| link_fault(&text, target));
            let missing = quoted_files(line)
                .filter(|name| !exists(&text, name))
                .map(|name| format!("{name:?} does not exist"));
            for fault in broken.chain(missing) {
                found.push(format!("{}:{}: {fault}", text.path, at + 1));
            }
        }
    }
    nothing(&found, "correct the link or the file's name");
}

/// The page on crashes names the test that shows each claim.
#[test]
fn tests_that_pages_name_exist() {
    let places = [
        "tests",
        "cli/tests",
        "loom-tests/tests",
        "shuttle-tests/tests",
        "soak",
        "disk-tests/src",
    ];
    let tests: String = files(&places, &["rs"])
        .into_iter()
        .map(|text| text.raw)
        .collect();
    let mut found = Vec::new();
    for text in prose() {
        for (at, line) in unfenced(&text.raw) {
            let names = line.split('`').skip(1).step_by(2).filter(|quoted| {
                // Words of a sentence; fields and options have fewer.
                quoted.matches('_').count() >= 3
                    && quoted.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            });
            for name in names.filter(|name| !tests.contains(&format!("fn {name}("))) {
                found.push(format!("{}:{}: no test {name}", text.path, at + 1));
            }
        }
    }
    nothing(&found, "name the test as it is called");
}

#[test]
fn comments_point_to_pages_that_exist() {
    let found = places(&rust(&ALL_RUST), |text, raw, _| {
        let comment = raw.split_once("//").map(|(_, comment)| comment)?;
        quoted_files(comment)
            .filter(|name| name.starts_with("docs/"))
            .find(|name| !exists(text, name))
            .map(|name| format!("{name:?} does not exist"))
    });
    nothing(&found, "write the page, or point to another one");
}

#[test]
fn every_exception_to_a_lint_has_a_reason() {
    let mut found = Vec::new();
    for text in rust(&ALL_RUST) {
        for name in ["allow(", "expect("] {
            for (at, _) in text.code.match_indices(name) {
                let before = text.code[..at].trim_end();
                // In an attribute, alone or inside cfg_attr; a method is called with a dot.
                let starts = ["#[", "#!["].iter().any(|mark| before.ends_with(mark));
                let conditional = before.rfind('#').is_some_and(|mark| {
                    let attribute = &before[mark..];
                    attribute.contains("cfg_attr(") && !attribute.contains(']')
                });
                let end = text.code[at..]
                    .find(']')
                    .map_or(text.code.len(), |end| at + end);
                if (starts || conditional) && !has_word(&text.code[at..end], "reason") {
                    let line = text.code[..at].lines().count();
                    found.push(format!("{}:{line}: {name}..)", text.path));
                }
            }
        }
    }
    nothing(&found, "add reason = \"...\" to the attribute");
}

#[test]
fn every_page_has_one_title_and_begins_with_it() {
    let mut found = Vec::new();
    for text in files(&["docs"], &["md"]) {
        let titles: Vec<_> = unfenced(&text.raw)
            .filter(|(_, line)| line.starts_with("# "))
            .map(|(at, _)| at + 1)
            .collect();
        if titles != [1] {
            found.push(format!("{}: titles in lines {titles:?}", text.path));
        }
    }
    nothing(&found, "give the page one # title, in its first line");
}

#[test]
fn no_text_names_a_directory_of_the_machine_it_was_written_on() {
    // Put together here, or they would be found here.
    let directories = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let endings = [
        "rs", "md", "toml", "lock", "sh", "yml", "yaml", "py", "pyi", "h", "c", "txt",
    ];
    let found = places(&files(&["."], &endings), |_, raw, _| {
        directories
            .iter()
            // In the middle of a longer path it is a directory of ours.
            .find(|name| {
                raw.match_indices(**name)
                    .any(|(at, _)| !raw[..at].ends_with(|c| is_word(c) || c == '.'))
            })
            .map(|name| (*name).to_owned())
    });
    nothing(&found, "name it from the root of the repository");
}
