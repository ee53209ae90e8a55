//! What `consume` does with one message: print it or run a command, then ack it or give it back.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use anyhow::Context;
use slipring::{AckError, Delivery};

use crate::output::Output;
use crate::record::{Record, Style};

/// What is done with each message.
pub enum Way<'a> {
    /// Print it.
    Print(Style, Output),
    /// Run this in a shell.
    Run(&'a str),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Acked,
    /// The command failed; the attempt counts.
    GivenBack,
    /// It was no longer ours.
    Stale,
}

/// Deals with a message. After an error it has been given back as if it had not been delivered.
pub fn settle(delivery: Delivery<'_>, group: &str, way: &mut Way<'_>) -> anyhow::Result<Settled> {
    let succeeded = match way {
        Way::Print(style, output) => {
            print(&delivery, group, style, output)?;
            true
        }
        Way::Run(command) => execute(&delivery, group, command)?,
    };
    let ended = if succeeded {
        delivery.ack()
    } else {
        delivery.nack()
    };
    match ended {
        Ok(()) if succeeded => Ok(Settled::Acked),
        Ok(()) => Ok(Settled::GivenBack),
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
    let record = Record {
        payload: delivery.payload(),
        sequence: delivery.sequence(),
        count: Some(delivery.delivery_count()),
        kind: delivery.kind(),
        key: delivery.key(),
        timestamp: delivery.timestamp(),
        group: Some(group),
    };
    style.write(&record, output.buffer())?;
    output.flush()
}

/// True if the command took the message.
fn execute(delivery: &Delivery<'_>, group: &str, command: &str) -> anyhow::Result<bool> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("SLIPRING_SEQUENCE", delivery.sequence().to_string())
        .env("SLIPRING_COUNT", delivery.delivery_count().to_string())
        .env("SLIPRING_KIND", delivery.kind().to_string())
        .env("SLIPRING_KEY", delivery.key().to_string())
        .env("SLIPRING_TIMESTAMP", delivery.timestamp().to_string())
        .env("SLIPRING_GROUP", group)
        .stdin(Stdio::piped())
        .spawn()
        .context("starting sh for --exec")?;
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(delivery.payload()));
    // Waits even if a signal came: the command decides what becomes of the message in hand.
    let status = child.wait().context("waiting for the command of --exec")?;
    match written {
        // It need not read its input.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("writing to the command of --exec")
        }
        _ => Ok(status.success()),
    }
}
