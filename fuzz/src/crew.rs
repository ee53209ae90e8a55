//! Processes at work on one queue, played by one thread: every operation of the library, as the input says.

use std::time::Duration;

use libfuzzer_sys::arbitrary::Result;
use slipring::mem::fault;
use slipring::{
    ClaimError, Consumer, Delivery, FullPolicy, GroupOptions, Inspector, Message, Peeked, Producer,
    Queue, Start, WaitStrategy,
};

use crate::input::Input;
use crate::scene::Scene;
use crate::scribble::{Write, counted};

/// A consumer and what it holds, which is dropped before it.
struct Seat {
    held: Vec<Delivery<'static>>,
    consumer: Box<Consumer>,
}

impl Seat {
    fn consumer(&self) -> &'static Consumer {
        // SAFETY: boxed, and what borrows it lies in `held`, which goes first.
        unsafe { &*(&raw const *self.consumer) }
    }
}

/// One attached process.
struct Process {
    seats: Vec<Seat>,
    producers: Vec<Producer>,
    queue: Queue,
}

/// All of them.
pub struct Crew {
    scene: &'static Scene,
    processes: Vec<Process>,
    writes: Vec<Write>,
    /// Waits that take time, left to this input.
    sleeps: u8,
}

const NAMES: [&str; 5] = ["default", "limited", "leased", "exclusive", "new"];
const MOST_PROCESSES: usize = 3;
const MOST_SEATS: usize = 4;

impl Crew {
    /// Nobody is attached yet.
    pub fn new(scene: &'static Scene) -> Self {
        scene.restore();
        Self {
            scene,
            processes: Vec::new(),
            writes: Vec::new(),
            sleeps: 2,
        }
    }

    /// One that is written now or in the middle of the next operation.
    pub fn scribble(&mut self, write: Write) {
        if write.after == 0 {
            write.apply(&self.scene.window);
        } else {
            self.writes.push(write);
        }
    }

    fn counted<T>(&mut self, what: &'static str, operation: impl FnOnce(&mut Self) -> T) -> T {
        let writes = std::mem::take(&mut self.writes);
        counted(what, &self.scene.window, writes, || operation(self))
    }

    /// One more process.
    pub fn attach(&mut self) {
        if self.processes.len() == MOST_PROCESSES {
            return;
        }
        let path = &self.scene.path;
        let opened = self.counted("open", |_| Queue::options().name("fuzz").open(path));
        if let Ok(queue) = opened {
            self.processes.push(Process {
                seats: Vec::new(),
                producers: Vec::new(),
                queue,
            });
        }
    }

    /// The next operation that the input asks for.
    pub fn step(&mut self, u: &mut Input<'_>) -> Result<()> {
        if self.processes.is_empty() {
            self.attach();
        }
        let at = usize::from(u.byte()?);
        match u.below(24)? {
            0..=6 => {
                let write = Write::arbitrary(u, &self.scene.geometry)?;
                self.scribble(write);
            }
            7 | 8 => self.publish(u, at)?,
            9 => self.fill(u, at)?,
            10..=12 => self.receive(u, at)?,
            13..=15 => self.settle(u, at)?,
            16 => self.decide(u, at)?,
            17 => self.look(u, at)?,
            18 => self.join(u, at)?,
            19 => self.make_producer(u, at)?,
            20 => self.groups(u, at)?,
            21 => self.attach(),
            22 => self.leave(u, at)?,
            _ => self.on("sweep", at, |process| _ = process.queue.sweep()),
        }
        Ok(())
    }

    fn on(&mut self, what: &'static str, at: usize, work: impl FnOnce(&mut Process)) {
        self.counted(what, |crew| {
            let count = crew.processes.len();
            if let Some(process) = crew.processes.get_mut(at % count.max(1)) {
                work(process);
            }
        });
    }

    fn publish(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let length = u.of(&[0, 1, 31, 32, 33, 64, 150, 200, 201])?;
        let how = u.below(4)?;
        let waits = self.scene.policy != FullPolicy::Reject;
        self.on("publish", at, |process| {
            let Some(producer) = process.producers.get_mut(at / 8 % 2) else {
                return;
            };
            let payload = vec![at as u8; length];
            match how {
                0 if !waits => drop(producer.publish(&payload)),
                1 if !waits => drop(producer.publish_batch([&payload, &payload, &payload])),
                2 => drop(producer.publish_timeout(&payload, Duration::ZERO)),
                _ => drop(producer.try_publish(Message::new(&payload).kind(1).key(2))),
            }
        });
        Ok(())
    }

    fn fill(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let length = u.of(&[0, 8, 32, 33, 100, 200, 201])?;
        let (loan, commit): (bool, u8) = (u.once_in(2)?, u.below(4)? as u8);
        // On other queues these wait for room in the arena.
        if self.scene.policy != FullPolicy::Reject {
            return Ok(());
        }
        self.on("reserve", at, |process| {
            let Some(producer) = process.producers.get_mut(at / 8 % 2) else {
                return;
            };
            let reserved = if loan {
                producer.loan(length)
            } else {
                producer.reserve(length)
            };
            let Ok(mut reservation) = reserved else {
                return;
            };
            reservation.fill(9);
            match commit {
                0 => drop(reservation),
                1 => std::mem::forget(reservation),
                2 => drop(reservation.commit()),
                _ => drop(reservation.try_commit()),
            }
        });
        Ok(())
    }

