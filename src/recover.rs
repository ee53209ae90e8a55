//! The first to open a queue after a reboot puts it in order; others wait for that. What is done is `ring/recover.rs`.

use std::fs::File;
use std::time::Duration;

use crate::durable::FileDisk;
use crate::error::OpenErrorKind;
use crate::layout::header::Verified;
use crate::participant::Locks;
use crate::ring::{Disk, Recovered, Ring};

/// How long an opener waits for another one's recovery, in ms.
const PATIENCE_MS: u32 = 60_000;

/// Puts the queue in order, if this boot has not done so yet.
pub fn after_reboot(
    ring: &Ring,
    verified: &Verified,
    locks: &Locks,
    boot: [u8; 16],
) -> Result<Option<Recovered>, OpenErrorKind> {
    let Some(file) = locks.file().filter(|_| is_needed(ring, verified, boot)) else {
        return Ok(None);
    };
    let io = |operation| move |source| OpenErrorKind::from_io(operation, 0, source);
    for _ in 0..PATIENCE_MS {
        if !locks.try_recovery().map_err(io("locking for recovery"))? {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        // Somebody else may have done it meanwhile.
        let recovered = if is_needed(ring, verified, boot) {
            recover(ring, verified, locks, file, boot)
        } else {
            Ok(None)
        };
        locks.end_recovery();
        return recovered;
    }
    Err(OpenErrorKind::Recovering)
}

fn is_needed(ring: &Ring, verified: &Verified, boot: [u8; 16]) -> bool {
    const UNKNOWN: [u8; 16] = [0; 16];
    if boot == UNKNOWN {
        // There may have been a reboot: a durable queue loses nothing by being put in order once too often.
        return verified.durability.is_durable();
    }
    ring.recovered_in().unwrap_or(Some(verified.boot_id)) != Some(boot)
}

fn recover(
    ring: &Ring,
    verified: &Verified,
    locks: &Locks,
    file: &File,
    boot: [u8; 16],
) -> Result<Option<Recovered>, OpenErrorKind> {
    if ring
        .geometry()
        .participant_ids()
        .any(|id| locks.is_attached(id))
    {
        return if boot == [0; 16] {
            Ok(None)
        } else {
            Err(OpenErrorKind::OtherBoot)
        };
    }
    let mut recovered = if verified.durability.is_durable() {
        let damaged = |damage: crate::ring::Damage| OpenErrorKind::Format(damage.into());
        ring.recover(&verified.queue_id).map_err(damaged)?
    } else {
        ring.drop_messages()
    };
    // All of it is on the disk before the stamp says so: who loses power in between does it again.
    sync(file)?;
    recovered.epoch = ring.stamp_boot(&boot);
    sync(file)?;
    Ok(Some(recovered))
}

fn sync(file: &File) -> Result<(), OpenErrorKind> {
    FileDisk(file).sync().map_err(|number| {
        let number = i32::try_from(number).unwrap_or(libc::EIO);
        let source = std::io::Error::from_raw_os_error(number);
        OpenErrorKind::from_io("syncing the recovered queue", 0, source)
    })
}
