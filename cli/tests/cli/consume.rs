//! `slipring consume`: what it prints, what it runs, and who gets which message.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::support::{HANG, Running, Sandbox, until};

#[test]
fn a_template_is_filled_in() {
    let sandbox = Sandbox::with_queue(&["--timestamps", "off"]);
    sandbox.ok(["publish", "q", "--kind", "3", "x"]);
    let template = "{sequence}\\t{count}\\t{kind}\\t{timestamp}\\t{group}\\t{{{payload}}}\\n";
    let printed = sandbox.ok(["consume", "q", "--drain", "--format", template]);
    assert_eq!(printed, "0\t1\t3\t0\tdefault\t{x}\n");
}

#[test]
fn without_an_end_in_sight_it_goes_on() {
    let sandbox = Sandbox::with_queue(&[]);
    let consumer = sandbox.spawn(["consume", "q"]);
    sandbox.ok(["publish", "q", "one"]);
    assert_eq!(consumer.line(), "one");
    sandbox.ok(["publish", "q", "two"]);
    assert_eq!(consumer.line(), "two");
    // Acked once written, not only at the end.
    until(|| sandbox.group()["lag"] == 0);
}

#[test]
fn a_command_gets_the_message_and_its_facts() {
    let sandbox = Sandbox::with_queue(&["--timestamps", "off"]);
    sandbox.ok(["publish", "q", "--kind", "5", "--key", "6", "body"]);
    let facts = "$SLIPRING_SEQUENCE $SLIPRING_COUNT $SLIPRING_KIND $SLIPRING_KEY \
                 $SLIPRING_TIMESTAMP $SLIPRING_GROUP";
    let command = format!("echo {facts} $(cat)");
    let printed = sandbox.ok(["consume", "q", "--count", "1", "--exec", &command]);
    assert_eq!(printed, "0 1 5 6 0 default body\n");
    assert_eq!(sandbox.group()["lag"], 0);
}

#[test]
fn a_command_need_not_read_the_message() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "--size", "200k"]);
    sandbox.ok(["consume", "q", "--drain", "--exec", "true"]);
    assert_eq!(sandbox.group()["lag"], 0);
}

#[test]
fn a_message_whose_command_fails_comes_again() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "x"]);
    let done = sandbox.run(["consume", "q", "-n", "1", "--exec", "exit 3"]);
    done.failed(1, "--exec failed for 1 of 1 deliveries: given back");
    assert_eq!(sandbox.group()["lag"], 1);
    let again = sandbox.run(["consume", "q", "-n", "1", "--json"]).json();
    assert_eq!(
        (&again["payload"], &again["count"]),
        (&"x".into(), &2.into())
    );
    assert_eq!(sandbox.group()["redelivered"], 1);
}

#[test]
fn a_command_may_fail_until_it_succeeds() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "x", "y"]);
    let command = "echo $SLIPRING_COUNT $(cat); test $SLIPRING_COUNT = 2";
    let done = sandbox.run(["consume", "q", "-n", "4", "--exec", command]);
    done.failed(1, "--exec failed for 2 of 4 deliveries");
    let lines: BTreeSet<_> = done.text().lines().collect();
    assert_eq!(lines, BTreeSet::from(["1 x", "2 x", "1 y", "2 y"]));
    assert_eq!(sandbox.group()["lag"], 0);
}

/// Fails on the message `b`.
const NOT_B: &str = r#"message=$(cat); echo "$SLIPRING_COUNT $message"; test "$message" != b"#;

#[test]
fn a_drain_tries_each_message_once_and_gives_back_those_that_failed() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "a", "b", "c"]);
    let drain = ["consume", "q", "--drain"];
    for count in ["1", "2"] {
        let done = sandbox.run([&drain[..], &["--exec", NOT_B]].concat());
        done.failed(1, "--exec failed for 1 of ");
        let expected = ["1 a\n1 b\n1 c\n", "2 b\n"];
        assert_eq!(done.text(), expected[usize::from(count == "2")]);
        assert_eq!(sandbox.group()["ready"], 1);
    }
    let args = [&drain[..], &["--format", "{count} {payload}\\n"]].concat();
    assert_eq!(sandbox.ok(args), "3 b\n");
}

