//! What `consume` does with one message: print it or run a command; then ack it, give it back or reject it.

use std::io::{self, ErrorKind, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;

use anyhow::Context;
use slipring::{AckError, Delivery};

use super::lease::Lease;
use crate::dead_letter;
use crate::output::Output;
use crate::record::{Record, Style};

/// What is done with each message.
pub enum Way<'a> {
    /// Print it.
    Print(Style, Output),
    /// Run this in a shell.
    Run(&'a str),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// The command failed; another time it may not.
    Failed,
    /// The command says that it will never do.
    NoGood,
}

/// The exit code by which a command rejects a message, and the reason that gives.
const REJECT: i32 = 100;
pub const REASON: &str = "command exited with 100";

/// Whether a message could be settled, or was no longer ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    InTime,
    Stale,
}

/// Deals with a message. Claims that last only for a time are prolonged while a command runs, those set aside included.
pub fn handle(
    delivery: &Delivery<'_>,
    group: &str,
    way: &mut Way<'_>,
    lease: &mut Lease,
    aside: &[Delivery<'_>],
) -> anyhow::Result<Verdict> {
    match way {
        Way::Print(style, output) => {
            print(delivery, group, style, output)?;
            Ok(Verdict::Done)
        }
        Way::Run(command) => {
            let child = start(delivery, group, command).context("starting sh for --exec")?;
            let status = run(child, delivery.payload(), || {
                lease.prolong(aside.iter().chain([delivery]));
                lease.rest()
            })?;
            Ok(match status.code() {
                Some(0) => Verdict::Done,
                Some(REJECT) => Verdict::NoGood,
                _ => Verdict::Failed,
            })
        }
    }
}

/// Settles a message accordingly.
pub fn settle(delivery: Delivery<'_>, verdict: Verdict) -> anyhow::Result<Settled> {
    let ended = match verdict {
        Verdict::Done => delivery.ack(),
        Verdict::Failed => delivery.nack(),
        Verdict::NoGood => delivery.reject(REASON),
    };
    match ended {
        Ok(()) => Ok(Settled::InTime),
        Err(AckError::Stale { .. }) => Ok(Settled::Stale),
        Err(error) => Err(error.into()),
    }
}

/// Flushes, too: what is acked must have left this process.
fn print(
    delivery: &Delivery<'_>,
    group: &str,
    style: &Style,
    output: &mut Output,
) -> anyhow::Result<()> {
    let dead_letter = delivery.dead_letter();
    let record = Record {
        payload: delivery.payload(),
        sequence: delivery.sequence(),
        count: Some(delivery.delivery_count()),
        kind: delivery.kind(),
        key: delivery.key(),
        timestamp: delivery.timestamp(),
        group: Some(group),
        dead_letter: dead_letter.as_ref(),
    };
    style.write(&record, output.buffer())?;
    output.flush()
}

fn start(delivery: &Delivery<'_>, group: &str, command: &str) -> io::Result<Child> {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(command)
        .env("SLIPRING_SEQUENCE", delivery.sequence().to_string())
        .env("SLIPRING_COUNT", delivery.delivery_count().to_string())
        .env("SLIPRING_KIND", delivery.kind().to_string())
        .env("SLIPRING_KEY", delivery.key().to_string())
        .env("SLIPRING_TIMESTAMP", delivery.timestamp().to_string())
        .env("SLIPRING_GROUP", group)
        .stdin(Stdio::piped());
    // This may itself be the command of another consumer.
    for variable in dead_letter::VARIABLES {
        shell.env_remove(variable);
    }
    if let Some(letter) = delivery.dead_letter() {
        shell.envs(
            dead_letter::VARIABLES
                .into_iter()
                .zip(dead_letter::values(&letter)),
        );
    }
    shell.spawn()
}

/// Feeds a command and waits for its end, even if a signal came: it decides what becomes of the message in hand.
/// `meanwhile` is called at once and then as often as it asks for.
fn run(
    child: Child,
    payload: &[u8],
    mut meanwhile: impl FnMut() -> Option<std::time::Duration>,
) -> anyhow::Result<ExitStatus> {
    let (sender, ended) = channel();
    thread::scope(|scope| {
        thread::Builder::new()
            .spawn_scoped(scope, move || feed(child, payload, &sender))
            .context("starting a thread for --exec")?;
        loop {
            let end = match meanwhile() {
                Some(pause) => ended.recv_timeout(pause),
                None => ended.recv().map_err(RecvTimeoutError::from),
            };
            match end {
                Err(RecvTimeoutError::Timeout) => {}
                other => return other.context("waiting for the command of --exec")?,
            }
        }
    })
}

fn feed(mut child: Child, payload: &[u8], ended: &Sender<anyhow::Result<ExitStatus>>) {
    let written = match child.stdin.take().map(|mut stdin| stdin.write_all(payload)) {
        // It need not read its input.
        Some(Err(error)) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    };
    let status = child.wait();
    let end = written
        .context("writing to the command of --exec")
        .and_then(|()| status.context("waiting for the command of --exec"));
    // The other end waits for this.
    let _received = ended.send(end);
}
