//! Dead letters: messages delivered too often or rejected, on their way to another queue, or parked and decided on.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Sandbox, until};

/// A queue `q` with one group `work`, made with these options.
fn with_work(options: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_queue(&["--no-default-group"]);
    sandbox.ok([&["group", "add", "q", "work"], options].concat());
    sandbox
}

fn parked(sandbox: &Sandbox) -> Vec<Value> {
    let listed = sandbox.run(["dead", "list", "q", "--json"]).json();
    listed.as_array().unwrap().clone()
}

#[test]
fn a_message_that_fails_every_time_ends_in_the_dead_letter_queue() {
    let sandbox = with_work(&["--max-deliveries", "2", "--dead-letters", "q.dead"]);
    sandbox.ok(["publish", "q", "--kind", "7", "good", "poison"]);
    let command = r#"message=$(cat); echo "$SLIPRING_COUNT $message"; test "$message" = good"#;
    let done = sandbox.run(["consume", "q", "-g", "work", "--drain", "--exec", command]);
    done.failed(1, "--exec failed for 2 of 3 deliveries");
    assert_eq!(done.text(), "1 good\n1 poison\n2 poison\n");
    let group = sandbox.group();
    assert_eq!(
        (&group["lag"], &group["dead_lettered"]),
        (&0.into(), &1.into())
    );
    let letter = sandbox
        .run(["consume", "q.dead", "--drain", "--json"])
        .json();
    assert_eq!(
        (&letter["payload"], &letter["kind"]),
        (&"poison".into(), &7.into())
    );
    let source = &letter["dead_letter"];
    assert_eq!(source["queue_id"], sandbox.info()["id"]);
    assert_eq!(source["group"], "work");
    assert_eq!(source["sequence"], 1);
    assert_eq!(source["deliveries"], 2);
    assert_eq!(source["cause"], "too-many-deliveries");
    assert_eq!(source["reason"], "");
    assert!(source["timestamp_ns"].as_u64() > Some(0));
    assert_eq!(parked(&sandbox), [] as [Value; 0]);
}

#[test]
fn a_message_that_kills_its_consumer_ends_in_the_dead_letter_queue() {
    let sandbox = with_work(&["--max-deliveries", "2", "--dead-letters", "q.dead"]);
    sandbox.ok(["publish", "q", "poison"]);
    for _ in 0..2 {
        let args = ["consume", "q", "-g", "work", "--exec", "kill -9 $PPID"];
        sandbox.spawn(args).wait_killed(Signal::SIGKILL);
    }
    let args = [
        "consume",
        "q",
        "-g",
        "work",
        "--drain",
        "--exec",
        "echo reached",
    ];
    assert_eq!(sandbox.ok(args), "");
    let args = [
        "consume",
        "q.dead",
        "--drain",
        "--format",
        "{cause} {deliveries} {payload}",
    ];
    assert_eq!(sandbox.ok(args), "too-many-deliveries 2 poison");
}

#[test]
fn exit_code_100_rejects_at_once() {
    let sandbox = with_work(&["--dead-letters", "q.dead"]);
    sandbox.ok(["publish", "q", "a", "b"]);
    let command = r#"test "$(cat)" = a || exit 100"#;
    let done = sandbox.run(["consume", "q", "-g", "work", "--drain", "--exec", command]);
    done.failed(0, "message 1 rejected: command exited with 100");
    assert_eq!(sandbox.group()["lag"], 0);
    let template =
        "{sequence} {source_sequence} {source_group} {deliveries} {cause}: {reason}: {payload}\\n";
    let expected = "0 1 work 1 rejected: command exited with 100: b\n";
    let seen = sandbox.ok(["tail", "q.dead", "--no-follow", "--format", template]);
    assert_eq!(seen, expected);
    let id = sandbox.ok([
        "tail",
        "q.dead",
        "--no-follow",
        "--format",
        "{source_queue}",
    ]);
    assert_eq!(id, sandbox.info()["id"].as_str().unwrap());
    let seen = sandbox.run(["tail", "q.dead", "--no-follow", "--json"]);
    assert_eq!(
        seen.json()["dead_letter"]["reason"],
        "command exited with 100"
    );
    assert_eq!(
        sandbox.ok(["consume", "q.dead", "--drain", "--format", template]),
        expected
    );
}