#[test]
fn a_drain_that_is_stopped_gives_back_what_it_had_set_aside() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "fails", "hangs"]);
    let command = format!("test $(cat) = hangs || exit 1; {HANG}");
    let drain = sandbox.spawn(["consume", "q", "--drain", "--exec", &command]);
    assert_eq!(drain.line(), "started");
    assert_eq!(sandbox.group()["in_flight"], 2);
    drain.signal(Signal::SIGTERM);
    std::fs::write(sandbox.path("go"), "").unwrap();
    assert_eq!(drain.wait().code(), 143);
    let args = [
        "consume",
        "q",
        "--drain",
        "--format",
        "{count} {payload}\\n",
    ];
    assert_eq!(sandbox.ok(args), "2 fails\n");
}

#[test]
fn in_strict_order_a_drain_ends_at_the_message_that_fails() {
    let sandbox = Sandbox::with_queue(&["--no-default-group"]);
    sandbox.ok(["group", "add", "q", "log", "--exclusive"]);
    sandbox.ok(["publish", "q", "a", "b", "c"]);
    let drain = ["consume", "q", "-g", "log", "--drain"];
    let done = sandbox.run([&drain[..], &["--exec", NOT_B]].concat());
    done.failed(1, "--exec failed for 1 of 2 deliveries");
    assert_eq!(done.text(), "1 a\n1 b\n");
    let args = [&drain[..], &["--format", "{count} {payload}\\n"]].concat();
    assert_eq!(sandbox.ok(args), "2 b\n1 c\n");
}

#[test]
fn two_consumers_share_a_group() {
    let sandbox = Sandbox::with_queue(&[]);
    let consumers = [(); 2].map(|()| sandbox.spawn(["consume", "q", "--timeout", "1s"]));
    sandbox.await_participants(2);
    let sent: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    let args = ["publish", "q"].map(str::to_owned);
    sandbox.ok(args.iter().chain(&sent));
    let mut got = Vec::new();
    for consumer in consumers {
        let done = consumer.wait();
        assert_eq!(done.code(), 4, "{done:?}");
        got.extend(done.text().lines().map(str::to_owned));
    }
    assert_eq!(got.len(), sent.len());
    assert_eq!(BTreeSet::from_iter(got), BTreeSet::from_iter(sent));
}

#[test]
fn every_group_sees_every_message() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["group", "add", "q", "audit"]);
    sandbox.ok(["publish", "q", "x"]);
    for group in ["default", "audit"] {
        assert_eq!(
            sandbox.ok(["consume", "q", "--group", group, "--drain"]),
            "x\n"
        );
    }
}

#[test]
fn a_stand_by_takes_over_when_the_active_consumer_is_killed() {
    let sandbox = Sandbox::with_queue(&["--no-default-group"]);
    sandbox.ok(["group", "add", "q", "log", "--exclusive"]);
    let args = ["consume", "q", "--group", "log", "--exec"];
    let active = sandbox.spawn(
        args.iter()
            .chain(&["echo active $(cat); read never < fifo"]),
    );
    until(|| sandbox.group()["active"].is_u64());
    let standby = sandbox.spawn(args.iter().chain(&["echo standby $SLIPRING_COUNT $(cat)"]));
    sandbox.await_participants(2);
    let fifo = sandbox.path("fifo");
    std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    sandbox.ok(["publish", "q", "one", "two"]);
    assert_eq!(active.line(), "active one");
    active.signal(Signal::SIGKILL);
    assert_eq!(standby.line(), "standby 2 one");
    assert_eq!(standby.line(), "standby 1 two");
    // Lets the orphaned command end.
    std::fs::write(&fifo, "go\n").unwrap();
    active.wait_killed(Signal::SIGKILL);
}

#[test]
fn a_killed_consumers_message_goes_to_another() {
    let sandbox = Sandbox::with_queue(&[]);
    // More than a pipe holds: it hangs in the middle of writing.
    sandbox.ok(["publish", "q", "--size", "200k"]);
    let mut command = sandbox.command(["consume", "q"]);
    let mut victim = command.spawn().unwrap();
    until(|| sandbox.group()["in_flight"] == 1);
    victim.kill().unwrap();
    victim.wait().unwrap();
    let args = ["consume", "q", "--drain", "--format", "{length} {count}\\n"];
    assert_eq!(sandbox.ok(args), "204800 2\n");
}

#[test]
fn what_cannot_be_written_is_not_acked() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "x"]);
    let full = std::fs::File::create("/dev/full").unwrap();
    let mut command = sandbox.command(["consume", "q"]);
    let done = Running::new(command.stdout(full).spawn().unwrap()).wait();
    done.failed(1, "writing output: No space left");
    assert_eq!(sandbox.ok(["consume", "q", "--drain"]), "x\n");
}