    fn receive(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let how = u.below(6)?;
        let max = 1 + u.below(5)? as usize;
        let timeout = if how == 4 && self.sleeps > 0 {
            self.sleeps -= 1;
            Duration::from_millis(1)
        } else {
            Duration::ZERO
        };
        self.on("receive", at, |process| {
            let count = process.seats.len();
            let Some(seat) = process.seats.get_mut(at / 8 % count.max(1)) else {
                return;
            };
            let consumer = seat.consumer();
            match how {
                0..=2 => hold(seat, consumer.try_recv()),
                3 | 4 => hold(seat, consumer.recv_timeout(timeout)),
                _ => {
                    let Ok(claims) = consumer.try_recv_batch(max) else {
                        return;
                    };
                    for delivery in claims.take(at / 64) {
                        hold(seat, delivery);
                    }
                }
            }
        });
        Ok(())
    }

    fn settle(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let how = u.below(10)?;
        self.on("settle", at, |process| {
            let count = process.seats.len();
            let Some(seat) = process.seats.get_mut(at / 8 % count.max(1)) else {
                return;
            };
            if seat.held.is_empty() {
                return;
            }
            let delivery = seat.held.swap_remove(at / 32 % seat.held.len());
            read(&delivery);
            match how {
                0 | 1 => drop(delivery.ack()),
                2 => drop(delivery.nack()),
                3 => drop(delivery.release()),
                4 => drop(delivery.reject("no good")),
                5 => drop(delivery.ack_up_to()),
                6 => drop(delivery.defer()),
                7 => {
                    let _stale = delivery.extend(Duration::from_millis(5));
                    seat.held.push(delivery);
                }
                8 => std::mem::forget(delivery),
                _ => drop(delivery),
            }
        });
        Ok(())
    }

    fn decide(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let (name, again): (&str, bool) = (u.of(&NAMES)?, u.once_in(2)?);
        self.on("dead letters", at, |process| {
            let Ok(group) = process.queue.group(name) else {
                return;
            };
            let _named = group.dead_letter_queue();
            for letter in group.dead_letters() {
                let decided = if again {
                    group.retry(letter.sequence)
                } else {
                    group.discard(letter.sequence)
                };
                drop(decided);
            }
            drop(group.retry(at as u64));
        });
        Ok(())
    }

    fn look(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let from_outside = u.once_in(2)?;
        let path = &self.scene.path;
        self.on("look", at, |process| {
            if !from_outside {
                drop(process.queue.stats());
                return;
            }
            let Ok(inspector) = Inspector::open(path) else {
                return;
            };
            drop(inspector.stats());
            let (oldest, tail) = (inspector.oldest(), inspector.tail());
            for sequence in (oldest..tail)
                .take(9)
                .chain([at as u64, u64::MAX - at as u64])
            {
                if let Peeked::Message { payload, .. } = inspector.peek(sequence) {
                    assert!(payload.len() as u64 <= inspector.geometry().shape().max_message);
                }
            }
        });
        Ok(())
    }

    fn join(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let name = u.of(&NAMES)?;
        self.on("join", at, |process| {
            if process.seats.len() == MOST_SEATS {
                process.seats.swap_remove(at / 8 % MOST_SEATS);
                return;
            }
            let Ok(group) = process.queue.group(name) else {
                return;
            };
            if let Ok(consumer) = group.consumer() {
                let consumer = Box::new(consumer.wait_strategy(WaitStrategy::Park));
                process.seats.push(Seat {
                    held: Vec::new(),
                    consumer,
                });
            }
        });
        Ok(())
    }

    fn make_producer(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let sole = u.once_in(4)?;
        self.on("producer", at, |process| {
            if process.producers.len() == 2 {
                process.producers.swap_remove(at / 8 % 2);
                return;
            }
            let made = if sole {
                process.queue.sole_producer()
            } else {
                process.queue.producer()
            };
            if let Ok(producer) = made {
                process
                    .producers
                    .push(producer.wait_strategy(WaitStrategy::Park));
            }
        });
        Ok(())
    }

    fn groups(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let name = u.of(&NAMES)?;
        let options = match u.below(6)? {
            0 => GroupOptions::exclusive(),
            1 => GroupOptions::shared().ack_timeout(Duration::from_millis(1)),
            2 => GroupOptions::shared()
                .max_deliveries(1)
                .dead_letters("dead"),
            3 => GroupOptions::shared().ephemeral(true),
            _ => GroupOptions::shared(),
        };
        let start = match u.below(3)? {
            0 => Start::Earliest,
            1 => Start::At(u.byte()?.into()),
            _ => Start::Latest,
        };
        let how = u.below(4)?;
        self.on("groups", at, |process| match how {
            0 => drop(process.queue.delete_group(name)),
            1 => drop(
                process
                    .queue
                    .open_or_create_group(name, options.start(start)),
            ),
            2 => drop(process.queue.create_group(name, options.start(start))),
            _ => drop(process.queue.groups()),
        });
        Ok(())
    }

    /// Ends a process: in order, or at once.
    fn leave(&mut self, u: &mut Input<'_>, at: usize) -> Result<()> {
        let killed = u.once_in(2)?;
        if self.processes.is_empty() {
            return Ok(());
        }
        let process = self.processes.swap_remove(at % self.processes.len());
        self.counted("leave", |_| {
            if killed {
                fault::die();
            }
            drop(process);
            fault::revive();
        });
        Ok(())
    }

    /// Everybody leaves, in order.
    pub fn end(mut self) {
        while let Some(process) = self.processes.pop() {
            self.counted("end", |_| drop(process));
        }
    }
}

fn hold(seat: &mut Seat, received: std::result::Result<Delivery<'static>, ClaimError>) {
    if let Ok(delivery) = received {
        read(&delivery);
        seat.held.push(delivery);
    }
}

/// Looks at every byte, and at what stands in front of them.
fn read(delivery: &Delivery<'_>) {
    let sum = delivery
        .payload()
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    std::hint::black_box(sum);
    std::hint::black_box(delivery.dead_letter());
}