#[test]
fn a_command_learns_where_a_dead_letter_comes_from() {
    let sandbox = with_work(&["--dead-letters", "q.dead"]);
    sandbox.ok(["publish", "q", "x"]);
    let reject = [
        "consume", "q", "-g", "work", "--drain", "--exec", "exit 100",
    ];
    sandbox.run(reject).failed(0, "rejected");
    let facts = "$SLIPRING_DEAD_QUEUE $SLIPRING_DEAD_GROUP $SLIPRING_DEAD_SEQUENCE \
                 $SLIPRING_DEAD_DELIVERIES $SLIPRING_DEAD_CAUSE $SLIPRING_DEAD_REASON";
    let command = format!("test $SLIPRING_DEAD_TIMESTAMP -gt 0 && echo {facts} $(cat)");
    let printed = sandbox.ok(["consume", "q.dead", "-n", "1", "--exec", &command]);
    let id = sandbox.info()["id"].as_str().unwrap().to_owned();
    let expected = format!("{id} work 0 1 rejected command exited with 100 x\n");
    assert_eq!(printed, expected);
    // A consumer that is itself a command does not pass them on.
    sandbox.ok(["publish", "q", "y"]);
    let mut command = sandbox.command(["consume", "q", "-g", "work", "-n", "1"]);
    command
        .args(["--exec", "echo [$SLIPRING_DEAD_CAUSE]"])
        .env("SLIPRING_DEAD_CAUSE", "rejected");
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[]\n");
}

#[test]
fn parked_messages_are_listed_given_back_and_discarded() {
    let sandbox = with_work(&["--max-deliveries", "1"]);
    sandbox.ok(["publish", "q", "a", "b\tc", "d"]);
    let drain = ["consume", "q", "-g", "work", "--drain"];
    let fail = [&drain[..], &["--exec", "false"]].concat();
    sandbox.run(fail).failed(1, "3 of 3 deliveries");
    let found = parked(&sandbox);
    let mut first = found[0].clone();
    assert!(first["timestamp_ns"].take().as_u64() > Some(0));
    let expected = json!({
        "group": "work", "sequence": 0, "deliveries": 1, "cause": "too-many-deliveries", "reason": "",
        "timestamp_ns": null, "length": 1, "payload": "a",
    });
    assert_eq!((found.len(), &first), (3, &expected));
    let group = sandbox.group();
    assert_eq!((&group["dead"], &group["lag"]), (&3.into(), &3.into()));
    let table = sandbox.ok(["dead", "list", "q", "--group", "work"]);
    let rows: Vec<_> = table.lines().collect();
    assert!(
        rows[0].starts_with("group  sequence  deliveries"),
        "{table}"
    );
    assert!(
        rows[2].ends_with(r"too-many-deliveries  -       b\tc"),
        "{table}"
    );

    let retry = ["dead", "retry", "q", "--group", "work", "1"];
    assert_eq!(sandbox.ok(retry), "given back: 1\n");
    let args = [&drain[..], &["--format", "{sequence} {count}\n"]].concat();
    assert_eq!(sandbox.ok(args), "1 1\n");
    let discard = ["dead", "discard", "q", "-g", "work", "--all"];
    assert_eq!(sandbox.ok(discard), "discarded: 2\n");
    assert_eq!(sandbox.ok(discard), "discarded: 0\n");
    assert_eq!(sandbox.ok(drain), "");
    assert_eq!(sandbox.group()["lag"], 0);
    assert_eq!(sandbox.ok(["dead", "list", "q"]), "none\n");
}

#[test]
fn a_message_that_its_queue_has_no_room_for_is_parked_with_its_reason() {
    let sandbox = Sandbox::with_queue(&["--no-default-group"]);
    sandbox.ok(["create", "tiny", "--capacity", "2", "--max-message", "300k"]);
    sandbox.ok(["group", "add", "q", "work", "--dead-letters", "tiny"]);
    sandbox.ok(["publish", "q", "a", "b", "c"]);
    let reject = [
        "consume", "q", "-g", "work", "--drain", "--exec", "exit 100",
    ];
    assert_eq!(sandbox.run(reject).code(), 0);
    let found = parked(&sandbox);
    assert_eq!((found.len(), &found[0]["sequence"]), (1, &2.into()));
    assert_eq!(found[0]["reason"], "command exited with 100");
    assert_eq!(found[0]["cause"], "rejected");
}

#[test]
fn a_strict_order_goes_on_past_a_parked_message_and_back_to_it() {
    let sandbox = with_work(&["--exclusive", "--max-deliveries", "2"]);
    sandbox.ok(["publish", "q", "a", "poison", "c"]);
    let command = r#"message=$(cat); echo $message; test $message != poison"#;
    let args = ["consume", "q", "-g", "work", "--exec", command];
    let consumer = sandbox.spawn(args);
    for expected in ["a", "poison", "poison", "c"] {
        assert_eq!(consumer.line(), expected);
    }
    until(|| sandbox.group()["dead"] == 1);
    assert_eq!(
        sandbox.ok(["dead", "retry", "q", "-g", "work", "--all"]),
        "given back: 1\n"
    );
    assert_eq!([consumer.line(), consumer.line()], ["poison", "poison"]);
    until(|| sandbox.group()["dead"] == 1);
    assert_eq!(sandbox.group()["acked"], 2);
}

