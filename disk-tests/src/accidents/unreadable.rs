//! The disk no longer gives back what it has.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Stage;
use crate::disk::Faults;
use crate::hand::{ARENA, DIED, Hand, word};
use crate::mounts::Kind;

pub fn what_cannot_be_read_kills_who_reads_it_and_nobody_else(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    /// Each in the arena, which nobody reads who opens the queue.
    const MESSAGES: usize = 250;
    let mut stage = Stage::new(directory, kind, "")?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("create {queue} sync 256"))?;
    for number in 0..MESSAGES {
        hand.does(&format!("publish_long message-{number}."))?;
    }
    drop(hand);
    stage.mount_again()?;
    let (mut one, mut other) = (Hand::new()?, Hand::new()?);
    one.does(&format!("open {queue}"))?;
    other.does(&format!("open {queue}"))?;
    stage.disk.fail(Faults {
        // From somewhere in the arena, its last part.
        reads: stage.extents(stage.length()? - ARENA * 3 / 4)?,
        ..Faults::default()
    });
    let mut taken = 0;
    let end = loop {
        let reply = one.ask("consume")?;
        if !reply.starts_with(&format!("ok message-{taken}.")) || taken == MESSAGES {
            break reply;
        }
        taken += 1;
    };
    ensure!(end == DIED, "after {taken} messages: {end}");
    // The other lives, and goes on when the disk is well; what the dead one had comes to it.
    stage.disk.fail(Faults::default());
    other.does("sweep")?;
    for number in taken..MESSAGES {
        let text = other.does("consume")?;
        ensure!(text.starts_with(&format!("message-{number}.")), "{text}");
    }
    other.does("publish x")?;
    ensure!(other.does(&format!("verify {queue}"))? == "0");
    Ok(())
}
