//! The groups of a run: some that are there from the start, and passing ones that workers add and remove.
//!
//! What a kind of group promises beyond the others is a function here ([`Group::limit`], [`Group::lease`]); `check` asks
//! them, and [`Group::options`] makes the group so.

use std::time::Duration;

use slipring::GroupOptions;

/// A group, by a number that is never used for another: odd ones are exclusive, those below 16 permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(pub u64);

/// The permanent groups with their names.
pub const PERMANENT: [(Group, &str); 6] = [
    (Group(0), slipring::DEFAULT_GROUP),
    (Group(1), "log"),
    (Group(2), "second"),
    (LIMITED, "limited"),
    (PARKING, "parking"),
    (LEASED, "leased"),
];

/// Few deliveries; what is dead goes to a queue of its own.
pub const LIMITED: Group = Group(4);
/// Few deliveries; what is dead is parked.
pub const PARKING: Group = Group(6);
/// Claims last for a while only. Also with a limit, and the same queue for the dead.
pub const LEASED: Group = Group(8);

/// The queue of the dead, a file beside the other.
pub const DEAD_QUEUE: &str = "dead";

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

    /// How often it delivers a message at most.
    #[must_use]
    pub fn limit(self) -> Option<u8> {
        match self {
            LIMITED => Some(3),
            PARKING => Some(2),
            LEASED => Some(4),
            _ => None,
        }
    }

    /// Whether what is dead goes to the queue of the dead, if that has room.
    #[must_use]
    pub fn has_dead_queue(self) -> bool {
        matches!(self, LIMITED | LEASED)
    }

    /// How long a claim lasts.
    #[must_use]
    pub fn lease(self) -> Option<Duration> {
        (self == LEASED).then_some(Duration::from_millis(150))
    }

    /// How it is made.
    pub fn options(self) -> GroupOptions {
        let mut options = if self.is_exclusive() {
            GroupOptions::exclusive()
        } else {
            GroupOptions::shared()
        };
        if let Some(limit) = self.limit() {
            options = options.max_deliveries(limit);
        }
        if self.has_dead_queue() {
            options = options.dead_letters(DEAD_QUEUE);
        }
        if let Some(lease) = self.lease() {
            options = options.ack_timeout(lease);
        }
        options
    }
}
