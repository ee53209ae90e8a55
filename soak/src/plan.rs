//! What happens to whom and when, drawn from a seed before anything runs.

use std::fmt;
use std::str::FromStr;

use crate::group::{Group, LEASED, LIMITED, PARKING};
use crate::random::{Random, mix};

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publishes in every way there is.
    Producer,
    /// Consumes in a group in every way there is.
    Consumer(Group),
    /// Comes, does a little of everything, and goes.
    Joiner,
    /// Makes passing groups, joins and deletes them.
    Groups,
    /// Reads the queue of the dead, and decides on what is parked.
    Clerk,
    /// Sweeps, and looks from outside.
    Watcher,
    /// Forks children that find out what they are.
    Forker,
    /// Executes itself anew with all handles open.
    Execer,
    /// At the end: consumes what is left.
    Drain,
    /// After that: finds out whether everything can be used again.
    Audit,
}

/// The crew, one worker at a time in each place.
pub const CREW: [Role; 23] = [
    Role::Producer,
    Role::Producer,
    Role::Producer,
    Role::Consumer(Group(0)),
    Role::Consumer(Group(0)),
    Role::Consumer(Group(1)),
    Role::Consumer(Group(1)),
    Role::Consumer(Group(2)),
    Role::Consumer(Group(2)),
    Role::Consumer(LIMITED),
    Role::Consumer(LIMITED),
    Role::Consumer(PARKING),
    Role::Consumer(PARKING),
    Role::Consumer(LEASED),
    Role::Consumer(LEASED),
    Role::Clerk,
    Role::Clerk,
    Role::Joiner,
    Role::Groups,
    Role::Groups,
    Role::Watcher,
    Role::Forker,
    Role::Execer,
];

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consumer(group) => write!(f, "consumer-{}", group.0),
            Self::Producer => f.write_str("producer"),
            Self::Joiner => f.write_str("joiner"),
            Self::Groups => f.write_str("groups"),
            Self::Clerk => f.write_str("clerk"),
            Self::Watcher => f.write_str("watcher"),
            Self::Forker => f.write_str("forker"),
            Self::Execer => f.write_str("execer"),
            Self::Drain => f.write_str("drain"),
            Self::Audit => f.write_str("audit"),
        }
    }
}

impl FromStr for Role {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = CREW.into_iter().chain([Self::Drain, Self::Audit]);
        let mut known = known.filter(|role| role.to_string() == name);
        known
            .next()
            .ok_or_else(|| anyhow::anyhow!("no role {name:?}"))
    }
}

/// Something done to the crew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL, and another in its place after so long.
    Kill {
        /// Milliseconds.
        restart: u64,
    },
    /// SIGSTOP, and SIGCONT after so long.
    Pause {
        /// Milliseconds.
        resume: u64,
    },
    /// SIGKILL for everybody at once.
    KillAll,
}

/// An act, whom it is done to, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds since the epoch began.
    pub at: u64,
    /// The place in the crew.
    pub place: usize,
    /// What.
    pub act: Act,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Producers are sole ones, one after the other, and nobody else publishes.
    pub sole: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// The queue of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Messages.
    pub capacity: u64,
    /// Where sequences begin: for some runs just before a lap counter wraps.
    pub first_sequence: u64,
}

/// Bits of the lap in a claim word, and in a slot word: see the library's layout.
const LAP_BITS: [u32; 2] = [40, 48];

impl Shape {
    /// The queue for this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(mix(seed));
        let capacity = *random.pick(&[64, 256, 1024]).unwrap_or(&64);
        let wrapping = random.one_in(3);
        let bits = *random.pick(&LAP_BITS).unwrap_or(&40);
        let laps = if wrapping { (1 << bits) - 20 } else { 0 };
        Self {
            capacity,
            first_sequence: laps * capacity,
        }
    }
}

impl Epoch {
    /// Epoch `number` of the run with this seed, so many milliseconds long.
    #[must_use]
    pub fn new(seed: u64, number: u64, length: u64) -> Self {
        let mut random = Random::new(mix(seed) ^ mix(number));
        let sole = random.one_in(4);
        let mut steps = Vec::new();
        let mut at = random.between(100, 300);
        while at < length {
            let act = match random.below(40) {
                0 => Act::KillAll,
                1..8 => Act::Pause {
                    resume: pause(&mut random),
                },
                _ => Act::Kill {
                    restart: random.between(0, 60),
                },
            };
            let place = usize::try_from(random.below(CREW.len() as u64)).unwrap_or(0);
            steps.push(Step { at, place, act });
            at += random.between(5, 120);
        }
        Self { sole, steps }
    }
}

/// Mostly short; now and then longer than the library's own bounds.
fn pause(random: &mut Random) -> u64 {
    if random.one_in(12) {
        random.between(500, 2500)
    } else {
        random.between(1, 200)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_another_seed_another() {
        for seed in 0..50 {
            assert_eq!(Shape::new(seed), Shape::new(seed));
            let epoch = Epoch::new(seed, 3, 10_000);
            assert_eq!(epoch, Epoch::new(seed, 3, 10_000));
            assert_ne!(epoch.steps, Epoch::new(seed + 1, 3, 10_000).steps);
            assert_ne!(epoch.steps, Epoch::new(seed, 4, 10_000).steps);
            assert!(epoch.steps.len() > 80, "{}", epoch.steps.len());
        }
    }

    #[test]
    fn every_role_has_a_name_of_its_own() {
        for role in CREW.into_iter().chain([Role::Drain, Role::Audit]) {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
        }
        assert!("captain".parse::<Role>().is_err());
    }
}
