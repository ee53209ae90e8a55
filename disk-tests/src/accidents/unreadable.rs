//! The disk no longer gives back what it has.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Stage;
use crate::disk::Faults;
use crate::hand::{Hand, word};
use crate::mounts::Kind;

pub fn what_cannot_be_read_kills_who_reads_it_and_nobody_else(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    const MESSAGES: u32 = 2000;
    /// Consumed before: what the next one reads lies behind all that opening reads.
    const BEFORE: u32 = 1500;
    let mut stage = Stage::new(directory, kind, "")?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("create {queue} sync 2048"))?;
    for number in 0..MESSAGES {
        hand.does(&format!("publish message-{number}"))?;
    }
    for _ in 0..BEFORE {
        hand.does("consume")?;
    }
    drop(hand);
    stage.mount_again()?;
    let (mut one, mut other) = (Hand::new()?, Hand::new()?);
    one.does(&format!("open {queue}"))?;
    other.does(&format!("open {queue}"))?;
    let reads = stage.extents(u64::from(BEFORE) * 1024)?;
    stage.disk.fail(Faults {
        reads,
        ..Faults::default()
    });
    one.dies("consume")?;
    // The other lives, and goes on when the disk is well; what the dead one had comes to it.
    stage.disk.fail(Faults::default());
    for number in BEFORE..MESSAGES {
        let text = other.does("consume")?;
        ensure!(text == format!("message-{number}"), "{text}");
    }
    other.does("publish x")?;
    ensure!(other.does(&format!("verify {queue}"))? == "0");
    Ok(())
}
