//! Who runs next: drawn from the seed of the execution, in one of three manners, and nothing else is.

use std::cell::Cell;
use std::time::{Duration, Instant};

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// The seed of the execution under way.
pub fn seed() -> u64 {
    SEED.get()
}

/// The caller has nothing to do before somebody else has done something.
pub fn wait() {
    WAITS.set(true);
    shuttle::thread::yield_now();
}

/// Numbers that depend on the seed only (SplitMix64).
#[derive(Clone, Debug)]
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// How the next one is chosen.
#[derive(Debug)]
enum Manner {
    /// Anybody, at every point.
    Anybody,
    /// The same again, but for one time in so many.
    Runs(u64),
    /// Whoever has the highest priority (PCT); at these points whoever runs gets the lowest. Long pauses, few switches.
    Priorities {
        of: Vec<u64>,
        lowest: u64,
        changes: Vec<u64>,
    },
}

/// Executions with the seeds `next`, `next + 1` and so on, until there were enough or the time is over.
#[derive(Debug)]
pub struct Seeded {
    next: u64,
    left: u64,
    until: Instant,
    draw: Draw,
    manner: Manner,
    steps: u64,
}

impl Seeded {
    pub fn new(first: u64, most: u64, time: Duration) -> Self {
        Self {
            next: first,
            left: most,
            until: Instant::now() + time,
            draw: Draw(0),
            manner: Manner::Anybody,
            steps: 0,
        }
    }

    fn choose(&mut self) -> Manner {
        match self.draw.below(4) {
            0 => Manner::Anybody,
            1 => Manner::Runs(2 << self.draw.below(6)),
            _ => {
                // Over about as many points as executions have.
                let changes = (0..self.draw.below(8)).map(|_| self.draw.below(4000));
                Manner::Priorities {
                    changes: changes.collect(),
                    of: (0..16).map(|_| self.draw.next() >> 1 | 1 << 62).collect(),
                    lowest: 1 << 61,
                }
            }
        }
    }
}

impl Scheduler for Seeded {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.left == 0 || Instant::now() > self.until {
            return None;
        }
        self.left -= 1;
        SEED.set(self.next);
        self.draw = Draw(self.next);
        self.manner = self.choose();
        self.steps = 0;
        self.next = self.next.wrapping_add(1);
        Some(Schedule::new(SEED.get()))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        _is_yielding: bool,
    ) -> Option<TaskId> {
        self.steps += 1;
        let waits = WAITS.take();
        let ids: Vec<TaskId> = runnable.iter().map(|task| task.id()).collect();
        let others: Vec<TaskId> = ids
            .iter()
            .copied()
            .filter(|id| Some(*id) != current)
            .collect();
        let may = if waits && !others.is_empty() {
            others
        } else {
            ids
        };
        let again = current.filter(|id| may.contains(id));
        match &mut self.manner {
            Manner::Runs(chances) if again.is_some() && !self.draw.one_in(*chances) => again,
            Manner::Anybody | Manner::Runs(_) => {
                let at = self.draw.below(may.len() as u64) as usize;
                may.get(at).copied()
            }
            Manner::Priorities {
                of,
                lowest,
                changes,
            } => {
                if let Some(current) = current
                    && (waits || changes.contains(&self.steps))
                {
                    *lowest -= 1;
                    of[usize::from(current)] = *lowest;
                }
                may.into_iter().max_by_key(|id| of[usize::from(*id)])
            }
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.draw.next()
    }
}
