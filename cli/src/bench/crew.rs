//! The processes of one measurement, our own or foreign: started, listened to, started off, killed, and ended with the
//! bench, whatever happens. All follow one contract: a line `ready`, a line `go`, a line of JSON, exit code 0.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::job::{GO, Job, Outcome, READY};
use super::worker;
use crate::output::Stopped;
use crate::signals;

/// What a foreign process says, on stderr, that fails a check: EX_DATAERR of sysexits.
const GARBLED: i32 = 65;
/// How long a process may take to end once it has said what it found.
const LEAVE: Duration = Duration::from_secs(10);

/// Processes that work together.
#[derive(Default)]
pub struct Crew {
    members: Vec<Member>,
}

/// Which of them.
pub type Id = usize;

struct Member {
    name: String,
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// By us.
    killed: bool,
}

impl Crew {
    /// Starts a worker of our own: this very program.
    pub fn start_worker(&mut self, name: &str, job: &Job) -> anyhow::Result<Id> {
        let program = std::env::current_exe().context("finding this program's own file")?;
        let mut command = Command::new(program);
        command
            .arg(worker::COMMAND)
            .arg(serde_json::to_string(job)?);
        self.start(name, command)
    }

    /// Starts a process.
    pub fn start(&mut self, name: &str, mut command: Command) -> anyhow::Result<Id> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is for the bench; it ends them.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                for line in lines {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let stderr = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _cut_off = stderr.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        self.members.push(Member {
            name: name.to_owned(),
            child,
            lines,
            stderr,
            killed: false,
        });
        Ok(self.members.len() - 1)
    }

    fn member(&mut self, id: Id) -> anyhow::Result<&mut Member> {
        self.members.get_mut(id).context("no such process")
    }

    /// Waits until it is set up.
    pub fn await_ready(&mut self, id: Id, patience: Duration) -> anyhow::Result<()> {
        match self.line(id, patience)? {
            Some(line) if line == READY => Ok(()),
            other => Err(self.member(id)?.explain(&other.unwrap_or_default())),
        }
    }

    /// The next line of its output; none if it has closed it. Fails as soon as any of the crew has failed: those who wait
    /// for it would wait for ever.
    fn line(&mut self, id: Id, patience: Duration) -> anyhow::Result<Option<String>> {
        let deadline = Instant::now() + patience;
        loop {
            let member = self.member(id)?;
            match member.lines.recv_timeout(signals::SLICE) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() > deadline {
                bail!("{} said nothing for {} s", member.name, patience.as_secs());
            }
            if signals::caught().is_some() {
                return Err(Stopped.into());
            }
            if let Some(failed) = self.members.iter_mut().find_map(Member::failed) {
                return Err(failed);
            }
        }
    }

    /// Starts it off.
    pub fn go(&mut self, id: Id) -> anyhow::Result<()> {
        let member = self.member(id)?;
        let stdin = member.child.stdin.as_mut();
        writeln!(stdin.context("a process without input")?, "{GO}")
            .with_context(|| format!("starting {} off", member.name))
    }

    /// Waits for its last line, and for its end.
    pub fn finish(&mut self, id: Id, patience: Duration) -> anyhow::Result<String> {
        let mut last = String::new();
        while let Some(line) = self.line(id, patience)? {
            if !line.trim().is_empty() {
                last = line;
            }
            // A worker's line is its last; whatever follows from a foreign one is its last, too.
            if last.starts_with('{') {
                break;
            }
        }
        let member = self.member(id)?;
        let status = member.wait()?;
        if status.success() && last.starts_with('{') {
            return Ok(last);
        }
        Err(member.explain(&last))
    }

    /// What one of our own workers found.
    pub fn outcome(&mut self, id: Id, patience: Duration) -> anyhow::Result<Outcome> {
        let line = self.finish(id, patience)?;
        let name = &self.member(id)?.name;
        serde_json::from_str(&line).with_context(|| format!("what {name} said: {line}"))
    }

    /// A kill -9; false if it had ended by itself.
    pub fn kill(&mut self, id: Id) -> anyhow::Result<bool> {
        let member = self.member(id)?;
        member.child.kill().context("killing a process")?;
        let status = member.child.wait().context("waiting for a process")?;
        member.killed = true;
        Ok(status.signal().is_some())
    }
}

impl Member {
    /// Why it has ended, if it has and should not have.
    fn failed(&mut self) -> Option<anyhow::Error> {
        let status = self.child.try_wait().ok()??;
        if status.success() || self.killed {
            return None;
        }
        let said = self.lines.try_iter().last();
        Some(self.explain(&said.unwrap_or_default()))
    }

    fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + LEAVE;
        loop {
            if let Some(status) = self.child.try_wait().context("waiting for a process")? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} has said what it found, but does not end", self.name);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn wait_or_kill(&mut self) -> std::io::Result<ExitStatus> {
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.child.kill()?;
        self.child.wait()
    }

    /// Why it did not do what it was to do.
    fn explain(&mut self, said: &str) -> anyhow::Error {
        let name = self.name.clone();
        if let Ok(outcome) = serde_json::from_str::<Outcome>(said)
            && let Some(error) = outcome.error
        {
            return anyhow::anyhow!("{name}: {error}");
        }
        let status = self.wait_or_kill();
        // A grandchild may hold the pipe: what it has written so far is not worth waiting for.
        let stderr = self.stderr.take().filter(|thread| {
            std::thread::sleep(Duration::from_millis(20));
            thread.is_finished()
        });
        let stderr = stderr.and_then(|thread| thread.join().ok());
        let stderr = stderr.unwrap_or_default();
        let complaint = stderr.lines().rfind(|line| !line.trim().is_empty());
        let complaint = complaint.map_or_else(String::new, |line| format!(": {line}"));
        match status {
            Ok(status) if status.code() == Some(GARBLED) => {
                anyhow::anyhow!("{name}: a message was not as it was sent{complaint}")
            }
            Ok(status) if !status.success() => {
                anyhow::anyhow!("{name} ended with {status}{complaint}")
            }
            _ => anyhow::anyhow!("{name} said {said:?}, which is not in the contract{complaint}"),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Those that have been waited for are not touched by this.
            let _ended_already = member.child.kill();
            let _ended_already = member.child.wait();
        }
    }
}
