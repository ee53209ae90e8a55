//! The real thing: what an attachment owns, and how it does what an [`Act`] says.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use slipring::mem::fault;
use slipring::{
    AckError, ClaimError, Claims, Consumer, Delivery, GroupError, GroupOptions, Message, Options,
    Producer, PublishError, Queue, Timestamps,
};

use super::act::{Act, Deed, Got, Id, Kind, Publish, Receive, Seen, Settle, name};
use super::check::Parked;
use super::draw::Setup;
use super::model::{LOG, REASON};

const LEASE: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);
pub const LETTERS: &str = "letters";

pub struct Handles {
    path: PathBuf,
    queue: Option<Queue>,
    producers: Vec<Producer>,
    /// Boxed, since deliveries borrow them.
    consumers: BTreeMap<Id, *mut Consumer>,
    guards: BTreeMap<Id, (Id, Delivery<'static>)>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.guards.clear();
        for consumer in std::mem::take(&mut self.consumers).into_values() {
            drop(unsafe { Box::from_raw(consumer) });
        }
    }
}

pub fn payload(tag: u32, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u32 * 7 + tag * 13) as u8)
        .collect()
}

pub fn message(tag: u32, bytes: &[u8]) -> Message<'_> {
    Message::new(bytes).kind(bytes.len() as u16).key(tag)
}

fn said<T>(result: Result<T, impl std::fmt::Debug>, done: impl FnOnce(T) -> Seen) -> Seen {
    match result {
        Ok(value) => done(value),
        Err(error) => Seen::Error(format!("{error:?}")),
    }
}

/// What an attachment does, or who it is, apart from numbers that the machine does not know.
fn attach_error(error: &slipring::AttachError) -> &'static str {
    use slipring::AttachError::{GroupClosed, HasProducers, NoDefaultGroup, SoleProducer};
    match error {
        SoleProducer { .. } => "SoleProducer",
        HasProducers { .. } => "HasProducers",
        GroupClosed => "GroupClosed",
        NoDefaultGroup => "NoDefaultGroup",
        _ => "other",
    }
}

