//! Goal: every rival keeps to the command contract, so that a harness may drive it without knowing it.
//! Method: be the harness, with small counts, for all that is built; what is not available here has to say why.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// No step of any rival takes nearly as long; a broker may have to start.
const WATCHDOG: Duration = Duration::from_secs(60);
const COUNT: u64 = 500;

/// A process of a rival.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    what: String,
}

impl Process {
    fn start(
        rival: &str,
        role: &str,
        dir: &Path,
        arguments: &[&str],
        environment: &[(&str, u64)],
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rivals"));
        command.arg(rival).arg(role).arg(dir).args(arguments);
        command.envs(
            environment
                .iter()
                .map(|(name, value)| (name, value.to_string())),
        );
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // The test may have seen enough.
            stdout
                .lines()
                .try_for_each(|line| sender.send(line.unwrap()))
        });
        let what = format!("{rival} {role}");
        Self {
            child,
            stdin,
            lines,
            what,
        }
    }

    fn line(&self) -> String {
        let line = self.lines.recv_timeout(WATCHDOG);
        line.unwrap_or_else(|_| panic!("{} said nothing", self.what))
    }

    fn ready(self) -> Self {
        assert_eq!(self.line(), "ready", "{}", self.what);
        self
    }

    fn go(&mut self) {
        writeln!(self.stdin.as_mut().unwrap(), "go").unwrap();
    }

    fn result(mut self) -> Value {
        let result = serde_json::from_str(&self.line()).unwrap();
        assert_eq!(self.code(), Some(0), "{}", self.what);
        result
    }

    fn code(&mut self) -> Option<i32> {
        // Its last line tells that it ends; a broker that it started may take a while to.
        while self.lines.recv_timeout(WATCHDOG).is_ok() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process of a test that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rivals(arguments: &[&str]) -> std::process::Output {
    let output = Command::new(env!("CARGO_BIN_EXE_rivals"))
        .args(arguments)
        .output();
    output.unwrap()
}

fn names() -> Vec<String> {
    let list = String::from_utf8(rivals(&["list"]).stdout).unwrap();
    let names: Vec<_> = list.lines().map(str::to_owned).collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

/// Those that can run here, with their descriptions.
fn available() -> Vec<(String, Value)> {
    let described = names().into_iter().filter_map(|name| {
        let output = rivals(&[&name, "describe"]);
        if output.status.code() == Some(69) {
            eprint!("skipped: {}", String::from_utf8(output.stderr).unwrap());
            return None;
        }
        Some((name, serde_json::from_slice(&output.stdout).unwrap()))
    });
    described.collect()
}

fn has(description: &Value, role: &str) -> bool {
    let roles = description["roles"].as_array().unwrap();
    roles.iter().any(|has| has == role)
}

fn between_processes() -> impl Iterator<Item = (String, Value)> {
    available()
        .into_iter()
        .filter(|(_, described)| described["kind"] == "processes")
}

fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Processes at work in a directory, as a rival's server is.
fn at_work_in(dir: &Path) -> usize {
    let processes = Path::new("/proc").read_dir().unwrap();
    let places =
        processes.filter_map(|process| process.unwrap().path().join("cwd").read_link().ok());
    places.filter(|place| place == dir).count()
}

/// Runs a consumer and a producer; what each of them printed.
fn throughput(rival: &str, size: &str, batch: &str) -> (Value, Value) {
    let dir = directory();
    let count = COUNT.to_string();
    let arguments = [size, &count, "-", batch];
    let consumer = Process::start(rival, "consume", dir.path(), &arguments, &[]).ready();
    let mut producer = Process::start(rival, "produce", dir.path(), &arguments, &[]).ready();
    producer.go();
    let results = (producer.result(), consumer.result());
    assert_eq!(at_work_in(dir.path()), 0, "{rival} left its server behind");
    results
}

#[test]
fn every_rival_describes_itself_or_says_what_is_missing() {
    for name in names() {
        let output = rivals(&[&name, "describe"]);
        if output.status.code() == Some(69) {
            let missing = String::from_utf8(output.stderr).unwrap();
            assert!(
                missing.contains("with"),
                "{name} does not say how to get it: {missing}"
            );
            continue;
        }
        let described: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(described["name"], name);
        assert!(
            ["processes", "threads"]
                .map(Value::from)
                .contains(&described["kind"])
        );
        for flag in ["acked", "survives_kill", "mpmc", "durable", "blocking"] {
            assert!(described[flag].is_boolean(), "{name}: {flag}");
        }
        for text in ["version", "notes"] {
            let said = described[text].as_str().unwrap();
            assert!(
                !said.is_empty() && !said.contains("unknown"),
                "{name}: {text} {said:?}"
            );
        }
        assert!(!described["roles"].as_array().unwrap().is_empty());
        assert!(described["max_size"].is_null() || described["max_size"].is_u64());
    }
}

/// One truth for what a rival promises.
#[test]
fn the_readme_says_what_each_rival_says() {
    let readme = include_str!("../README.md");
    for name in names() {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        let cells: Vec<_> = row
            .unwrap_or_else(|| panic!("no row for {name}"))
            .split('|')
            .collect();
        let Some((_, described)) = available()
            .into_iter()
            .find(|(available, _)| *available == name)
        else {
            continue;
        };
        assert_eq!(
            cells[2].trim() == "threads",
            described["kind"] == "threads",
            "{name}"
        );
        let says = |cell: &str| !["no", "-"].contains(&cell.trim());
        let flags = ["acked", "survives_kill", "mpmc", "durable"];
        for (flag, cell) in flags.into_iter().zip(&cells[3..]) {
            assert_eq!(described[flag], says(cell), "{name}: {flag}");
        }
        assert_eq!(
            has(&described, "throughput-batch"),
            says(cells[7]),
            "{name}: batch"
        );
    }
}

#[test]
fn every_message_sent_is_received() {
    for (name, described) in between_processes() {
        for (size, batch, role) in [
            ("64", "1", "throughput"),
            ("100", "1", "throughput"),
            ("64", "7", "throughput-batch"),
            ("65536", "1", "throughput"),
        ] {
            let fits = described["max_size"]
                .as_u64()
                .is_none_or(|most| most >= size.parse().unwrap());
            if !has(&described, role) || !fits {
                continue;
            }
            println!("{name} {size} {batch}");
            let (produced, consumed) = throughput(&name, size, batch);
            assert_eq!(produced["messages"], COUNT, "{name}");
            assert_eq!(consumed["messages"], COUNT, "{name}");
            let at = |key: &str| consumed[key].as_u64().unwrap();
            assert_eq!(at("last_ns") - at("first_ns"), at("ns"), "{name}");
        }
    }
}

/// What a ping, or a pair of threads, says of its round trips.
fn check_round_trips(name: &str, result: &Value) {
    assert_eq!(result["messages"], COUNT, "{name}");
    let at = |key: &str| result[key].as_u64().unwrap();
    let quantiles = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"].map(at);
    assert!(
        quantiles.is_sorted() && quantiles[0] > 0,
        "{name}: {result}"
    );
    // Half trips that take longer than half of all the time would have overlapped.
    assert!(at("p50_ns") * COUNT <= at("ns") * 2, "{name}: {result}");
}

#[test]
fn every_ping_is_answered() {
    for (name, described) in between_processes() {
        if !has(&described, "round-trip") {
            continue;
        }
        println!("{name}");
        let dir = directory();
        let count = COUNT.to_string();
        let arguments = ["64", &count, "-"];
        let pong = Process::start(&name, "pong", dir.path(), &arguments, &[]).ready();
        let mut ping = Process::start(&name, "ping", dir.path(), &arguments, &[]).ready();
        ping.go();
        check_round_trips(&name, &ping.result());
        assert_eq!(pong.result()["messages"], COUNT, "{name}");
    }
}

#[test]
fn threads_send_and_answer_like_processes() {
    let count = COUNT.to_string();
    let dir = directory();
    let threads = available()
        .into_iter()
        .filter(|(_, described)| described["kind"] == "threads");
    for (name, described) in threads {
        for batch in ["1", "7"] {
            if batch != "1" && !has(&described, "throughput-batch") {
                continue;
            }
            let arguments = ["64", &count, "-", batch];
            let pair = Process::start(&name, "threads-throughput", dir.path(), &arguments, &[]);
            assert_eq!(pair.result()["messages"], COUNT, "{name}");
        }
        let pair = Process::start(
            &name,
            "threads-round-trip",
            dir.path(),
            &["64", &count, "-"],
            &[],
        );
        check_round_trips(&name, &pair.result());
    }
}

#[test]
fn a_damaged_message_ends_its_receiver_with_65() {
    let damage = [("SLIPRING_COMPARE_DAMAGE", 3)];
    for (name, described) in available() {
        let dir = directory();
        let arguments = ["64", "10", "-"];
        let start =
            |role, environment| Process::start(&name, role, dir.path(), &arguments, environment);
        let mut receiver = if described["kind"] == "threads" {
            start("threads-throughput", &damage)
        } else {
            let (receive, send) = if has(&described, "throughput") {
                ("consume", "produce")
            } else {
                ("pong", "ping")
            };
            let receiver = start(receive, &[]).ready();
            let mut sender = start(send, &damage).ready();
            sender.go();
            // Before the sender ends, or it may wait for an answer.
            let mut receiver = receiver;
            assert_eq!(receiver.code(), Some(65), "{name}");
            continue;
        };
        assert_eq!(receiver.code(), Some(65), "{name}");
    }
}

#[test]
fn of_several_consumers_each_gets_an_end_message() {
    for (name, described) in between_processes() {
        if described["mpmc"] != true || !has(&described, "throughput") {
            continue;
        }
        println!("{name}");
        let dir = directory();
        let start = |role, arguments: &[&str], environment: &[_]| {
            Process::start(&name, role, dir.path(), arguments, environment).ready()
        };
        // Both starting at once, one of them finds the queue made.
        let consumers = [0, 1]
            .map(|_| Process::start(&name, "consume", dir.path(), &["64", "0", "-", "8"], &[]));
        let consumers = consumers.map(Process::ready);
        let count = COUNT.to_string();
        let producers = [0, 1].map(|index| {
            let environment = [("SLIPRING_BENCH_PRODUCER", index)];
            start("produce", &["64", &count, "-", "8"], &environment)
        });
        for mut producer in producers {
            producer.go();
            assert_eq!(producer.result()["messages"], COUNT, "{name}");
        }
        let last = [("SLIPRING_BENCH_PRODUCER", 2), ("SLIPRING_BENCH_ENDS", 2)];
        let mut last = start("produce", &["64", "0", "-"], &last);
        last.go();
        assert_eq!(last.result()["messages"], 0, "{name}");
        let received = consumers.map(|consumer| consumer.result()["messages"].as_u64().unwrap());
        assert_eq!(received[0] + received[1], 2 * COUNT, "{name}: {received:?}");
    }
}

#[test]
fn a_server_ends_with_the_client_that_started_it_even_if_that_is_killed() {
    for (name, described) in between_processes() {
        if !described["notes"]
            .as_str()
            .unwrap()
            .contains("server of its own")
        {
            continue;
        }
        println!("{name}");
        let dir = directory();
        let mut consumer =
            Process::start(&name, "consume", dir.path(), &["64", "10", "-"], &[]).ready();
        assert_eq!(at_work_in(dir.path()), 1, "{name}");
        consumer.child.kill().unwrap();
        let start = Instant::now();
        while at_work_in(dir.path()) > 0 {
            assert!(start.elapsed() < WATCHDOG, "{name} left its server behind");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn arguments_that_make_no_sense_end_with_64() {
    for arguments in [
        &["bare-ring"][..],
        &["nobody", "describe"],
        &["bare-ring", "juggle", "x", "64", "1", "-"],
        &["bare-ring", "consume", "x", "8", "1", "-"],
        &["bare-ring", "consume", "x", "64", "many", "-"],
        &["bare-ring", "threads-throughput", "x", "64", "1", "-"],
        &["rtrb", "consume", "x", "64", "1", "-"],
        &["rtrb", "threads-throughput", "x", "65537", "1", "-"],
    ] {
        let output = rivals(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
