//! `slipring consume` in groups where a claim lasts only for a time: who works on a message keeps it, who does not loses
//! it. A time-out that must not run out while a process merely waits for its turn is generous.

use nix::sys::signal::Signal;

use crate::support::{HANG, Running, Sandbox};

/// A queue `q` with one group `work` whose claims last so long.
fn with_timeout(timeout: &str) -> Sandbox {
    let sandbox = Sandbox::with_queue(&["--no-default-group"]);
    sandbox.ok(["group", "add", "q", "work", "--ack-timeout", timeout]);
    sandbox
}

fn consume(sandbox: &Sandbox, args: &[&str]) -> Running {
    sandbox.spawn([&["consume", "q", "--group", "work"], args].concat())
}

#[test]
fn a_message_stays_with_the_consumer_whose_command_runs() {
    let sandbox = with_timeout("2s");
    // More than a pipe holds, and not read for a while.
    sandbox.ok(["publish", "q", "--size", "200k"]);
    let command = "echo started; sleep 5; echo $SLIPRING_COUNT $(wc -c)";
    let slow = consume(&sandbox, &["-n", "1", "--exec", command]);
    assert_eq!(slow.line(), "started");
    let other = consume(&sandbox, &["--timeout", "7s"]);
    let done = slow.wait();
    assert_eq!((done.code(), done.text()), (0, "1 204800\n"), "{done:?}");
    other.wait().failed(4, "no message until the time-out");
    let group = sandbox.group();
    assert_eq!((&group["expired"], &group["lag"]), (&0.into(), &0.into()));
}

#[test]
fn a_message_set_aside_stays_there_while_others_are_worked_on() {
    let sandbox = with_timeout("2s");
    sandbox.ok(["publish", "q", "fails", "slow"]);
    let command =
        r#"message=$(cat); echo "$SLIPRING_COUNT $message"; test $message = slow && sleep 5"#;
    let drain = consume(&sandbox, &["--drain", "--exec", command]);
    let done = drain.wait();
    done.failed(1, "--exec failed for 1 of 2 deliveries");
    assert_eq!(done.text(), "1 fails\n1 slow\n");
    assert_eq!(sandbox.group()["expired"], 0);
}

#[test]
fn who_does_not_get_on_loses_the_message_and_says_so() {
    let sandbox = with_timeout("300ms");
    sandbox.ok(["publish", "q", "x"]);
    let slow = consume(&sandbox, &["-n", "1", "--exec", HANG]);
    assert_eq!(slow.line(), "started");
    slow.stop();
    let other = consume(&sandbox, &["-n", "1", "--format", "{count} {payload}\\n"]);
    assert_eq!(other.line(), "2 x");
    assert_eq!(other.wait().code(), 0);
    std::fs::write(sandbox.path("go"), "").unwrap();
    slow.signal(Signal::SIGCONT);
    let lost =
        "message 0 was taken from this consumer before it could settle it: it may come twice";
    slow.wait().failed(0, lost);
    let group = sandbox.group();
    assert_eq!((&group["expired"], &group["acked"]), (&1.into(), &1.into()));
}

#[test]
fn a_drain_ends_even_if_its_claims_do_not_last() {
    let sandbox = with_timeout("1ms");
    sandbox.ok(["publish", "q", "a", "b", "c"]);
    let done = consume(&sandbox, &["--drain", "--exec", "sleep 0.1; false"]).wait();
    assert_eq!(done.code(), 1, "{done:?}");
    assert!(done.stderr.contains("--exec failed for"), "{done:?}");
    assert_eq!(sandbox.group()["lag"], 3);
}

#[test]
fn a_drain_does_not_try_again_what_it_has_lost() {
    let sandbox = with_timeout("300ms");
    sandbox.ok(["publish", "q", "fails", "hangs"]);
    let command = format!("test $(cat) = hangs || {{ echo failed; exit 1; }}; {HANG}");
    let drain = consume(&sandbox, &["--drain", "--exec", &command]);
    assert_eq!([drain.line(), drain.line()], ["failed", "started"]);
    drain.stop();
    let other = consume(&sandbox, &["-n", "1", "--exec", "cat; exit 1"]);
    let done = other.wait();
    assert_eq!((done.code(), done.text()), (1, "fails"), "{done:?}");
    std::fs::write(sandbox.path("go"), "").unwrap();
    drain.signal(Signal::SIGCONT);
    let done = drain.wait();
    assert_eq!((done.code(), done.text()), (1, ""), "{done:?}");
    assert!(done.stderr.contains("message 0 was taken"), "{done:?}");
    assert_eq!(sandbox.group()["lag"], 2);
}
