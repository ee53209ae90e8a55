//! What single operations cost as a queue grows: groups, participants, capacity, and a file far larger than what is used
//! of it.

use super::clock::cost_ns;
use super::crew::Crew;
use super::job::{Job, Role};
use super::limits::{Limit, PATIENCE};
use super::machine;
use super::measure::{Sample, make};
use super::roles::QUEUE;
use super::site::Site;
use super::spec::{Place, Spec};

/// One size of queue.
#[derive(Clone, Debug)]
pub struct Scale {
    pub spec: Spec,
    /// Attached, those at work among them.
    pub participants: u64,
}

/// Attachments that one process holds.
const HELD_BY_ONE: u64 = 100;
/// Left free on a file system by a queue that is made for a measurement.
const HEADROOM: u64 = 1 << 30;

impl Scale {
    fn options(&self) -> slipring::Options {
        let participants = u32::try_from(self.participants + 8).unwrap_or(u32::MAX);
        self.spec.options().max_participants(participants)
    }

    /// About what the file takes. Creation allocates all of it, on tmpfs in memory.
    fn bytes(&self) -> u64 {
        let slot_size = self.spec.slot_size.unwrap_or(128);
        let per_slot = slot_size + 16 + 16 * self.spec.groups;
        self.spec.capacity * per_slot
    }

    /// Why it cannot be measured here, if it cannot.
    pub fn obstacle(&self, site: &Site) -> anyhow::Result<Option<String>> {
        let directory = match self.spec.place {
            Place::Memory => &site.memory,
            Place::Disk => &site.disk,
        };
        let (free, in_memory) = machine::space(directory)?;
        let gibibytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
        let wanted = self.bytes();
        if in_memory && self.spec.place == Place::Disk {
            let place = directory.display();
            return Ok(Some(format!(
                "{place} is in memory; name a directory with --disk"
            )));
        }
        let memory = machine::memory_available() / 2;
        let room = if in_memory { free.min(memory) } else { free };
        let short = wanted + HEADROOM.min(wanted) > room;
        let say = || format!("takes {}, {} are free", gibibytes(wanted), gibibytes(room));
        Ok(short.then(say))
    }

    /// Measures it.
    pub fn measure(&self, site: &Site) -> anyhow::Result<Sample> {
        let directory = site.directory(self.spec.place)?;
        let queue = make(directory.path(), QUEUE, &self.spec, self.options())?;
        let mut job = Job {
            dir: directory.path().to_owned(),
            cpu: None,
            role: Role::Holder { attachments: 0 },
            load: self.spec.load()?,
        };
        let mut crew = Crew::default();
        // This process has an attachment, and so has the one that works.
        let mut idle = self.participants.saturating_sub(2);
        let mut holders = Vec::new();
        while idle > 0 {
            let attachments = idle.min(HELD_BY_ONE);
            job.role = Role::Holder { attachments };
            holders.push(crew.start_worker("a holder", &job)?);
            idle -= attachments;
        }
        for holder in &holders {
            crew.await_ready(*holder, PATIENCE)?;
        }
        job.cpu = site.cpu(0);
        job.role = Role::Single {
            groups: usize::try_from(self.spec.groups)?,
        };
        let worker = crew.start_worker("a worker", &job)?;
        crew.await_ready(worker, PATIENCE)?;
        crew.go(worker)?;
        let outcome = crew.outcome(worker, PATIENCE)?;
        drop(queue);
        let mut figures = outcome.figures.iter().copied();
        let operation_ns = figures.next().zip(figures.next());
        let clock = cost_ns();
        let limit = Limit {
            name: "clock read",
            value: clock,
            unit: "ns",
        };
        Ok(Sample {
            messages: outcome.messages,
            operation_ns,
            memory: (outcome.memory > 0).then_some(outcome.memory),
            ratio: operation_ns.map(|(publish, receive)| (publish + receive) / clock),
            limit: Some(limit),
            ..Sample::default()
        })
    }
}
