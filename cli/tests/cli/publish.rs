//! `slipring publish`: where messages come from, and what happens when there is no room.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::support::{Sandbox, until};

const DRAIN: [&str; 3] = ["consume", "q", "--drain"];

#[test]
fn arguments_are_messages_in_order() {
    let sandbox = Sandbox::with_queue(&[]);
    assert_eq!(sandbox.ok(["publish", "q", "one", "", "three"]), "");
    assert_eq!(sandbox.ok(DRAIN), "one\n\nthree\n");
}

#[test]
fn arguments_need_not_be_text() {
    let sandbox = Sandbox::with_queue(&[]);
    let bytes = OsStr::from_bytes(b"a\xff\xfe");
    sandbox.ok([OsStr::new("publish"), OsStr::new("q"), bytes]);
    let done = sandbox.run(["consume", "q", "-n", "1", "--json"]);
    assert_eq!(done.json()["payload_hex"], "61fffe");
}

#[test]
fn lines_of_stdin_are_messages_and_the_last_may_lack_its_end() {
    let sandbox = Sandbox::with_queue(&[]);
    let done = sandbox.run_with_input(["publish", "q", "--json"], b"one\n\ntwo words\nlast");
    assert_eq!(done.code(), 0, "{done:?}");
    let summary = done.json();
    assert_eq!(summary["published"], 4);
    assert_eq!(
        (&summary["first"], &summary["last"]),
        (&0.into(), &3.into())
    );
    assert_eq!(sandbox.ok(DRAIN), "one\n\ntwo words\nlast\n");
}

#[test]
fn no_input_is_no_message() {
    let sandbox = Sandbox::with_queue(&[]);
    let summary = sandbox.run(["publish", "q", "--json"]).json();
    assert_eq!(summary["published"], 0);
    assert!(summary["first"].is_null());
}

#[test]
fn nul_separated_input_keeps_its_newlines() {
    let sandbox = Sandbox::with_queue(&[]);
    let done = sandbox.run_with_input(["publish", "q", "--null"], b"a\nb\0c\0");
    assert_eq!(done.code(), 0, "{done:?}");
    assert_eq!(
        sandbox.ok(["consume", "q", "--drain", "--null"]),
        "a\nb\0c\0"
    );
}

#[test]
fn input_longer_than_its_buffer_is_cut_in_the_right_places() {
    let sandbox = Sandbox::with_queue(&["--max-message", "1m", "--capacity", "8192"]);
    let long = "x".repeat(300_000);
    let input = format!("{long}\n{}", "short\n".repeat(5000));
    sandbox.run_with_input(["publish", "q"], input.as_bytes());
    assert_eq!(sandbox.ok(DRAIN), input);
}

#[test]
fn a_file_is_one_message() {
    let sandbox = Sandbox::with_queue(&[]);
    std::fs::write(sandbox.path("a"), "1\n2\n").unwrap();
    std::fs::write(sandbox.path("b"), "3").unwrap();
    sandbox.ok(["publish", "q", "--file", "a", "-f", "b"]);
    let done = sandbox.run_with_input(["publish", "q", "--file", "-"], b"4\n5");
    assert_eq!(done.code(), 0, "{done:?}");
    let args = ["consume", "q", "--drain", "--format", "<{payload}>"];
    assert_eq!(sandbox.ok(args), "<1\n2\n><3><4\n5>");
    let missing = sandbox.run(["publish", "q", "-f", "a", "-f", "nowhere"]);
    missing.failed(1, "q: 1 published, then: reading nowhere: No such file");
}

#[test]
fn messages_repeat_or_are_generated() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "--count", "2", "a", "b"]);
    assert_eq!(sandbox.ok(DRAIN), "a\nb\na\nb\n");
    let args = ["publish", "q", "-n", "100", "--size", "1k", "--json"];
    assert_eq!(sandbox.run(args).json()["published"], 100);
    let lengths = sandbox.ok(["consume", "q", "--drain", "--format", "{length}\\n"]);
    assert_eq!(lengths, "1024\n".repeat(100));
}

