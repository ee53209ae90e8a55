//! Signals and closed pipes: an end in good order, and nothing lost.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::support::{HANG, Running, Sandbox, until};

const BOTH: [(Signal, i32); 2] = [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)];

#[test]
fn an_idle_consumer_leaves_with_the_signals_code() {
    for (signal, code) in BOTH {
        let sandbox = Sandbox::with_queue(&[]);
        let consumer = sandbox.spawn(["consume", "q"]);
        sandbox.ok(["publish", "q", "x"]);
        assert_eq!(consumer.line(), "x");
        consumer.signal(signal);
        let done = consumer.wait();
        assert_eq!((done.code(), done.stderr.as_str()), (code, ""), "{done:?}");
        assert_eq!(sandbox.info()["participants"], serde_json::json!([]));
    }
}

#[test]
fn a_message_in_hand_is_given_back() {
    for (signal, code) in BOTH {
        let sandbox = Sandbox::with_queue(&[]);
        // More than a pipe holds, and nobody reads.
        sandbox.ok(["publish", "q", "--size", "200k"]);
        let mut child = sandbox.command(["consume", "q"]).spawn().unwrap();
        let unread = child.stdout.take();
        let consumer = Running::new(child);
        until(|| sandbox.group()["in_flight"] == 1);
        // It is in flight before it is written; a signal in between would be noticed after the write only.
        std::thread::sleep(std::time::Duration::from_millis(200));
        consumer.signal(signal);
        assert_eq!(consumer.wait().code(), code);
        drop(unread);
        // Given back in order: as if it had not been delivered.
        let args = ["consume", "q", "-n", "1", "--format", "{length} {count}"];
        assert_eq!(sandbox.ok(args), "204800 1");
    }
}

#[test]
fn a_command_in_progress_is_waited_for() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "x", "y"]);
    let consumer = sandbox.spawn(["consume", "q", "--exec", HANG]);
    assert_eq!(consumer.line(), "started");
    consumer.signal(Signal::SIGTERM);
    std::fs::write(sandbox.path("go"), "").unwrap();
    assert_eq!(consumer.wait().code(), 143);
    // The first was finished and acked, the second not begun.
    assert_eq!(sandbox.ok(["consume", "q", "--drain"]), "y\n");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "x"]);
    let mut consumer = sandbox.spawn(["consume", "q", "--exec", HANG]);
    assert_eq!(consumer.line(), "started");
    // Two that come at once count as one.
    until(|| {
        consumer.signal(Signal::SIGTERM);
        consumer.has_ended()
    });
    std::fs::write(sandbox.path("go"), "").unwrap();
    consumer.wait_killed(Signal::SIGTERM);
    assert_eq!(sandbox.ok(["consume", "q", "--drain"]), "x\n");
}

#[test]
fn a_publisher_waiting_for_input_leaves() {
    let sandbox = Sandbox::with_queue(&[]);
    let mut command = sandbox.command(["publish", "q", "--verbose"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let open = child.stdin.take();
    let publisher = Running::new(child);
    sandbox.await_participants(1);
    publisher.signal(Signal::SIGINT);
    let done = publisher.wait();
    assert_eq!((done.code(), done.stderr.as_str()), (130, ""), "{done:?}");
    drop(open);
}

#[test]
fn a_publisher_waiting_for_room_leaves_and_says_how_far_it_came() {
    let sandbox = Sandbox::with_queue(&["--capacity", "2"]);
    let publisher = sandbox.spawn(["publish", "q", "--json", "a", "b", "c"]);
    until(|| sandbox.info()["published"] == 2);
    publisher.signal(Signal::SIGTERM);
    let done = publisher.wait();
    assert_eq!((done.code(), done.stderr.as_str()), (143, ""), "{done:?}");
    assert_eq!(done.json()["published"], 2);
}

#[test]
fn watchers_leave() {
    let sandbox = Sandbox::with_queue(&[]);
    let watcher = sandbox.spawn(["info", "q", "--watch", "--json"]);
    watcher.line();
    watcher.signal(Signal::SIGINT);
    assert_eq!(watcher.wait().code(), 130);
    let watcher = sandbox.spawn(["tail", "q", "--from", "oldest"]);
    sandbox.ok(["publish", "q", "x"]);
    watcher.line();
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.wait().code(), 143);
}

#[test]
fn a_closed_pipe_ends_it_quietly_and_loses_nothing() {
    let sandbox = Sandbox::with_queue(&["--capacity", "16384"]);
    sandbox.ok(["publish", "q", "-n", "10000", "--size", "20"]);
    for args in [vec!["tail", "q", "--from", "oldest"], vec!["consume", "q"]] {
        let mut child = sandbox.command(args).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with("0 ."), "{line}");
        drop(stdout);
        let done = Running::new(child).wait();
        assert_eq!((done.code(), done.stderr.as_str()), (0, ""), "{done:?}");
    }
    // A pipe's worth was written, and acked, before it was closed; the others are there, in order.
    let rest = sandbox.ok([
        "consume",
        "q",
        "--drain",
        "--format",
        "{sequence} {count}\\n",
    ]);
    let first: u64 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(first > 0);
    let expected: String = (first..10_000)
        .map(|sequence| format!("{sequence} 1\n"))
        .collect();
    assert_eq!(rest, expected);
}

#[test]
fn a_closed_pipe_is_noticed_without_a_message() {
    let sandbox = Sandbox::with_queue(&[]);
    for command in ["consume", "tail"] {
        let mut child = sandbox.command([command, "q"]).spawn().unwrap();
        drop(child.stdout.take());
        let done = Running::new(child).wait();
        assert_eq!((done.code(), done.stderr.as_str()), (0, ""), "{done:?}");
    }
}
