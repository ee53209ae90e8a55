//! The groups of a run: three that are there from the start, and passing ones that workers add and remove.
//!
//! A kind of group with promises of its own (a limit of deliveries with a queue for dead letters, a lease) gets a row in
//! [`PERMANENT`] and in [`Group::options`], and its exceptions in `check`: a lease in `check::claims`, a message that
//! ends elsewhere in `check::publish`.

use slipring::GroupOptions;

/// A group, by a number that is never used for another: odd ones are exclusive, those below 16 permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(pub u64);

/// The permanent groups with their names.
pub const PERMANENT: [(Group, &str); 3] = [
    (Group(0), slipring::DEFAULT_GROUP),
    (Group(1), "log"),
    (Group(2), "second"),
];

const FIRST_PASSING: u64 = 16;

impl Group {
    /// The passing group number `number` of a worker.
    #[must_use]
    pub fn passing(worker: u64, number: u64, exclusive: bool) -> Self {
        Self(((worker << 20 | number) << 1 | u64::from(exclusive)) + FIRST_PASSING)
    }

    /// One consumer at a time.
    #[must_use]
    pub fn is_exclusive(self) -> bool {
        self.0 & 1 == 1
    }

    /// There for the whole run.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        self.0 < FIRST_PASSING
    }

    /// Its name in the queue.
    #[must_use]
    pub fn name(self) -> String {
        let permanent = PERMANENT.iter().find(|(group, _)| *group == self);
        permanent.map_or_else(|| format!("passing-{}", self.0), |(_, name)| (*name).into())
    }

    /// The group of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let permanent = PERMANENT.iter().find(|(_, known)| *known == name);
        let passing = || name.strip_prefix("passing-")?.parse().ok().map(Self);
        permanent.map(|(group, _)| *group).or_else(passing)
    }

    /// How it is made.
    pub fn options(self) -> GroupOptions {
        if self.is_exclusive() {
            GroupOptions::exclusive()
        } else {
            GroupOptions::shared()
        }
    }
}