impl Handles {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            queue: None,
            producers: Vec::new(),
            consumers: BTreeMap::new(),
            guards: BTreeMap::new(),
        }
    }

    pub fn queue(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    pub fn guards(&self) -> Vec<Id> {
        self.guards.keys().copied().collect()
    }

    pub fn guards_of(&self, consumer: Id) -> Vec<Id> {
        let guards = self.guards.iter().filter(|(_, (of, _))| *of == consumer);
        guards.map(|(&guard, _)| guard).collect()
    }

    pub fn active(&self) -> Vec<(Id, bool)> {
        let consumers = self.consumers.iter();
        consumers
            .map(|(&id, &consumer)| (id, unsafe { &*consumer }.is_active()))
            .collect()
    }

    pub fn perform(&mut self, act: &Act) -> Seen {
        match act.deed {
            Deed::Attach => self.attach(act.who),
            Deed::Quit => {
                self.queue = None;
                Seen::Done
            }
            Deed::Produce { sole } => {
                let queue = self.queue();
                let made = if sole {
                    queue.sole_producer()
                } else {
                    queue.producer()
                };
                match made {
                    Err(error) => Seen::Error(attach_error(&error).to_owned()),
                    Ok(producer) => {
                        self.producers.push(producer);
                        Seen::Done
                    }
                }
            }
            Deed::Stop => {
                drop(self.producers.pop());
                Seen::Done
            }
            Deed::Publish { how, tag, length } => self.publish(how, tag, length),
            Deed::Batch { tag, count, length } => self.batch(tag, count, length),
            Deed::Receive {
                consumer,
                how,
                guard,
            } => self.receive(consumer, how, guard),
            Deed::Several { .. } => self.several(act),
            Deed::Settle { guard, how } => self.settle(guard, how),
            Deed::Decide {
                group,
                sequence,
                again,
            } => match self.queue().group(&name(group)) {
                Err(error) => Seen::Error(format!("{error:?}")),
                Ok(group) if again => said(group.retry(sequence), |()| Seen::Done),
                Ok(group) => said(group.discard(sequence), |()| Seen::Done),
            },
            Deed::Join { group, consumer } => self.join(&name(group), consumer),
            Deed::Leave { consumer } => {
                let consumer = self.consumers.remove(&consumer).unwrap();
                drop(unsafe { Box::from_raw(consumer) });
                Seen::Done
            }
            Deed::Create {
                group,
                kind,
                start,
                open,
            } => {
                let options = group_options(kind).start(start);
                let queue = self.queue();
                let made = if open {
                    queue.open_or_create_group(&name(group), options)
                } else {
                    queue.create_group(&name(group), options)
                };
                said(made, |made| {
                    assert_eq!(
                        (made.name(), made.is_exclusive()),
                        (&*name(group), kind.exclusive)
                    );
                    Seen::Done
                })
            }
            Deed::Delete { group } => {
                said(self.queue().delete_group(&name(group)), |()| Seen::Done)
            }
            Deed::Sweep => {
                self.queue().sweep();
                Seen::Done
            }
        }
    }

    fn attach(&mut self, who: u32) -> Seen {
        let options = Options::default().name(format!("a{who}")).populate(true);
        match options.open(&self.path) {
            Err(error) => Seen::Error(format!("{:?}", error.kind())),
            Ok(queue) => {
                self.queue = Some(queue);
                Seen::Done
            }
        }
    }

    fn join(&mut self, group: &str, id: Id) -> Seen {
        let queue = self.queue();
        let consumer = match queue.group(group) {
            Ok(group) => group.consumer(),
            Err(error) => return Seen::Error(format!("{error:?}")),
        };
        match consumer {
            Err(error) => Seen::Error(attach_error(&error).to_owned()),
            Ok(consumer) => {
                let strategy = slipring::WaitStrategy::Park;
                let consumer = Box::new(consumer.wait_strategy(strategy));
                self.consumers.insert(id, Box::into_raw(consumer));
                Seen::Done
            }
        }
    }

    fn publish(&mut self, how: Publish, tag: u32, length: usize) -> Seen {
        let bytes = payload(tag, length);
        let message = message(tag, &bytes);
        let producer = self.producers.last_mut().unwrap();
        let loan = match how {
            Publish::Try => {
                let sent = producer.try_publish(message);
                return said(sent.map_err(|rejected| rejected.reason), Seen::Sequence);
            }
            Publish::Wait => return said(producer.publish(message), Seen::Sequence),
            Publish::Timed => {
                return said(producer.publish_timeout(message, MOMENT), Seen::Sequence);
            }
            Publish::Loan | Publish::LeakLoan => true,
            Publish::Commit | Publish::TryCommit | Publish::DropReservation => false,
        };
        let reservation = if loan {
            producer.loan(length)
        } else {
            producer.reserve(length)
        };
        let mut reservation = match reservation {
            Err(error) => return Seen::Error(format!("{error:?}")),
            Ok(reservation) => reservation.kind(length as u16).key(tag),
        };
        reservation.copy_from_slice(&bytes);
        let sent = match how {
            Publish::DropReservation => return Seen::Done,
            Publish::LeakLoan => {
                std::mem::forget(reservation);
                return Seen::Done;
            }
            Publish::TryCommit => reservation.try_commit().map_err(|rejected| rejected.reason),
            _ => reservation.commit(),
        };
        said::<u64>(sent as Result<u64, PublishError>, Seen::Sequence)
    }

    fn batch(&mut self, tag: u32, count: usize, length: usize) -> Seen {
        let payloads: Vec<_> = (0..count as u32)
            .map(|n| (tag + n, payload(tag + n, length)))
            .collect();
        let messages = payloads.iter().map(|(tag, bytes)| message(*tag, bytes));
        let producer = self.producers.last_mut().unwrap();
        said(producer.publish_batch(messages), |batch| Seen::Batch {
            published: batch.published,
            first: batch.first,
            last: batch.last,
        })
    }

    fn consumer(&self, id: Id) -> &'static Consumer {
        unsafe { &*self.consumers[&id] }
    }

    fn keep(&mut self, consumer: Id, guard: Id, delivery: Delivery<'static>) -> Got {
        let got = got(&delivery);
        let timed = self.queue().timestamps() != Timestamps::Off;
        assert_eq!(delivery.timestamp() > 0, timed, "time of {delivery:?}");
        self.guards.insert(guard, (consumer, delivery));
        got
    }

    fn receive(&mut self, id: Id, how: Receive, guard: Id) -> Seen {
        let consumer = self.consumer(id);
        let received: Result<_, ClaimError> = match how {
            Receive::Try => consumer.try_recv(),
            Receive::Wait => consumer.recv(),
            Receive::Timed => consumer.recv_timeout(MOMENT),
            Receive::Iter => consumer.iter().next().unwrap(),
        };
        said(received, |delivery| {
            Seen::Got(vec![self.keep(id, guard, delivery)])
        })
    }

    fn several(&mut self, act: &Act) -> Seen {
        let Deed::Several {
            consumer: id,
            how,
            max,
            open,
            leak,
            guard,
        } = act.deed
        else {
            unreachable!()
        };
        let consumer = self.consumer(id);
        let claims = match how {
            Receive::Try => consumer.try_recv_batch(max),
            Receive::Timed => consumer.recv_batch_timeout(max, MOMENT),
            Receive::Wait | Receive::Iter => consumer.recv_batch(max),
        };
        said(claims, |mut claims: Claims<'static>| {
            let opened: Vec<_> = claims.by_ref().take(open).collect();
            if leak {
                std::mem::forget(claims);
            } else {
                drop(claims);
            }
            let opened = opened.into_iter().zip(guard..);
            Seen::Got(
                opened
                    .map(|(delivery, guard)| self.keep(id, guard, delivery.unwrap()))
                    .collect(),
            )
        })
    }

    fn settle(&mut self, guard: Id, how: Settle) -> Seen {
        if let Settle::Extend | Settle::Lapse = how {
            let (_, delivery) = &self.guards[&guard];
            let lapse = how == Settle::Lapse;
            let extended = delivery.extend(if lapse { Duration::ZERO } else { LEASE });
            if lapse && extended.is_ok() {
                pass_time();
            }
            return said(extended, |()| Seen::Done);
        }
        let (_, delivery) = self.guards.remove(&guard).unwrap();
        let settled: Result<(), AckError> = match how {
            Settle::Ack => delivery.ack(),
            Settle::Nack => delivery.nack(),
            Settle::Release => delivery.release(),
            Settle::Reject => delivery.reject(REASON),
            Settle::AckUpTo => delivery.ack_up_to(),
            Settle::Defer => delivery.defer(),
            Settle::Leak => {
                std::mem::forget(delivery);
                Ok(())
            }
            Settle::Panic => {
                let handler = AssertUnwindSafe(|| {
                    let _delivery = delivery;
                    resume_unwind(Box::new("the handler panics"))
                });
                let _panicked: Result<(), _> = catch_unwind(handler);
                Ok(())
            }
            Settle::Drop | Settle::Extend | Settle::Lapse => {
                drop(delivery);
                Ok(())
            }
        };
        said(settled, |()| Seen::Done)
    }

    /// What is parked in a group.
    pub fn parked(&self, group: &str) -> Result<Vec<Parked>, GroupError> {
        let letters = self.queue().group(group)?.dead_letters();
        let parked = letters.into_iter();
        Ok(parked
            .map(|dead| (dead.sequence, dead.deliveries, dead.reason))
            .collect())
    }
}

