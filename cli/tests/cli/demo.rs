//! `slipring demo`, on a small scale: its numbers, and that it cleans up after itself.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Sandbox, until};

#[test]
fn its_json_is_the_last_line_and_says_that_nothing_was_lost() {
    let sandbox = Sandbox::new();
    let done = sandbox.run(["demo", "--json", "--messages", "20000"]);
    assert_eq!(done.code(), 0, "{done:?}");
    let last = done.text().lines().last().unwrap();
    let result: Value = serde_json::from_str(last).unwrap();
    for field in ["published", "delivered", "acked"] {
        assert_eq!(result[field], 20_000, "{field}");
    }
    for field in [
        "redelivered",
        "duplicates",
        "lost",
        "corrupted",
        "out_of_order",
    ] {
        assert_eq!(result[field], 0, "{field}");
    }
    assert!(result["seconds"].as_f64().unwrap() > 0.0);
    assert!(result["msgs_per_s"].as_f64().unwrap() > 0.0);
    let latency = ["p50", "p90", "p99", "p999", "max"]
        .map(|name| result["latency_ns"][name].as_u64().unwrap());
    assert!(latency.is_sorted() && latency[0] > 0, "{latency:?}");
    assert_eq!(done.text().lines().count(), 1);
}

#[test]
fn it_speaks_to_people_too() {
    let sandbox = Sandbox::new();
    let args = "demo -n 3001 --producers 2 --consumers 1 --size 1k --batch 1 --capacity 64";
    let printed = sandbox.ok(args.split(' '));
    assert!(printed.starts_with("2 producers and 1 consumers, each a process; 3_001 messages"));
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    let lines = printed.lines().map(|line| line.split_whitespace());
    let rows: Vec<Vec<_>> = lines.map(Iterator::collect).collect();
    for row in ["published 3_001", "acked 3_001", "lost 0"] {
        assert!(rows.contains(&words(row)), "{row:?} is not in\n{printed}");
    }
    assert_eq!(sandbox.dir().read_dir().unwrap().count(), 0);
}

#[test]
fn messages_beyond_a_slot_arrive_whole_too() {
    let sandbox = Sandbox::new();
    let done = sandbox.run(["demo", "--json", "-n", "1000", "--size", "10001"]);
    assert_eq!(done.code(), 0, "{done:?}");
    let result: Value = serde_json::from_str(done.text()).unwrap();
    assert_eq!(
        (&result["delivered"], &result["lost"]),
        (&1000.into(), &0.into())
    );
}

/// A run of either kind that goes on until somebody ends it.
const ENDLESS: [&[&str]; 2] = [
    &["demo", "-n", "400000000"],
    &["demo", "--chaos", "--seconds", "10000"],
];

#[test]
fn an_interrupt_leaves_nothing_behind() {
    for arguments in ENDLESS {
        let sandbox = Sandbox::new();
        let demo = sandbox.spawn(arguments);
        demo.line();
        // The first line of progress: all are at work.
        assert!(demo.line().contains("published"));
        demo.signal(Signal::SIGINT);
        assert_eq!(demo.wait().code(), 130);
        assert_eq!(sandbox.dir().read_dir().unwrap().count(), 0);
    }
}

#[test]
fn workers_whose_supervisor_is_killed_leave_and_clean_up() {
    for arguments in ENDLESS {
        let sandbox = Sandbox::new();
        let demo = sandbox.spawn(arguments);
        demo.line();
        assert!(demo.line().contains("published"));
        demo.signal(Signal::SIGKILL);
        demo.wait_killed(Signal::SIGKILL);
        until(|| sandbox.dir().read_dir().unwrap().count() == 0);
    }
}

#[test]
fn a_worker_that_dies_fails_the_run() {
    let plain = (ENDLESS[0], "died before it was done");
    // With this seed, a minute passes before the supervisor kills anybody.
    let seldom = ["--seed", "53", "--kills-per-second", "0.1"];
    let chaos = [ENDLESS[1], &seldom].concat();
    for (arguments, complaint) in [plain, (&chaos, "died, and not by our hand")] {
        let sandbox = Sandbox::new();
        let demo = sandbox.spawn(arguments);
        let head = demo.line();
        let queue = head.split(' ').next_back().unwrap();
        assert!(demo.line().contains("published"));
        let info = sandbox.run(["info", queue, "--json"]).json();
        let participants = info["participants"].as_array().unwrap().iter();
        let mut named = participants.filter(|found| found["name"] == "demo consumer 1");
        let pid = named.next().unwrap()["pid"].as_u64().unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        demo.wait()
            .failed(1, &format!("demo consumer 1 {complaint}"));
        assert_eq!(sandbox.dir().read_dir().unwrap().count(), 0);
    }
}

#[test]
fn in_chaos_workers_are_killed_and_replaced_and_nothing_is_lost() {
    let sandbox = Sandbox::new();
    let arguments = "demo --chaos --seed 20240229 --seconds 3 --kills-per-second 30 --json";
    let done = sandbox.run(arguments.split(' '));
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stderr.contains("seed 20240229"), "{done:?}");
    let result = done.json();
    let number = |name: &str| result[name].as_u64().unwrap();
    for fault in [
        "lost",
        "torn",
        "never_sent",
        "acked_again",
        "claimed_twice",
        "unsettled",
    ] {
        assert_eq!(number(fault), 0, "{fault}: {result}");
    }
    assert!(number("kills") > 0, "{result}");
    assert_eq!(number("kills"), number("restarts"));
    let killed = number("producers_killed") + number("consumers_killed");
    assert_eq!(number("kills"), killed);
    assert_eq!(number("seed"), 20_240_229);
    // What is acked was published; what was delivered is acked, or came again, or the news of its ack was cut off.
    assert!(number("published") > 0, "{result}");
    let accounted = number("acked") + number("acks_cut_off");
    assert_eq!(accounted, number("published"));
    assert!(number("delivered") >= number("published"));
    assert!(number("delivered") <= number("published") + number("redelivered"));
    for repair in ["participants", "holes", "claims"] {
        assert!(result["swept"][repair].is_u64(), "{repair}: {result}");
    }
    assert!(result["longest_stall_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(done.text().lines().count(), 1);
    assert_eq!(sandbox.dir().read_dir().unwrap().count(), 0);
}

#[test]
fn chaos_needs_somebody_to_spare() {
    let sandbox = Sandbox::new();
    let done = sandbox.run("demo --chaos -p 1 -c 1".split(' '));
    done.failed(1, "nobody can be spared");
}

#[test]
fn nothing_to_move_is_no_failure() {
    let sandbox = Sandbox::new();
    let result = sandbox.run(["demo", "--json", "-n", "0"]);
    let result: Value = serde_json::from_str(result.text()).unwrap();
    assert_eq!(
        (&result["published"], &result["lost"]),
        (&0.into(), &0.into())
    );
}
