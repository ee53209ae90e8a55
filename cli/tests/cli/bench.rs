//! `slipring bench`, with so few messages that nothing is measured: its arguments, what it says, that a message lost or
//! garbled is no result, and that it cleans up after itself. No figure is looked at but for being there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Done, Sandbox, until};

/// A queue that follows the contract, in a file. `BROKEN` makes the producer send a wrong byte or die, or the consumer
/// count one too few.
const QUEUE: &str = include_str!("file_queue.sh");

fn program(sandbox: &Sandbox, name: &str, text: &str) -> String {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Few messages, in one round.
const TINY: [&str; 4] = ["--messages", "60", "--rounds", "1"];

fn bench(sandbox: &Sandbox, arguments: &[&str]) -> Done {
    let tiny = if arguments.contains(&"--messages") {
        &[][..]
    } else {
        &TINY
    };
    sandbox.run([&["bench"], arguments, tiny].concat())
}

fn results(done: &Done, workload: &str) -> Vec<Value> {
    assert_eq!(done.stderr, "");
    let lines = done.json_lines().into_iter();
    lines.filter(|line| line["workload"] == workload).collect()
}

fn leaves_nothing(sandbox: &Sandbox) {
    let entries = fs::read_dir(sandbox.dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = names.filter(|name| name.starts_with("bench-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn wrong_arguments_are_refused_before_anything_runs() {
    let sandbox = Sandbox::new();
    for (arguments, complaint) in [
        (&["nonsense"][..], "round-trip"),
        (&["throughput", "--size", "8"], "must be 16 to"),
        (&["throughput", "--batch", "65"], "65 is not in 1..=64"),
        (&["throughput", "--seconds", "0"], "must be 1 ms to 1 h"),
        (&["throughput", "--rounds", "0"], "0 is not in 1..=1000"),
        (&["foreign"], "--command"),
        (&["compare"], "--rivals"),
        (&["--no-pin", "--cpus", "0"], "cannot be used with"),
    ] {
        sandbox
            .run([&["bench"], arguments].concat())
            .failed(2, complaint);
    }
    for (arguments, complaint) in [
        (
            &["work-queue", "--group", "exclusive"][..],
            "one consumer at work, not 2",
        ),
        (
            &["fan-in", "--producer", "sole"],
            "a sole producer is one, not 2",
        ),
        (&["one-way", "--batch", "4"], "one by one"),
        (&["burst", "--size", "16"], "at least 24 bytes, not 16"),
        (&["throughput", "--capacity", "1000"], "capacity is 1000"),
        (&["throughput", "--cpus", "1023"], "may not use CPU 1023"),
        (&["disk", "--disk", "no/such"], "no/such is not a directory"),
        (&["durable", "--durable"], "--durable is for"),
        (&["throughput", "--command", "x"], "--command is for"),
        (&["throughput", "--rivals", "x"], "--rivals is for"),
        (&["compare", "--rivals", "no/such"], "no/such"),
        (
            &["foreign", "--command", "./no-such"],
            "running \"./no-such\"",
        ),
    ] {
        bench(&sandbox, arguments).failed(1, complaint);
    }
    leaves_nothing(&sandbox);
}

#[test]
fn each_result_is_an_object_that_says_all_about_it() {
    let sandbox = Sandbox::new();
    let arguments = ["throughput", "round-trip", "--json", "--batch", "1,8"];
    let rounds = ["--messages", "100", "--rounds", "2", "--size", "100"];
    let done = bench(&sandbox, &[&arguments[..], &rounds].concat());
    let found = results(&done, "throughput");
    let told = found.iter().map(|result| {
        let text = |name: &str| result[name].as_str().unwrap();
        (
            text("group_kind"),
            text("producer_kind"),
            result["batch"].as_u64().unwrap(),
        )
    });
    let expected = [
        ("exclusive", "sole", 1),
        ("exclusive", "sole", 8),
        ("shared", "many", 1),
        ("shared", "many", 8),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    for result in &found {
        for (name, value) in [
            ("size", 100),
            ("producers", 1),
            ("consumers", 1),
            ("rounds", 2),
        ] {
            assert_eq!(result[name], value, "{name} of {result}");
        }
        assert_eq!(result["messages"], 200, "{result}");
        assert!(
            result["limit"].as_str().unwrap().starts_with("bare ring"),
            "{result}"
        );
        for name in ["msgs_per_s", "limit_value", "ratio"] {
            let [low, middle, high] =
                ["_low", "", "_high"].map(|end| &result[name.to_owned() + end]);
            assert!(middle.as_f64().unwrap() > 0.0, "{name} of {result}");
            assert!(
                name == "limit_value" || low.as_f64() <= high.as_f64(),
                "{result}"
            );
        }
        for name in ["cpu", "kernel", "commit"] {
            assert_ne!(result["machine"][name], "", "{name} of {result}");
        }
    }
    let trips = results(&done, "round-trip");
    let percentiles = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"];
    for result in &trips {
        assert_eq!(result["limit"], "bare hop");
        let values = percentiles.map(|name| result[name].as_f64().unwrap());
        assert!(values[0] > 0.0 && values.is_sorted(), "{result}");
    }
    let limits = results(&done, "limit");
    let names = limits
        .iter()
        .map(|limit| limit["measured"].as_str().unwrap());
    let expected = [
        "bare hop",
        "bare ring",
        "bare ring, batched",
        "copy in a core",
        "copy between cores",
        "bare futex",
        "clock read",
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
    leaves_nothing(&sandbox);
}

#[test]
fn every_workload_runs_and_counts_its_messages() {
    let sandbox = Sandbox::new();
    let workloads = [
        ("round-trip", 2),
        ("one-way", 2),
        ("throughput", 4),
        ("fan-in", 1),
        ("work-queue", 1),
        ("n-to-m", 1),
        ("broadcast", 1),
        ("burst", 1),
        ("wake-up", 1),
        ("large", 3),
        ("recovery", 2),
        ("disk", 1),
        ("contention", 1),
        ("durable", 8),
        ("stall", 6),
    ];
    let names = workloads.map(|(name, _)| name);
    let disk = sandbox.dir().to_str().unwrap().to_owned();
    let few = ["--json", "--disk", &disk, "--burst", "10"];
    let done = bench(&sandbox, &[&names[..5], &few].concat());
    let rest = bench(&sandbox, &[&names[5..12], &few].concat());
    let crowd = bench(&sandbox, &["contention", "--json", "--producers", "2"]);
    // Where the tests' directory is in memory, these say so.
    let durable = [&["durable", "stall"], &few[..]].concat();
    let durable = bench(&sandbox, &durable);
    for (name, count) in workloads {
        let all = [&done, &rest, &crowd, &durable].map(|done| results(done, name));
        let found: Vec<_> = all.into_iter().flatten().collect();
        assert_eq!(found.len(), count, "{name}");
        for result in found {
            if result["skipped"].is_string() {
                assert!(["durable", "stall"].contains(&name), "{result}");
                continue;
            }
            let producers = result["producers"].as_u64().unwrap();
            let messages = result["messages"].as_u64().unwrap();
            // Those of a recovery go by time, since somebody dies in the middle.
            let expected = if name == "recovery" {
                messages
            } else {
                60 * producers
            };
            assert_eq!(messages, expected, "{result}");
            assert!(messages > 0, "{result}");
            assert!(result["ratio"].as_f64().unwrap() > 0.0, "{result}");
        }
    }
    leaves_nothing(&sandbox);
}

#[test]
fn a_disk_that_is_memory_is_not_measured_as_one() {
    let sandbox = Sandbox::new();
    let done = bench(
        &sandbox,
        &["durable", "stall", "--json", "--disk", "/dev/shm"],
    );
    let durable = results(&done, "durable");
    let stall = results(&done, "stall");
    assert_eq!((durable.len(), stall.len()), (8, 6));
    for result in durable.iter().chain(&stall) {
        let of_memory = result["place"] == "memory" && result["disturbed"] == false;
        let skipped = result["skipped"].as_str().unwrap_or_default();
        assert_eq!(skipped.contains("--disk"), !of_memory, "{result}");
    }
}

#[test]
fn durable_queues_are_compared_among_themselves() {
    let sandbox = Sandbox::new();
    let durable = QUEUE.replacen("\"durable\":false", "\"durable\":true", 1);
    assert_ne!(durable, QUEUE);
    program(
        &sandbox,
        "rivals/durable",
        &durable.replacen("\"file\"", "\"lasting\"", 1),
    );
    program(&sandbox, "rivals/file", QUEUE);
    let disk = sandbox.dir().to_str().unwrap().to_owned();
    let arguments = [
        "compare",
        "--rivals",
        "rivals",
        "--durable",
        "--producers",
        "2",
        "--json",
        "--disk",
        &disk,
    ];
    let done = bench(&sandbox, &arguments);
    assert_eq!(done.code(), 0, "{done:?}");
    let found = results(&done, "compare");
    let of = |queue: &str| {
        found
            .iter()
            .filter(|found| found["queue"] == queue)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("slipring shared").len(), 4);
    assert!(of("slipring exclusive").is_empty());
    let in_memory = |found: &Value| {
        found["skipped"]
            .as_str()
            .is_some_and(|why| why.contains("--disk"))
    };
    for found in of("slipring shared").into_iter().chain(of("lasting")) {
        assert_eq!(
            (&found["durability"], &found["place"]),
            (&"sync".into(), &"disk".into())
        );
        let measured = found["limit"] == "write and fdatasync" && found["msgs_per_s"].is_f64();
        let batched = found["queue"] == "lasting" && found["batch"] == 32;
        assert!(measured || in_memory(found) || batched, "{found}");
    }
    for found in of("file") {
        assert!(found["skipped"].is_string(), "{found}");
    }
    leaves_nothing(&sandbox);
}

#[test]
fn operations_are_measured_on_queues_of_all_sizes() {
    let sandbox = Sandbox::new();
    let done = bench(
        &sandbox,
        &["scale", "--json", "--capacity", "8", "--groups", "3"],
    );
    let found = results(&done, "scale");
    let told = found.iter().map(|result| {
        ["groups", "participants", "capacity"].map(|name| result[name].as_u64().unwrap())
    });
    let expected = [
        [3, 2, 8],
        [1, 2, 8],
        [1, 10, 8],
        [1, 100, 8],
        [1, 1000, 8],
        [1, 2, 8],
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    for result in &found {
        assert!(
            result["publish_ns"].is_f64() && result["receive_ns"].is_f64(),
            "{result}"
        );
    }
    leaves_nothing(&sandbox);
}

#[test]
fn people_get_a_table() {
    let sandbox = Sandbox::new();
    let done = bench(&sandbox, &["work-queue", "--consumers", "3"]);
    assert_eq!((done.code(), done.stderr.as_str()), (0, ""), "{done:?}");
    let text = done.text();
    for part in [
        "bare hop",
        "work-queue  1 to 3 shared",
        "bare ring",
        "fairness",
        "median of 1 interleaved rounds (lowest to highest)",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn a_foreign_queue_is_driven_by_its_contract() {
    let sandbox = Sandbox::new();
    let command = program(&sandbox, "file", QUEUE);
    let arguments = ["foreign", "--json", "--command", &command, "--size", "64"];
    let done = bench(&sandbox, &arguments);
    assert_eq!(done.code(), 0, "{done:?}");
    let found = results(&done, "foreign");
    let one = |measured: &str, batch: u64| {
        let is = |found: &&Value| found["measured"] == measured && found["batch"] == batch;
        found.iter().find(is).unwrap()
    };
    let throughput = one("throughput", 1);
    assert_eq!(throughput["messages"], 60);
    assert_eq!(throughput["queue"], "file");
    assert!(throughput["ratio"].as_f64().unwrap() > 0.0);
    // Two producers, and two consumers that go on until they are told to end.
    assert_eq!(one("n-to-m", 1)["messages"], 120);
    assert_eq!(one("round-trip", 1)["skipped"], "has no round-trip");
    assert_eq!(one("throughput", 32)["skipped"], "has no throughput-batch");
    leaves_nothing(&sandbox);
}

#[test]
fn a_garbled_or_lost_message_is_a_failure_and_no_result() {
    for (broken, complaint) in [
        ("byte", "a message was not as it was sent: message 3"),
        ("lost", "60 messages were sent, and 59 received"),
        (
            "crash",
            "file produce ended with exit status: 7: out of files",
        ),
    ] {
        let sandbox = Sandbox::new();
        let text = QUEUE.replacen("BROKEN=", &format!("BROKEN={broken}"), 1);
        let command = program(&sandbox, "file", &text);
        let arguments = ["foreign", "--json", "--command", &command, "--size", "64"];
        let done = bench(&sandbox, &arguments);
        assert_eq!(done.code(), 1, "{done:?}");
        let found = results(&done, "foreign");
        let result = found
            .iter()
            .find(|found| found["measured"] == "throughput")
            .unwrap();
        let failed = result["failed"].as_str().unwrap();
        assert!(failed.contains(complaint), "{failed}");
        assert!(result["msgs_per_s"].is_null(), "{result}");
        leaves_nothing(&sandbox);
    }
}

#[test]
fn queues_are_compared_in_one_table_that_says_who_is_missing() {
    let sandbox = Sandbox::new();
    program(&sandbox, "rivals/file", QUEUE);
    let missing = "#!/bin/sh\necho 'get it with: apt-get install brokerd' >&2\nexit 69\n";
    program(&sandbox, "rivals/brokerd", missing);
    fs::write(sandbox.path("rivals/notes.txt"), "not a program").unwrap();
    let arguments = ["compare", "--rivals", "rivals", "--size", "64"];
    let done = bench(&sandbox, &arguments);
    assert_eq!((done.code(), done.stderr.as_str()), (0, ""), "{done:?}");
    let text = done.text();
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} in {text}"));
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        row("slipring shared")[3..7],
        ["processes", "yes", "yes", "yes"]
    );
    assert_eq!(
        row("file ")[1..7],
        ["0", "processes,", "blocking", "no", "no", "yes"]
    );
    let not_installed = "brokerd: get it with: apt-get install brokerd";
    assert!(text.contains(not_installed), "{text}");
    assert!(!text.contains("notes.txt"), "{text}");

    fs::write(sandbox.path("list"), "# one command\n./rivals/file\n").unwrap();
    let arguments = ["compare", "--rivals", "list", "--size", "64", "--json"];
    let queues = results(&bench(&sandbox, &arguments), "compare");
    for queue in ["slipring exclusive", "slipring shared", "file"] {
        assert!(
            queues.iter().any(|found| found["queue"] == queue),
            "{queue}"
        );
    }
    leaves_nothing(&sandbox);
}

#[test]
fn a_command_that_breaks_the_contract_is_named() {
    let sandbox = Sandbox::new();
    program(&sandbox, "rivals/mute", "#!/bin/sh\necho hello\n");
    let arguments = ["compare", "--rivals", "rivals", "--size", "64"];
    let done = bench(&sandbox, &arguments);
    assert_eq!(done.code(), 1, "{done:?}");
    assert!(done.text().contains("mute"), "{done:?}");
    assert!(done.text().contains("broken: "), "{done:?}");
}

#[test]
fn a_report_has_a_page_all_results_and_the_plots_it_shows() {
    let sandbox = Sandbox::new();
    let arguments = [
        "round-trip",
        "throughput",
        "n-to-m",
        "--report",
        "out/report",
    ];
    let done = bench(&sandbox, &arguments);
    assert_eq!((done.code(), done.stderr.as_str()), (0, ""), "{done:?}");
    let folder = sandbox.path("out/report");
    let page = fs::read_to_string(folder.join("report.md")).unwrap();
    let shown = page
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap());
    let shown: Vec<_> = shown.collect();
    for name in [
        "latency-round-trip.svg",
        "throughput-size.svg",
        "throughput-participants.svg",
        "ratios-rates.svg",
        "ratios-times.svg",
        "results.jsonl",
    ] {
        assert!(shown.contains(&name), "{name} in {shown:?}");
    }
    for name in shown.iter().filter(|name| name.ends_with(".svg")) {
        let plot = fs::read_to_string(folder.join(name)).unwrap();
        assert!(
            plot.starts_with("<svg ") && plot.ends_with("</svg>\n"),
            "{name}"
        );
        assert!(
            !plot.contains("NaN") && !plot.contains("inf"),
            "{name}: {plot}"
        );
        assert!(
            plot.contains("1 to 1 shared") || plot.contains(" shared, batch"),
            "{name}"
        );
    }
    let results = fs::read_to_string(folder.join("results.jsonl")).unwrap();
    let workloads = results.lines().map(|line| {
        let result: Value = serde_json::from_str(line).unwrap();
        result["workload"].as_str().unwrap().to_owned()
    });
    assert_eq!(workloads.filter(|name| name == "throughput").count(), 4);
}

#[test]
fn an_interrupted_run_ends_its_processes_and_removes_its_queues() {
    let sandbox = Sandbox::new();
    let arguments = ["bench", "throughput", "--seconds", "1000"];
    let running = sandbox.spawn(arguments);
    let at_work = || {
        let entries = fs::read_dir(sandbox.dir()).unwrap();
        let queues = entries.filter(|entry| entry.as_ref().unwrap().path().join("queue").exists());
        queues.count() > 0
    };
    until(at_work);
    running.signal(Signal::SIGINT);
    assert_eq!(running.wait().code(), 130);
    leaves_nothing(&sandbox);
}
