//! The worker processes: started, listened to, told things, and ended with their supervisor.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use super::protocol::{Job, Report};
use super::worker;

/// What happened at a worker.
#[derive(Debug)]
pub enum Event {
    Said(Report),
    /// A line that is no report.
    Babbled(String),
    /// Its output is closed.
    Left,
}

struct Worker {
    name: String,
    child: Child,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AtWork,
    /// It has said what it has to say before it may leave.
    Reported,
    /// By us.
    Killed,
}

/// All of them. Dropped, it ends those that still run.
pub struct Fleet {
    workers: Vec<Worker>,
    sender: Sender<(usize, Event)>,
    events: Receiver<(usize, Event)>,
}

impl Default for Fleet {
    fn default() -> Self {
        let (sender, events) = channel();
        Self {
            workers: Vec::new(),
            sender,
            events,
        }
    }
}

impl Fleet {
    /// How many have been started, which is the number of the next one.
    pub fn started(&self) -> usize {
        self.workers.len()
    }

    /// Starts a worker: this very program, with other arguments.
    pub fn start(&mut self, name: &str, job: &Job) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("finding this program's own file")?;
        let mut child = Command::new(program)
            .arg(worker::COMMAND)
            .arg(serde_json::to_string(job)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C is for the supervisor; it ends the workers.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting demo {name}"))?;
        let stdout = child.stdout.take();
        self.workers.push(Worker {
            name: name.to_owned(),
            child,
            state: State::AtWork,
        });
        let (worker, sender) = (self.workers.len() - 1, self.sender.clone());
        let stdout = BufReader::new(stdout.context("a worker without output")?);
        std::thread::spawn(move || listen(worker, stdout, &sender));
        Ok(())
    }

    /// What happened next, if something does in time.
    pub fn next_event(&mut self, timeout: Duration) -> anyhow::Result<Option<(usize, Event)>> {
        let (worker, event) = match self.events.recv_timeout(timeout) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("no worker is left"),
        };
        if let Event::Said(Report::Produced(_) | Report::Consumed(_) | Report::Done) = event
            && let Some(worker) = self.workers.get_mut(worker)
            && worker.state == State::AtWork
        {
            worker.state = State::Reported;
        }
        Ok(Some((worker, event)))
    }

    /// Kills a worker, which gets no chance to do anything about it; false if it had ended by itself.
    pub fn kill(&mut self, worker: usize) -> anyhow::Result<bool> {
        let worker = self.workers.get_mut(worker).context("no such worker")?;
        worker.child.kill().context("killing a worker")?;
        let status = worker.child.wait().context("waiting for a worker")?;
        let killed = status.signal() == Some(Signal::SIGKILL as i32);
        if killed {
            worker.state = State::Killed;
        }
        Ok(killed)
    }

    /// What to call a worker.
    pub fn name(&self, worker: usize) -> &str {
        self.workers
            .get(worker)
            .map_or("worker", |worker| worker.name.as_str())
    }

    /// True if it has reported its work, so that it may leave.
    pub fn has_reported(&self, worker: usize) -> bool {
        self.is(worker, State::Reported)
    }

    /// True if we killed it.
    pub fn was_killed(&self, worker: usize) -> bool {
        self.is(worker, State::Killed)
    }

    fn is(&self, worker: usize, state: State) -> bool {
        let worker = self.workers.get(worker);
        worker.is_some_and(|worker| worker.state == state)
    }

    /// Tells one of them.
    pub fn tell(&mut self, worker: usize, word: &str) -> anyhow::Result<()> {
        let worker = self.workers.get_mut(worker).context("no such worker")?;
        let stdin = worker.child.stdin.as_mut();
        writeln!(stdin.context("a worker without input")?, "{word}")
            .with_context(|| format!("telling demo {} to {word}", worker.name))
    }

    /// Tells all that have not left.
    pub fn tell_all(&mut self, word: &str) -> anyhow::Result<()> {
        for worker in 0..self.workers.len() {
            if self.is(worker, State::AtWork) {
                self.tell(worker, word)?;
            }
        }
        Ok(())
    }

    /// Waits for all of them, who have been told to leave.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        let living = |worker: &&mut Worker| worker.state != State::Killed;
        for worker in self.workers.iter_mut().filter(living) {
            let status = loop {
                if let Some(status) = worker.child.try_wait().context("waiting for a worker")? {
                    break status;
                }
                if Instant::now() > deadline {
                    bail!("demo {} does not leave", worker.name);
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            if !status.success() {
                bail!("demo {} ended with {status}", worker.name);
            }
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // Those that have been waited for are not touched by this.
            let _ended_already = worker.child.kill();
            let _ended_already = worker.child.wait();
        }
    }
}

/// Passes on what a worker says, until it is gone. A line it did not end it has not said: it was killed in the middle.
fn listen(worker: usize, mut stdout: BufReader<ChildStdout>, sender: &Sender<(usize, Event)>) {
    let mut line = String::new();
    while stdout.read_line(&mut line).is_ok() && line.ends_with('\n') {
        let event = match serde_json::from_str(&line) {
            Ok(report) => Event::Said(report),
            Err(_) => Event::Babbled(line.trim_end().to_owned()),
        };
        if sender.send((worker, event)).is_err() {
            return;
        }
        line.clear();
    }
    let _supervisor_gone = sender.send((worker, Event::Left));
}
