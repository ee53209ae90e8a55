//! A worker process of the bench: says that it is ready, waits for the start, does its part, says what it found.

use std::io::Write;

use anyhow::{Context, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::job::{GO, Job, Outcome, READY, Role};
use super::{bare, durable, machine, roles, single};
use crate::exit::Code;

/// The first argument of a worker process. No subcommand: it is nobody's business but the bench's.
pub const COMMAND: &str = "bench-worker";

/// Runs the worker, if this process is to be one.
pub fn main() -> Option<Code> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let job = arguments.next().unwrap_or_default();
    let Ok(job) = serde_json::from_str::<Job>(&job) else {
        return Some(Code::Failure);
    };
    let (outcome, code) = match work(&job) {
        Ok(outcome) => (outcome, Code::Success),
        Err(error) => {
            let error = Some(format!("{error:#}"));
            let outcome = Outcome {
                error,
                ..Outcome::default()
            };
            (outcome, Code::Failure)
        }
    };
    let _bench_gone = serde_json::to_string(&outcome).map(|line| say(&line));
    Some(code)
}

fn work(job: &Job) -> anyhow::Result<Outcome> {
    // Without a bench nobody would end a spinning worker.
    set_pdeathsig(Signal::SIGKILL).context("asking to end with the bench")?;
    if let Some(cpu) = job.cpu {
        machine::pin(cpu)?;
    }
    match job.role {
        Role::Producer { index, sole } => roles::produce(job, index, sole),
        Role::Consumer { group, alone } => roles::consume(job, group, alone),
        Role::Ping { sole } => roles::ping(job, sole),
        Role::Pong { sole } => roles::pong(job, sole),
        Role::Single { groups } => single::run(job, groups),
        Role::Holder { attachments } => single::hold(job, attachments),
        Role::Disturber => durable::disturb(job),
        Role::Bare { what, leads } => bare::run(job, what, leads),
    }
}

/// Says that it is ready, and waits for the start.
pub fn await_go() -> anyhow::Result<()> {
    say(READY)?;
    if hear()? != GO {
        bail!("not started");
    }
    Ok(())
}

/// The next line of the input; an end is an empty one.
pub fn hear() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// A line of output.
pub fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}