#[test]
fn a_rate_is_kept_from_above() {
    let sandbox = Sandbox::with_queue(&[]);
    let started = Instant::now();
    sandbox.ok(["publish", "q", "-n", "11", "--rate", "100"]);
    assert!(started.elapsed() >= Duration::from_millis(100));
    assert_eq!(sandbox.info()["published"], 11);
}

#[test]
fn sequences_kind_and_key_are_kept() {
    let sandbox = Sandbox::with_queue(&[]);
    let args = [
        "publish",
        "q",
        "-v",
        "--kind",
        "7",
        "--key",
        "4000000000",
        "a",
        "b",
    ];
    assert_eq!(sandbox.ok(args), "0\n1\n");
    let done = sandbox.run(["consume", "q", "--drain", "--json"]);
    for (message, sequence) in done.json_lines().iter().zip(0..) {
        assert_eq!(message["sequence"], sequence);
        assert_eq!(message["kind"], 7);
        assert_eq!(message["key"], 4_000_000_000_u64);
        assert_eq!(message["count"], 1);
        assert_eq!(message["group"], "default");
        assert!(message["timestamp_ns"].as_u64().unwrap() > 0);
    }
}

#[test]
fn it_can_create_the_queue() {
    let sandbox = Sandbox::new();
    sandbox
        .run(["publish", "q", "x"])
        .failed(3, "no such queue");
    sandbox.ok(["publish", "q", "--create", "x"]);
    sandbox.ok(["publish", "q", "--create", "y"]);
    assert_eq!(sandbox.ok(DRAIN), "x\ny\n");
}

#[test]
fn a_full_queue_makes_it_wait() {
    let sandbox = Sandbox::with_queue(&["--capacity", "2"]);
    let mut publisher = sandbox.spawn(["publish", "q", "a", "b", "c"]);
    until(|| sandbox.info()["published"] == 2);
    assert!(!publisher.has_ended());
    assert_eq!(sandbox.ok(["consume", "q", "-n", "1"]), "a\n");
    assert_eq!(publisher.wait().code(), 0);
    assert_eq!(sandbox.ok(DRAIN), "b\nc\n");
}

#[test]
fn a_full_queue_ends_it_with_5_at_the_time_out() {
    let sandbox = Sandbox::with_queue(&["--capacity", "2"]);
    let done = sandbox.run([
        "publish",
        "q",
        "--timeout",
        "250ms",
        "--json",
        "a",
        "b",
        "c",
    ]);
    done.failed(5, "q: 2 published, then: queue full until the time-out");
    assert_eq!(done.json()["published"], 2);
    assert_eq!(done.json()["last"], 1);
}

#[test]
fn a_rejecting_queue_ends_it_with_5_at_once() {
    let sandbox = Sandbox::with_queue(&["--capacity", "2", "--when-full", "reject"]);
    let done = sandbox.run(["publish", "q", "a", "b", "c"]);
    done.failed(5, "queue full");
    let done = sandbox.run(["publish", "q", "--timeout", "10ms", "c"]);
    done.failed(5, "queue full until the time-out");
    assert_eq!(sandbox.ok(DRAIN), "a\nb\n");
}

#[test]
fn a_dropping_queue_keeps_the_newest() {
    let sandbox = Sandbox::with_queue(&["--capacity", "2", "--when-full", "drop-oldest"]);
    sandbox.ok(["publish", "q", "a", "b", "c", "d"]);
    assert_eq!(sandbox.group()["lost"], 2);
    assert_eq!(sandbox.ok(DRAIN), "c\nd\n");
}

#[test]
fn what_is_too_long_is_refused_before_it_fills_the_memory() {
    let sandbox = Sandbox::with_queue(&["--max-message", "100"]);
    let long = "x".repeat(101);
    let refused = "message of 101 bytes, the queue takes 100";
    sandbox.run(["publish", "q", &long]).failed(1, refused);
    sandbox
        .run(["publish", "q", "--size", "101"])
        .failed(1, refused);
    sandbox
        .run_with_input(["publish", "q"], long.as_bytes())
        .failed(1, "longer than the 100 bytes the queue takes");
    std::fs::write(sandbox.path("file"), "x".repeat(1 << 20)).unwrap();
    sandbox
        .run(["publish", "q", "--file", "file"])
        .failed(1, refused);
}
