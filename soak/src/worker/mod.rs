//! A worker: a process that uses the queue as users do, and keeps a journal of it.

mod consume;
mod dead;
mod groups;
mod process;
mod produce;
mod watch;

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use slipring::{AttachError, Producer, Queue, WaitStrategy};

use crate::group::{Group, PERMANENT};
use crate::plan::Role;
use crate::random::{Random, mix};
use crate::record::{Event, Journal};
use consume::Came;
pub use groups::GROUPS;
pub use produce::{LONGEST, SEGMENTS};

/// The first argument of a worker's command line.
pub const COMMAND: &str = "worker";

/// What a worker is told.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Its number; the low bits count the programs that took its place.
    pub id: u64,
    /// What it does.
    pub role: Role,
    /// Of its own choices.
    pub seed: u64,
    /// Producers are sole ones.
    pub sole: bool,
    /// The queue.
    pub path: PathBuf,
}

impl Orders {
    /// As arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        vec![
            COMMAND.to_owned(),
            self.id.to_string(),
            self.role.to_string(),
            self.seed.to_string(),
            self.sole.to_string(),
            self.path.to_string_lossy().into_owned(),
        ]
    }

    fn parse(arguments: &[String]) -> Result<Self> {
        let [id, role, seed, sole, path] = arguments else {
            bail!("a worker is started by its supervisor only");
        };
        Ok(Self {
            id: id.parse()?,
            role: role.parse()?,
            seed: seed.parse()?,
            sole: sole.parse()?,
            path: path.into(),
        })
    }
}

struct Worker {
    orders: Orders,
    random: Random,
    journal: Journal,
    /// Of the next message, guard and group.
    number: u64,
    guard: u64,
    group: u64,
    buffer: Vec<u8>,
}

/// Runs a worker until its standard input is closed.
///
/// # Errors
/// If it cannot even say what is wrong.
pub fn main(arguments: &[String]) -> Result<()> {
    // Also a paused worker ends with its supervisor.
    set_pdeathsig(Signal::SIGKILL)?;
    let orders = Orders::parse(arguments)?;
    let mut worker = Worker {
        random: Random::new(mix(orders.seed) ^ orders.id),
        orders,
        journal: Journal::default(),
        number: 0,
        guard: 0,
        group: 0,
        buffer: Vec::new(),
    };
    let id = worker.orders.id;
    worker.say(Event::Began { worker: id })?;
    worker.doom();
    if let Err(error) = worker.work() {
        worker.say(Event::Fault(format!("{error:#}").into()))?;
    }
    Ok(())
}

impl Worker {
    fn work(&mut self) -> Result<()> {
        match self.orders.role {
            Role::Producer => self.produce(),
            Role::Consumer(group) => self.consume(group),
            Role::Joiner => self.come_and_go(),
            Role::Groups => self.tend_groups(),
            Role::Clerk => self.mind_the_dead(),
            Role::Watcher => self.watch(),
            Role::Forker => self.fork_on(),
            Role::Execer => self.execute(),
            Role::Drain => self.drain(),
            Role::Audit => self.audit(),
        }
    }

    fn say(&mut self, event: Event) -> io::Result<()> {
        self.journal.say(event)
    }

    fn open(&self) -> Result<Queue> {
        self.open_at(&self.orders.path)
    }

    fn open_at(&self, path: &Path) -> Result<Queue> {
        let options = Queue::options().name(format!("{}-{}", self.orders.role, self.orders.id));
        options.open(path).context("attaching")
    }

