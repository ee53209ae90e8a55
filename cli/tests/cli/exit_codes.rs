//! Each documented exit code, and the one line that goes with it. Those of signals are in `signals`, of full queues in
//! `publish`.

use crate::support::Sandbox;

#[test]
fn wrong_usage_is_2() {
    let sandbox = Sandbox::with_queue(&[]);
    let known = "unknown placeholder {seq}: there are {payload} {sequence}";
    sandbox
        .run(["consume", "q", "--format", "{seq}"])
        .failed(2, known);
    sandbox
        .run(["tail", "q", "--format", "}"])
        .failed(2, "a } without {");
    sandbox
        .run(["create", "x", "--capacity", "many"])
        .failed(2, "is not a size");
    sandbox
        .run(["create", "x", "--mode", "0999"])
        .failed(2, "octal");
    sandbox
        .run(["consume", "q", "--timeout", "soon"])
        .failed(2, "is not a duration");
    sandbox
        .run(["publish", "q", "--rate", "0", "x"])
        .failed(2, "is not a rate");
    sandbox
        .run(["publish", "q", "x", "--file", "y"])
        .failed(2, "cannot be used with");
    sandbox
        .run(["group", "add", "q", "g", "--start", "soon"])
        .failed(2, "earliest, latest");
    sandbox
        .run(["tail", "q", "--from", "soon"])
        .failed(2, "oldest, latest");
    sandbox.run(["frobnicate"]).failed(2, "frobnicate");
    sandbox
        .run(["demo", "--size", "31"])
        .failed(2, "must be 32 to");
    sandbox
        .run(["demo", "--seed", "1"])
        .failed(2, "required arguments were not provided");
    sandbox
        .run(["demo", "--chaos", "--messages", "1"])
        .failed(2, "cannot be used with");
    sandbox
        .run(["demo", "--chaos", "--kills-per-second", "0"])
        .failed(2, "must be 0.1 to 1000");
}

#[test]
fn a_failure_is_1_and_says_what_to_do() {
    let sandbox = Sandbox::with_queue(&[]);
    let done = sandbox.run(["create", "odd", "--capacity", "1000"]);
    done.failed(1, "capacity is 1000, must be a power of two");
    std::fs::write(sandbox.path("letter"), "Dear queue,").unwrap();
    sandbox.run(["info", "letter"]).failed(1, "letter: ");
    sandbox
        .run(["group", "add", "q", "default"])
        .failed(1, "a group of that name exists");
    sandbox
        .run(["group", "add", "q", "g", "--start", "7"])
        .failed(1, "cannot start at 7");
    let nowhere = "nowhere/q: its directory does not exist";
    sandbox.run(["create", "nowhere/q"]).failed(1, nowhere);
    sandbox
        .run(["publish", "--create", "nowhere/q", "x"])
        .failed(1, nowhere);
    sandbox
        .run(["man", "--dir", "nowhere"])
        .failed(1, "writing nowhere/slipring.1");
}

#[test]
fn what_is_not_there_is_3() {
    let sandbox = Sandbox::with_queue(&[]);
    let path = sandbox.path("none").display().to_string();
    for command in ["info", "consume", "tail", "sweep", "rm", "publish"] {
        let done = sandbox.run([command, "none"]);
        done.failed(3, &format!("{path}: no such queue: create it first"));
    }
    sandbox
        .run(["group", "list", "none"])
        .failed(3, "no such queue");
    let done = sandbox.run(["consume", "q", "--group", "none"]);
    done.failed(
        3,
        "group \"none\": no group of that name; make it with `slipring group add q none`",
    );
    sandbox
        .run(["group", "rm", "q", "none"])
        .failed(3, "slipring group list q");
}

#[test]
fn too_few_messages_is_4() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "x"]);
    let done = sandbox.run(["consume", "q", "-n", "2", "--timeout", "50ms"]);
    done.failed(4, "no message until the time-out");
    assert_eq!(done.text(), "x\n");
    sandbox
        .run(["consume", "q", "-n", "1", "--drain"])
        .failed(4, "0 of 1 messages");
    // Without a count, an empty queue is what --drain asks for.
    sandbox.ok(["consume", "q", "--drain"]);
}

#[test]
fn the_help_lists_them() {
    let sandbox = Sandbox::new();
    let help = sandbox.ok(["--help"]);
    for code in ["0  ", "1  ", "2  ", "3  ", "4  ", "5  ", "128+N  "] {
        assert!(
            help.contains(&format!("\n  {code}")),
            "{code:?} is not in\n{help}"
        );
    }
}
