//! The disk is full.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Stage;
use crate::hand::{Hand, word};
use crate::mounts::{Kind, run};

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
    let stage = Stage::new(directory, kind, "")?;
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

/// Where each write takes new room, one that finds none fails its sync, or kills who writes; then it is as after a failed
/// sync, and what was durable before is there.
pub fn a_copying_file_system_that_fills_loses_nothing_durable(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    let mut stage = Stage::new(directory, kind, "")?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("create {queue} sync 1024"))?;
    fill(&stage.place())?;
    let mut durable = 0;
    let ended = loop {
        let reply = hand.ask(&format!("publish message-{durable}"))?;
        if !reply.starts_with("ok") || durable == 1000 {
            break reply;
        }
        durable += 1;
    };
    println!("   after {durable} messages: {ended}");
    drop(hand);
    run("rm", [word(&stage.place().join("filler"))?])?;
    stage.mount_again()?;
    crate::mounts::set_boot(directory, 2)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("open {queue}"))?;
    for number in 0..durable {
        let text = hand.does("consume")?;
        ensure!(text == format!("message-{number}"), "{text}");
    }
    hand.does("publish x").map(drop)
}
