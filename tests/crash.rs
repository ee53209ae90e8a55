//! Goal: whoever dies, before whatever access to the file, in whatever operation, and whoever dies sweeping after it:
//! nothing published is lost, nothing acked comes again, nothing of the dead stays, everybody else goes on.
//! Method: each operation runs once for every access it makes, and its participant dies there; then, for each of those
//! deaths, a sweeper dies at each of its own accesses. Another one sweeps, and all is checked: the words of the file
//! against the invariants, deliveries against a ledger, and three laps of work of survivors and a newcomer. Deaths that
//! leave the same bytes and the same ledger behind have the same future: one of them is followed.

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

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use common::{MINUTE, watchdog};
use enumerate::operations::Operation;
use enumerate::{At, Place, Stage, die_at, dies, for_every_operation};
use slipring::{GroupOptions, Queue};

/// What happens between the death and the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// The survivors go on first; and laps start over, the victim is participant 0, and who sweeps has just come.
    OthersGoOn,
}

/// Accesses of a sweep after a death, on average at least.
const SWEEP_POINTS: u64 = 40;

const MEANWHILE: [Meanwhile; 2] = [Meanwhile::Nothing, Meanwhile::OthersGoOn];

/// One operation, one way, in one file.
struct Trials {
    operation: &'static Operation,
    meanwhile: Meanwhile,
    place: Rc<Place>,
}

/// Where a trial is, said if it fails.
struct Here(&'static Operation, Meanwhile, u64, Option<u64>);

impl Drop for Here {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(operation, meanwhile, point, sweep) = self;
            eprintln!(
                "OPERATION={:?}, {meanwhile:?}, death {point}, in the sweep {sweep:?}",
                operation.name
            );
        }
    }
}

impl Trials {
    fn new(operation: &'static Operation, meanwhile: Meanwhile) -> Self {
        let place = Place::new(operation.kind, meanwhile == Meanwhile::OthersGoOn);
        Self {
            operation,
            meanwhile,
            place: Rc::new(place),
        }
    }

    /// The victim dies there; false if the operation does not get so far.
    fn death(&self, stage: &Rc<Stage>) -> bool {
        dies(|| (self.operation.run)(stage))
    }

    fn stage(&self, point: u64) -> Rc<Stage> {
        let victim_first = self.meanwhile == Meanwhile::OthersGoOn;
        Stage::new(&self.place, self.operation, At::Dies(point), victim_first)
    }

    fn meanwhile(&self, stage: &Stage) {
        if self.meanwhile == Meanwhile::OthersGoOn {
            stage.go_on();
        }
    }

    /// Dies at every point of the operation. How many there were.
    fn deaths(&self) -> u64 {
        for point in 0.. {
            let _here = Here(self.operation, self.meanwhile, point, None);
            let stage = self.stage(point);
            let died = self.death(&stage);
            self.meanwhile(&stage);
            stage.check(true);
            if !died {
                return point;
            }
        }
        unreachable!()
    }

    /// Dies at every point, and then at every point of the sweep. How many pairs, and how many of them differed.
    fn pairs(&self) -> (u64, usize) {
        let mut known = BTreeMap::new();
        let (mut pairs, mut differing) = (0, 0);
        for point in 0.. {
            let stage = self.stage(point);
            if !self.death(&stage) {
                break;
            }
            let essence = stage.essence();
            drop(stage);
            pairs += *known.entry(essence).or_insert_with(|| {
                let (in_sweep, different) = self.deaths_in_sweep(point);
                differing += different;
                in_sweep
            });
        }
        (pairs, differing)
    }

    /// After a death at this point, dies at every point of the sweep.
    fn deaths_in_sweep(&self, point: u64) -> (u64, usize) {
        let mut known = BTreeSet::new();
        for in_sweep in 0.. {
            let _here = Here(self.operation, self.meanwhile, point, Some(in_sweep));
            let stage = self.stage(point);
            // Attached before the death, since attaching sweeps.
            let before = (self.meanwhile == Meanwhile::Nothing).then(|| self.place.open("sweeper"));
            self.death(&stage);
            self.meanwhile(&stage);
            let died = dies(|| {
                let before = before;
                die_at(in_sweep);
                match before {
                    Some(sweeper) => drop(sweeper.sweep()),
                    None => drop(self.place.open("sweeper")),
                }
            });
            // Before this the survivors have done the same, whatever is in the file now.
            if known.insert(stage.essence()) {
                self.meanwhile(&stage);
                stage.check(true);
            }
            if !died {
                return (in_sweep, known.len());
            }
        }
        unreachable!()
    }
}

#[test]
fn nothing_is_lost_wherever_a_participant_dies() {
    let _watchdog = watchdog("deaths", 5 * MINUTE);
    for_every_operation("deaths", |operation| {
        let points = MEANWHILE.map(|meanwhile| Trials::new(operation, meanwhile).deaths());
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

#[test]
fn nothing_is_lost_wherever_a_sweeper_dies_after_that() {
    let _watchdog = watchdog("deaths and deaths in the sweep", 5 * MINUTE);
    for_every_operation("pairs of a death and a death in the sweep", |operation| {
        let pairs = MEANWHILE.map(|meanwhile| Trials::new(operation, meanwhile).pairs());
        let [(first, differing), (second, also)] = pairs;
        let least = operation.points * SWEEP_POINTS;
        assert!(
            first.min(second) >= least,
            "{}: {first} and {second} pairs, there were at least {least}",
            operation.name
        );
        let pairs = first + second;
        (
            pairs,
            format!("{pairs} pairs, {} different", differing + also),
        )
    });
}

/// Of a maker that dies while it leaves, after its entry is free, nothing tells that its group has nobody: whoever gets
/// its number next would be taken for it. So its groups are disowned before.
#[test]
fn a_newcomer_is_not_taken_for_the_maker_whose_number_it_has() {
    let dir = common::directory(common::Backing::Tmpfs);
    for point in 0.. {
        let path = dir.path().join(format!("queue-{point}"));
        let options = Queue::options().capacity(4).default_group(false);
        let queue = options.create(&path).unwrap();
        let died = dies(|| {
            let maker = Queue::open(&path).unwrap();
            let options = GroupOptions::shared().ephemeral(true);
            maker.create_group("ephemeral", options).unwrap();
            die_at(point);
            drop(maker);
        });
        let _newcomer = Queue::open(&path).unwrap();
        queue.sweep();
        assert_eq!(queue.groups().len(), 0, "point {point}");
        if !died {
            return;
        }
    }
}

/// Creating a queue makes no file before it is whole.
#[test]
fn a_creator_that_dies_leaves_no_file() {
    let dir = common::directory(common::Backing::Tmpfs);
    let path = dir.path().join("queue");
    let mut points = 0;
    while dies(|| {
        die_at(points);
        drop(Queue::options().capacity(4).create(&path).unwrap());
    }) {
        points += 1;
        // Attaching to it, which comes last, is an operation of its own.
        if path.exists() {
            assert_eq!(Queue::open(&path).unwrap().groups().len(), 1);
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
    assert!(points > 50, "{points}");
}
