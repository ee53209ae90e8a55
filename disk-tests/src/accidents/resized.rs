//! Another program changes the length of the file.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Stage;
use crate::hand::{Hand, word};
use crate::mounts::{Kind, run};

pub fn a_file_that_grows_is_the_same_queue(directory: &Path, kind: Kind) -> Result<()> {
    let stage = Stage::new(directory, kind, "")?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let (mut one, mut other) = (Hand::new()?, Hand::new()?);
    one.does(&format!("create {queue} sync 64"))?;
    one.does("publish a")?;
    run("truncate", ["-s", "+1M", queue])?;
    one.does("publish b")?;
    ensure!(one.does("consume")? == "a");
    // A size that nobody of ours has given it.
    other.fails(
        &format!("open {queue}"),
        &[
            queue,
            "grown file",
            "its header asks for",
            "cut it to that size",
        ],
    )?;
    run("truncate", ["-s", "-1M", queue])?;
    other.does(&format!("open {queue}"))?;
    ensure!(other.does("consume")? == "b");
    Ok(())
}

pub fn a_file_cut_short_kills_who_touches_what_is_lost(directory: &Path, kind: Kind) -> Result<()> {
    let stage = Stage::new(directory, kind, "")?;
    let queue = stage.queue();
    let queue = word(&queue)?;
    let (mut one, mut other) = (Hand::new()?, Hand::new()?);
    one.does(&format!("create {queue} sync 64"))?;
    other.does(&format!("open {queue}"))?;
    one.does("publish a")?;
    run("truncate", ["-s", "8192", queue])?;
    one.dies("publish b")?;
    let mut late = Hand::new()?;
    let truncated = [
        queue,
        "truncated file: 8192 bytes",
        "its header asks for",
        "recreate the queue",
    ];
    late.fails(&format!("open {queue}"), &truncated)?;
    late.fails(&format!("inspect {queue}"), &truncated)?;
    ensure!(late.does(&format!("verify {queue}"))? == "1");
    other.dies("consume")
}
