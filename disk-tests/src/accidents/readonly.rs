//! The file system cannot be written to, or no longer.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Stage;
use crate::disk::Faults;
use crate::hand::{Hand, word};
use crate::mounts::{Kind, run, set_boot};

pub fn a_read_only_file_system_has_no_participants_but_can_be_inspected(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    let mut stage = Stage::new(directory, kind, "")?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("create {queue} sync 64"))?;
    hand.does("publish x")?;
    drop(hand);
    stage.options = "ro";
    stage.mount_again()?;
    let mut hand = Hand::new()?;
    hand.fails(&format!("open {queue}"), &[queue, "read-only file system"])?;
    hand.fails(
        &format!("create {queue}-new sync 64"),
        &["read-only file system"],
    )?;
    ensure!(hand.does(&format!("inspect {queue}"))? == "1");
    ensure!(hand.does(&format!("verify {queue}"))? == "0");
    Ok(())
}

/// As a kernel does when the journal cannot be written.
pub fn a_file_system_that_becomes_read_only_stops_publishers(
    directory: &Path,
    kind: Kind,
) -> Result<()> {
    let mut stage = Stage::new(directory, kind, "errors=remount-ro")?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let (mut one, mut other) = (Hand::new()?, Hand::new()?);
    one.does(&format!("create {queue} sync 64"))?;
    other.does(&format!("open {queue}"))?;
    for text in ["a", "b", "c"] {
        one.does(&format!("publish {text}"))?;
    }
    let everywhere = 0..u64::MAX;
    stage.disk.fail(Faults {
        writes: vec![everywhere],
        ..Faults::default()
    });
    let place = stage.place();
    let _fails = run("touch", [word(&place.join("new"))?]);
    let _fails = run("sync", ["-f", word(&place)?]);
    stage.disk.fail(Faults::default());
    let refused = run("touch", [word(&place.join("newer"))?]);
    let refused = refused.map_or_else(|error| format!("{error:#}"), |_| "done".to_owned());
    ensure!(refused.contains("Read-only file system"), "{refused}");

    // Acked before the publisher's sync failed, or after: consumers do not care.
    ensure!(other.does("consume")? == "a");
    one.fails(
        "publish d",
        &[
            "may not be on the disk",
            SYNC_FAILED,
            "create the queue anew",
        ],
    )?;
    one.fails("publish e", &[SYNC_FAILED, "create the queue anew"])?;
    ensure!(other.does("consume")? == "b");
    let mut late = Hand::new()?;
    late.fails(&format!("open {queue}"), &[queue, "read-only file system"])?;
    ensure!(late.does(&format!("inspect {queue}"))? == "4");
    drop((one, other, late));

    stage.mount_again()?;
    set_boot(directory, 2)?;
    let mut hand = Hand::new()?;
    hand.does(&format!("open {queue}"))?;
    let mut found = Vec::new();
    loop {
        match hand.does("consume")?.as_str() {
            "nothing" => break,
            text => found.push(text.to_owned()),
        }
    }
    ensure!(found.ends_with(&["c".to_owned()]), "{found:?}");
    hand.does("publish x").map(drop)
}

const SYNC_FAILED: &str = "syncing the file failed (Read-only file system";
