//! Runs the program in a sandbox, and never waits for ever.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A command that has a message in hand until there is a file `go`. It also ends with the sandbox, even as an orphan.
pub const HANG: &str =
    "echo started; while [ -d \"$SLIPRING_DIR\" ] && [ ! -e go ]; do sleep 0.02; done";

/// A directory for queues, removed with everything in it.
pub struct Sandbox {
    dir: TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    /// Its exit code; panics if a signal killed it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{self:?}"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Its output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Each line of its output as a JSON value.
    pub fn json_lines(&self) -> Vec<Value> {
        let lines = self.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Asserts the exit code and part of what it complained about.
    pub fn failed(&self, code: i32, complaint: &str) {
        assert_eq!(self.code(), code, "{self:?}");
        assert!(self.stderr.contains(complaint), "{self:?}");
        if code != 2 {
            assert!(self.stderr.starts_with("slipring: "), "{self:?}");
            assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        }
    }
}

impl Sandbox {
    pub fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    /// One with a queue `q`, made with these options.
    pub fn with_queue(options: &[&str]) -> Self {
        let sandbox = Self::new();
        sandbox.ok([&["create", "q"], options].concat());
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
        command
            .args(args)
            .env("SLIPRING_DIR", self.dir.path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let obeys = || {
            // SAFETY: restores a default disposition, which is async-signal-safe.
            unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }?;
            Ok(())
        };
        // A shell starts background jobs with interrupts ignored, and the program would respect that.
        // SAFETY: the closure makes one async-signal-safe call.
        unsafe { command.pre_exec(obeys) };
        command
    }

    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Done {
        self.spawn(args).wait()
    }

    /// Runs it, expects success and silence on stderr, and returns what it printed.
    pub fn ok(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let done = self.run(args);
        assert_eq!((done.code(), done.stderr.as_str()), (0, ""), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    pub fn run_with_input(
        &self,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &[u8],
    ) -> Done {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Running::new(child).wait()
    }

    pub fn spawn(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Running {
        Running::new(self.command(args).spawn().unwrap())
    }

    /// `info --json` of queue `q`.
    pub fn info(&self) -> Value {
        serde_json::from_str(&self.ok(["info", "q", "--json"])).unwrap()
    }

    /// The first group of queue `q`.
    pub fn group(&self) -> Value {
        self.info()["groups"][0].clone()
    }

    /// Waits until so many processes are attached to queue `q`.
    pub fn await_participants(&self, count: usize) {
        until(|| self.info()["participants"].as_array().unwrap().len() == count);
    }

    /// Waits until so many processes consume in the only group. Attached is not joined yet.
    pub fn await_members(&self, count: u64) {
        until(|| self.info()["groups"][0]["members"] == count);
    }
}

/// Waits for something to become true.
pub fn until(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program that runs; killed if the test is over before it is.
pub struct Running {
    child: Child,
    lines: Receiver<Vec<u8>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    pub fn new(mut child: Child) -> Self {
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                loop {
                    let mut line = Vec::new();
                    let count = stdout.read_until(b'\n', &mut line).unwrap();
                    if count == 0 || sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            child,
            lines,
            stderr: Some(stderr),
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Stops it, and waits until it stands still.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        // The state follows the name in parentheses.
        let stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
        let started = Instant::now();
        while !stopped() {
            assert!(started.elapsed() < PATIENCE, "it does not stop");
            std::thread::yield_now();
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The next line of its output, without the newline.
    pub fn line(&self) -> String {
        let line = self.lines.recv_timeout(PATIENCE).expect("no line came");
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Done {
        let started = Instant::now();
        let mut stdout = Vec::new();
        let status = loop {
            // While it runs, too: it may have more to say than a pipe holds.
            stdout.extend(self.lines.try_iter().flatten());
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        stdout.extend(self.lines.iter().flatten());
        Done {
            status,
            stdout,
            stderr: self.stderr.take().unwrap().join().unwrap(),
        }
    }

    /// Waits for its end by a signal it does not survive.
    pub fn wait_killed(self, signal: Signal) {
        assert_eq!(self.wait().status.signal(), Some(signal as i32));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}