/// What came; of torn bytes, a message that nobody sent.
pub fn got(delivery: &Delivery<'_>) -> Got {
    let (tag, length) = (delivery.key(), delivery.payload().len());
    let whole = usize::from(delivery.kind()) == length && **delivery == payload(tag, length);
    Got {
        sequence: delivery.sequence(),
        count: delivery.delivery_count(),
        tag: if whole { tag } else { u32::MAX },
        length,
    }
}

fn group_options(kind: Kind) -> GroupOptions {
    let mut options = if kind.exclusive {
        GroupOptions::exclusive()
    } else {
        GroupOptions::shared()
    };
    options = options.ephemeral(kind.ephemeral);
    if kind.limit > 0 {
        options = options.max_deliveries(kind.limit);
    }
    if kind.lease {
        options = options.ack_timeout(LEASE);
    }
    if kind.letters {
        options = options.dead_letters(LETTERS);
    }
    options
}

/// Until the clock of leases shows that a lease of no length has ended.
fn pass_time() {
    let now = || {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
        time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    };
    let start = now();
    while now() < start + 2 {
        std::thread::sleep(MOMENT);
    }
}

pub fn create(setup: &Setup, path: &Path) {
    let queue = options(setup).create(path).unwrap();
    if setup.log {
        queue.create_group(&name(1), group_options(LOG)).unwrap();
    }
}

fn options(setup: &Setup) -> Options {
    Queue::options()
        .capacity(setup.capacity)
        .slot_size(setup.slot_size)
        .max_message(Setup::MAX_MESSAGE as u64)
        .arena_size(setup.arena())
        .max_groups(Setup::MAX_GROUPS)
        .max_participants(Setup::MAX_PARTICIPANTS)
        .when_full(setup.policy)
        .timestamps(setup.timestamps)
        .default_group(setup.default_group)
        .first_sequence(setup.base())
}

/// What unwinds when somebody dies.
struct Died;

pub fn die() -> ! {
    fault::die();
    resume_unwind(Box::new(Died))
}

/// Runs a life, which may end early; then all that it owned is gone, and its destructors have touched nothing.
pub fn dies(life: impl FnOnce()) {
    let ended = catch_unwind(AssertUnwindSafe(life));
    fault::remove();
    fault::revive();
    if let Err(cause) = ended
        && !cause.is::<Died>()
    {
        resume_unwind(cause);
    }
}
