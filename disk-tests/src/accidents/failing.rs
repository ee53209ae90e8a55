//! The disk no longer takes what it is sent.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Stage;
use crate::disk::Faults;
use crate::hand::{Hand, word};
use crate::mounts::{EXT4, Kind, set_boot};

const POISONED: [&str; 3] = [
    "syncing the file failed",
    "Input/output error",
    "create the queue anew",
];

pub fn a_failed_flush_of_the_disk_stops_every_publisher(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    let flushes = |_: &Stage| {
        Ok(Faults {
            flushes: true,
            ..Faults::default()
        })
    };
    a_failed_sync(directory, kind, flushes)
}

pub fn a_failed_write_to_the_disk_stops_every_publisher(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    let writes = |stage: &Stage| {
        Ok(Faults {
            writes: stage.extents(0)?,
            ..Faults::default()
        })
    };
    a_failed_sync(directory, kind, writes)
}

fn a_failed_sync(
    directory: &Path,
    kind: Kind,
    faults: impl Fn(&Stage) -> Result<Faults>,
) -> Result<()> {
    // A failed write of the queue is no reason to stop the file system.
    let options = if kind == EXT4 { "errors=continue" } else { "" };
    let stage = Stage::new(directory, kind, options)?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let (mut one, mut other, mut later) = (Hand::new()?, Hand::new()?, Hand::new()?);
    one.does(&format!("create {queue} interval 64"))?;
    other.does(&format!("open {queue}"))?;
    one.does("publish_durable safe")?;
    stage.disk.fail(faults(&stage)?);
    let uncertain = ["message 1 is published and may not be on the disk"];
    one.fails(
        "publish_durable unsafe",
        &[&uncertain[..], &POISONED].concat(),
    )?;
    // The disk is well again, and nobody believes it.
    stage.disk.fail(Faults::default());
    one.fails("flush", &POISONED)?;
    later.does(&format!("open {queue}"))?;
    for hand in [&mut other, &mut one, &mut later] {
        hand.fails("publish x", &POISONED)?;
        hand.fails("publish_durable x", &POISONED)?;
    }
    ensure!(other.does("consume")? == "safe");
    ensure!(later.does("consume")? == "unsafe");
    for hand in [&mut one, &mut other, &mut later] {
        hand.does("close")?;
    }
    one.does(&format!("open {queue}"))?;
    one.fails("publish x", &POISONED)?;
    one.does("close")?;
    set_boot(directory, 2)?;
    one.does(&format!("open {queue}"))?;
    one.does("publish_durable again")?;
    // Neither ack was confirmed on the disk, so both may come again.
    let mut text = one.does("consume")?;
    while ["safe", "unsafe"].contains(&text.as_str()) {
        text = one.does("consume")?;
    }
    ensure!(text == "again", "{text}");
    Ok(())
}
