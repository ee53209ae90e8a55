//! The disk is full.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Stage;
use crate::hand::{DIED, Hand, word};
use crate::mounts::{Kind, run, set_boot};

/// Writes a file until nothing more can be written.
fn fill(place: &Path) -> Result<()> {
    let target = format!("of={}", word(&place.join("filler"))?);
    for size in ["bs=1M", "bs=4k", "bs=512"] {
        let append = "oflag=append";
        let full = run(
            "dd",
            ["if=/dev/zero", &target, size, append, "conv=notrunc,fsync"],
        );
        ensure!(full.is_err(), "the disk takes everything");
    }
    Ok(())
}

fn listing(place: &Path) -> Result<String> {
    run("ls", ["-A", word(place)?])
}

pub fn a_full_disk_refuses_a_new_queue_and_leaves_nothing(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    let stage = Stage::new(directory, kind, "")?;
    fill(&stage.place())?;
    let before = listing(&stage.place())?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    for mode in ["none", "sync", "interval"] {
        let order = format!("create {queue} {mode} 4096");
        Hand::new()?.fails(&order, &[queue, "no room for", "bytes: free some"])?;
    }
    let after = listing(&stage.place())?;
    ensure!(before == after, "{before} became {after}");
    // And it can be made when there is room.
    run("rm", [word(&stage.place().join("filler"))?])?;
    run("sync", ["-f", word(&stage.place())?])?;
    let mut hand = Hand::new()?;
    hand.does(&format!("create {queue} sync 64"))?;
    hand.does("publish x").map(drop)
}

/// All its blocks are there since it was made.
pub fn a_queue_on_a_disk_that_fills_goes_on(directory: &Path, kind: Kind) -> Result<()> {
    goes_on_when_full(&Stage::new(directory, kind, "")?)
}

fn goes_on_when_full(stage: &Stage) -> Result<()> {
    let queue = stage.queue();
    let queue = word(&queue)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("create {queue} sync 64"))?;
    fill(&stage.place())?;
    let mut other = Hand::new()?;
    other.does(&format!("open {queue}"))?;
    other.does("group late")?;
    for turn in 0..200 {
        let order = if turn % 3 == 0 {
            "publish_long"
        } else {
            "publish"
        };
        hand.does(&format!("{order} message-{turn}"))?;
        let text = other.does("consume")?;
        ensure!(text.starts_with(&format!("message-{turn}")), "{text}");
        if turn == 50 {
            other.does("ungroup late")?;
        }
    }
    ensure!(hand.does(&format!("verify {queue}"))? == "0");
    Ok(())
}

/// Where each write takes new room, whoever finds none is killed: what was durable before is there after a reboot.
pub fn a_copying_file_system_that_fills_loses_nothing_durable(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    let mut stage = Stage::new(directory, kind, "")?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("create {queue} sync 1024"))?;
    for number in 0..SAFE {
        hand.does(&format!("publish message-{number}"))?;
    }
    fill(&stage.place())?;
    let mut last = String::new();
    for number in SAFE..1000 {
        last = hand.ask(&format!("publish message-{number}"))?;
        if !last.starts_with("ok") {
            break;
        }
    }
    let failed = last == DIED || last.contains("syncing the file failed");
    ensure!(failed, "on a full disk: {last}");
    drop(hand);
    run("rm", [word(&stage.place().join("filler"))?])?;
    stage.mount_again()?;
    set_boot(directory, 2)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("open {queue}"))?;
    for number in 0..SAFE {
        let text = hand.does("consume")?;
        ensure!(text == format!("message-{number}"), "{text}");
    }
    hand.does("publish x").map(drop)
}

/// Messages before the disk is full.
const SAFE: u32 = 10;

/// Files made in a directory with this attribute are written in place.
pub fn a_copying_file_system_told_not_to_copy_goes_on_when_full(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    let stage = Stage::new(directory, kind, "")?;
    run("chattr", ["+C", word(&stage.place())?])?;
    goes_on_when_full(&stage)
}
