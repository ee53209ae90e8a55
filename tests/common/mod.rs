//! What the test files share: places for queues, a watchdog, child processes.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use slipring::{Options, Queue};
use tempfile::TempDir;

/// Runs each behaviour of a file on each backing, and fails if one of the file's is not listed.
#[macro_export]
macro_rules! on_every_backing {
    ($file:literal: $($name:ident),* $(,)?) => {
        mod heap { $(#[test] fn $name() { super::$name(super::Backing::Heap); })* }
        mod tmpfs { $(#[test] fn $name() { super::$name(super::Backing::Tmpfs); })* }
        mod disk { $(#[test] fn $name() { super::$name(super::Backing::Disk); })* }

        #[test]
        fn every_behaviour_of_this_file_is_run() {
            let written = include_str!($file).matches("(backing: Backing) {").count();
            assert_eq!([$(stringify!($name)),*].len(), written);
        }
    };
}

/// Where a test's queue lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Heap memory of this process.
    Heap,
    /// A file in memory.
    Tmpfs,
    /// A file on a disk.
    Disk,
}

/// A queue and the directory that vanishes with it.
pub struct Place {
    pub queue: Queue,
    _dir: Option<TempDir>,
}

/// Makes a queue in the given place.
pub fn queue(backing: Backing, options: &Options) -> Place {
    match backing {
        Backing::Heap => Place {
            queue: options.in_memory().unwrap(),
            _dir: None,
        },
        Backing::Tmpfs | Backing::Disk => {
            let dir = directory(backing);
            Place {
                queue: options.create(dir.path().join("queue")).unwrap(),
                _dir: Some(dir),
            }
        }
    }
}

/// A temporary directory on tmpfs or on a disk.
pub fn directory(backing: Backing) -> TempDir {
    let base = match backing {
        Backing::Disk => Path::new(env!("CARGO_TARGET_TMPDIR")),
        _ if Path::new("/dev/shm").is_dir() => Path::new("/dev/shm"),
        _ => Path::new(env!("CARGO_TARGET_TMPDIR")),
    };
    std::fs::create_dir_all(base).unwrap();
    tempfile::Builder::new()
        .prefix("slipring-test-")
        .tempdir_in(base)
        .unwrap()
}

/// Ends the process if the test has not ended after so long, saying where it was.
pub struct Watchdog(#[allow(dead_code, reason = "its drop is the message")] Sender<()>);

pub fn watchdog(what: &'static str, limit: Duration) -> Watchdog {
    let (alive, ended) = channel::<()>();
    std::thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("watchdog: {what} not done after {limit:?}");
            std::process::abort();
        }
    });
    Watchdog(alive)
}

/// Tells the threads of a scope to stop when the scope's own part ends, also by a failure: otherwise the failure would wait
/// for them, and nobody would read of it.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub const MINUTE: Duration = Duration::from_secs(60);

/// A child process running the test `child` of the same test binary, killed if it is still there when dropped.
pub struct Kid(pub Child);

pub fn spawn_child(role: &str, path: &Path, arguments: &[(&str, String)]) -> Kid {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("SLIPRING_TEST_ROLE", role)
        .env("SLIPRING_TEST_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in arguments {
        command.env(name, value);
    }
    Kid(command.spawn().unwrap())
}

impl Kid {
    /// SIGKILL, and wait for it to be gone.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for the end of a child that did well; what it printed on lines starting with `> `.
    pub fn finish(mut self) -> Vec<String> {
        drop(self.0.stdin.take());
        let output = std::io::read_to_string(self.0.stdout.take().unwrap()).unwrap();
        assert!(self.0.wait().unwrap().success(), "child failed: {output}");
        output.lines().filter_map(said).map(str::to_owned).collect()
    }

    /// The next line it says; blocks.
    pub fn next_line(&mut self) -> String {
        use std::io::Read;
        let out = self.0.stdout.as_mut().unwrap();
        loop {
            let mut line = Vec::new();
            let mut byte = [0];
            while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
                line.push(byte[0]);
            }
            assert!(
                !line.is_empty() || byte[0] == b'\n',
                "child ended without saying more"
            );
            let line = String::from_utf8(line).unwrap();
            if let Some(said) = said(&line) {
                return said.to_owned();
            }
        }
    }
}

// The test harness may print in front of it on the same line.
fn said(line: &str) -> Option<&str> {
    line.split_once("> ").map(|(_, said)| said)
}

impl Drop for Kid {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// In a child: says something to the parent.
pub fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "> {line}").unwrap();
    out.flush().unwrap();
}

/// In a child: a number from its environment.
pub fn number(name: &str) -> u64 {
    std::env::var(name).unwrap().parse().unwrap()
}

/// In a child: which one it is, and the queue's path. `None`: the test was run by hand.
pub fn role() -> Option<(String, std::path::PathBuf)> {
    let role = std::env::var("SLIPRING_TEST_ROLE").ok()?;
    Some((role, std::env::var_os("SLIPRING_TEST_PATH")?.into()))
}

/// Receives and acks what is there now.
pub fn take(consumer: &slipring::Consumer) -> Vec<u8> {
    let delivery = consumer.try_recv().unwrap();
    let payload = delivery.to_vec();
    delivery.ack().unwrap();
    payload
}
