//! Goal: whoever is paused, before whatever access to the file, in whatever operation, while others go on for laps, sweep,
//! come and go: when it resumes, what it held is its own, its operation succeeds, and nothing is corrupted, lost or
//! doubled.
//! Method: each operation runs once for every access it makes; there the others, on the same thread but with open files of
//! their own, do all they can. Then it goes on, and all is checked as after a death (`crash.rs`), where nobody died.

#![cfg(feature = "crash-points")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;
mod enumerate;

use std::rc::Rc;

use common::{MINUTE, watchdog};
use enumerate::operations::Operation;
use enumerate::{At, Place, Stage, for_every_operation};
use slipring::mem::fault;

/// Where a trial is, said if it fails.
struct Here(&'static Operation, bool, u64);

impl Drop for Here {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It has the stage.
            fault::remove();
            let Self(operation, wrapping, point) = self;
            eprintln!(
                "OPERATION={:?}, laps start over: {wrapping}, paused {point}",
                operation.name
            );
        }
    }
}

/// Pauses at every point of the operation. How many there were.
fn pauses(operation: &'static Operation, wrapping: bool) -> u64 {
    let place = Rc::new(Place::new(operation.kind, wrapping));
    for point in 0.. {
        let _here = Here(operation, wrapping, point);
        let stage = Stage::new(&place, operation, At::IsPaused(point), wrapping);
        (operation.run)(&stage);
        let paused = stage.was_paused();
        stage.check(false);
        if !paused {
            return point;
        }
    }
    unreachable!()
}

#[test]
fn nothing_is_taken_from_a_participant_wherever_it_is_paused() {
    let _watchdog = watchdog("pauses", 5 * MINUTE);
    for_every_operation("pauses", |operation| {
        let points = [false, true].map(|wrapping| pauses(operation, wrapping));
        let least = points[0].min(points[1]);
        assert!(
            least >= operation.points,
            "{}: {least} points, there were {}",
            operation.name,
            operation.points
        );
        let line = format!("{} and {} points", points[0], points[1]);
        (points[0] + points[1], line)
    });
}