#[test]
fn listing_leaves_every_group_alone() {
    let sandbox = with_work(&["--max-deliveries", "1"]);
    sandbox.ok(["group", "add", "q", "other"]);
    sandbox.ok(["publish", "q", "x"]);
    let fail = ["consume", "q", "-g", "work", "--drain", "--exec", "false"];
    sandbox.run(fail).failed(1, "1 of 1");
    let before = sandbox.info()["groups"].clone();
    assert_eq!(parked(&sandbox).len(), 1);
    assert_eq!(sandbox.ok(["dead", "list", "q", "-g", "other"]), "none\n");
    let mut after = sandbox.info()["groups"].clone();
    for (after, before) in after
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip(before.as_array().unwrap())
    {
        after["oldest_age_ns"] = before["oldest_age_ns"].clone();
    }
    assert_eq!(after, before);
}

#[test]
fn what_cannot_be_decided_is_said_and_the_rest_is_done() {
    let sandbox = with_work(&["--max-deliveries", "1"]);
    sandbox.ok(["publish", "q", "a"]);
    let fail = ["consume", "q", "-g", "work", "--drain", "--exec", "false"];
    sandbox.run(fail).failed(1, "1 of 1");
    let done = sandbox.run(["dead", "discard", "q", "-g", "work", "7", "0"]);
    done.failed(
        1,
        "q: group \"work\": message 7 is not parked in this group",
    );
    assert_eq!(done.text(), "discarded: 1\n");
    let again = sandbox.run(["dead", "retry", "q", "-g", "work", "0"]);
    again.failed(1, "message 0 is not parked");
    sandbox
        .run(["dead", "retry", "q", "0"])
        .failed(3, "group \"default\": no group of that name");
    sandbox
        .run(["dead", "list", "q", "-g", "none"])
        .failed(3, "group \"none\": no group of that name");
    sandbox
        .run(["dead", "list", "none"])
        .failed(3, "no such queue");
    sandbox.run(["dead", "retry", "q"]).failed(2, "SEQ");
    sandbox
        .run(["dead", "discard", "q", "0", "--all"])
        .failed(2, "cannot be used with");
    sandbox.run(["dead", "retry", "q", "x"]).failed(2, "SEQ");
}

#[test]
fn a_groups_limits_are_shown_and_checked() {
    let sandbox = with_work(&[
        "--max-deliveries",
        "5",
        "--dead-letters",
        "q.dead",
        "--ack-timeout",
        "1.5s",
    ]);
    let group = &sandbox.run(["group", "list", "q", "--json"]).json()[0];
    assert_eq!(group["max_deliveries"], 5);
    assert_eq!(group["dead_letters"], "q.dead");
    assert_eq!(group["ack_timeout_ns"], 1_500_000_000);
    assert_eq!(
        (&group["dead"], &group["dead_lettered"], &group["expired"]),
        (&0.into(), &0.into(), &0.into())
    );
    let limits = "work: at most 5 deliveries of a message, dead messages go to q.dead, a claim lasts 1.5 s\n";
    assert!(sandbox.ok(["group", "list", "q"]).ends_with(limits));
    assert!(sandbox.ok(["info", "q"]).contains(limits));
    let add = |options: &[&str]| sandbox.run([&["group", "add", "q", "x"], options].concat());
    add(&["--max-deliveries", "0"]).failed(2, "1..=254");
    add(&["--max-deliveries", "255"]).failed(2, "1..=254");
    add(&["--exclusive", "--ack-timeout", "1s"]).failed(2, "cannot be used with");
    add(&["--ack-timeout", "0"]).failed(1, "ack_timeout is 0, must be from 1");
    add(&["--dead-letters", "q"]).failed(1, "another queue");
    add(&["--dead-letters", "nowhere/d"]).failed(1, "nowhere/d: its directory does not exist");
    sandbox.ok(["create", "small", "--max-message", "1k"]);
    add(&["--dead-letters", "small"]).failed(1, "larger than this one's");
}

#[test]
fn what_keeps_a_full_queue_full_can_be_seen() {
    let sandbox = Sandbox::with_queue(&["--capacity", "2"]);
    sandbox.ok(["publish", "q", "a", "b"]);
    let reject = ["consume", "q", "--drain", "--exec", "exit 100"];
    assert_eq!(sandbox.run(reject).code(), 0);
    for found in parked(&sandbox) {
        assert!(found["payload"].is_string(), "{found}");
        assert_ne!(found["timestamp_ns"], 0, "{found}");
    }
    assert_ne!(sandbox.group()["oldest_age_ns"], 0);
}
