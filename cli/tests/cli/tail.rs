//! `slipring tail`: it sees what goes by, and takes nothing.

use crate::support::{Sandbox, until};

#[test]
fn it_shows_what_is_there_and_takes_nothing() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "--kind", "4", "a", "b"]);
    assert_eq!(sandbox.ok(["tail", "q", "--no-follow"]), "a\nb\n");
    assert_eq!(
        sandbox.ok(["tail", "q", "--no-follow", "--from", "1"]),
        "b\n"
    );
    assert_eq!(
        sandbox.ok(["tail", "q", "--no-follow", "--from", "latest"]),
        ""
    );
    assert_eq!(
        sandbox.ok(["tail", "q", "--from", "oldest", "-n", "1"]),
        "a\n"
    );
    let args = [
        "tail",
        "q",
        "--no-follow",
        "--format",
        "{sequence}{kind}{count}{group}\\n",
    ];
    assert_eq!(sandbox.ok(args), "040\n140\n");
    let seen = sandbox
        .run(["tail", "q", "--no-follow", "--json"])
        .json_lines();
    assert_eq!((seen.len(), &seen[1]["payload"]), (2, &"b".into()));
    assert!(seen[0].get("count").is_none());
    assert_eq!(sandbox.group()["ready"], 2);
}

#[test]
fn it_follows() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "before"]);
    let tail = sandbox.spawn(["tail", "q", "--from", "oldest", "-n", "3"]);
    assert_eq!(tail.line(), "before");
    sandbox.ok(["publish", "q", "after", "later"]);
    assert_eq!(
        (tail.line(), tail.line()),
        ("after".to_owned(), "later".to_owned())
    );
    assert_eq!(tail.wait().code(), 0);
}

#[test]
fn it_says_what_it_missed() {
    let sandbox = Sandbox::with_queue(&["--capacity", "4"]);
    for _ in 0..3 {
        sandbox.ok(["publish", "q", "a", "b", "c"]);
        sandbox.ok(["consume", "q", "--drain"]);
    }
    let done = sandbox.run([
        "tail",
        "q",
        "--from",
        "0",
        "--no-follow",
        "--format",
        "{sequence} ",
    ]);
    assert_eq!(done.code(), 0);
    assert_eq!(done.text(), "6 7 8 ");
    let missed = "slipring: messages 0 to 5 were overwritten before they could be read\n";
    assert_eq!(done.stderr, missed);
}

#[test]
fn a_count_it_cannot_reach_is_4() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "a"]);
    let done = sandbox.run(["tail", "q", "--no-follow", "-n", "2"]);
    done.failed(4, "1 of 2 messages");
    assert_eq!(done.text(), "a\n");
}

#[test]
fn it_can_start_in_the_future() {
    let sandbox = Sandbox::with_queue(&[]);
    let tail = sandbox.spawn(["tail", "q", "--from", "2", "-n", "1"]);
    until(|| {
        sandbox.ok(["publish", "q", "x"]);
        sandbox.info()["published"].as_u64() > Some(3)
    });
    assert_eq!(tail.wait().text(), "x\n");
}