    /// True once the supervisor has closed our standard input.
    fn is_over(&self) -> Result<bool> {
        let input = io::stdin();
        let mut polled = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut polled, PollTimeout::ZERO)? > 0)
    }

    /// Rests: the machine belongs to others too, and a kill should find workers in every state.
    fn rest(&mut self) {
        let most = if self.random.one_in(20) {
            20_000
        } else {
            3_000
        };
        std::thread::sleep(Duration::from_micros(self.random.below(most)));
    }

    fn strategy(&mut self) -> WaitStrategy {
        match self.random.below(8) {
            0 => WaitStrategy::BusySpin,
            1..4 => WaitStrategy::SpinThenPark,
            _ => WaitStrategy::Park,
        }
    }

    /// A producer; none while there are sole ones, which this is not.
    fn producer(&mut self, queue: &Queue) -> Result<Option<Producer>> {
        if self.orders.sole && self.orders.role != Role::Producer {
            return Ok(None);
        }
        let made = if self.orders.sole {
            queue.sole_producer()
        } else {
            queue.producer()
        };
        match made {
            Ok(producer) => Ok(Some(producer.wait_strategy(self.strategy()))),
            Err(AttachError::HasProducers { .. } | AttachError::SoleProducer { .. })
                if self.orders.sole =>
            {
                Ok(None)
            }
            Err(error) => Err(error).context("becoming a producer"),
        }
    }

    fn produce(&mut self) -> Result<()> {
        while !self.is_over()? {
            let queue = self.open()?;
            let Some(mut producer) = self.producer(&queue)? else {
                self.say(Event::Alive)?;
                std::thread::sleep(Duration::from_millis(self.random.between(1, 10)));
                continue;
            };
            for _ in 0..self.random.between(1, 200) {
                if self.is_over()? {
                    break;
                }
                for _ in 0..self.random.between(1, 16) {
                    self.publish(&mut producer)?;
                }
                self.rest();
            }
        }
        Ok(())
    }

    fn consume(&mut self, group: Group) -> Result<()> {
        let queue = self.open()?;
        while !self.is_over()? {
            let Some(mut member) = self.join(&queue, group)? else {
                bail!("{} is gone", group.name());
            };
            for _ in 0..self.random.between(1, 300) {
                if self.is_over()? {
                    break;
                }
                match self.receive(&mut member)? {
                    Came::Some => {}
                    // What was deferred comes to whoever is next.
                    Came::Nothing if member.deferred || self.random.one_in(20) => break,
                    Came::Nothing => {}
                    Came::Closed => bail!("{} was closed", group.name()),
                }
                if self.random.one_in(8) {
                    self.rest();
                }
            }
            self.leave(member)?;
        }
        Ok(())
    }

    /// Attaches, does some of everything, and detaches in any order; now and then the process ends.
    fn come_and_go(&mut self) -> Result<()> {
        while !self.is_over()? {
            let queue = self.open()?;
            let mut producer = if self.random.one_in(2) {
                self.producer(&queue)?
            } else {
                None
            };
            let mut members = Vec::new();
            for (group, _) in PERMANENT {
                if self.random.one_in(2) {
                    members.extend(self.join(&queue, group)?);
                }
            }
            if self.random.one_in(3) {
                drop(queue);
            }
            for _ in 0..self.random.between(0, 10) {
                if let Some(producer) = &mut producer {
                    self.publish_in_time(producer)?;
                }
                for member in &mut members {
                    self.receive(member)?;
                }
            }
            if self.random.one_in(2) {
                drop(producer);
            }
            for member in members {
                self.leave(member)?;
            }
            if self.random.one_in(4) {
                return Ok(());
            }
            self.say(Event::Alive)?;
            self.rest();
        }
        Ok(())
    }

    /// Half of the workers are going to die at an access to the mapping, some early, some late.
    #[cfg(feature = "crash-points")]
    fn doom(&mut self) {
        let calm = matches!(self.orders.role, Role::Drain | Role::Audit);
        if calm || self.random.one_in(2) {
            return;
        }
        let scale = 1 << self.random.between(4, 18);
        let point = self.random.between(scale / 2, scale);
        slipring::mem::fault::install(move |number| {
            if number == point {
                // It cannot fail, and if it did, this worker would merely live on.
                let _sent = nix::sys::signal::raise(Signal::SIGKILL);
            }
        });
    }

    #[cfg(not(feature = "crash-points"))]
    fn doom(&mut self) {}
}
