//! The model: what a queue does, said simply; and a world in which each operation is done to both and compared. Shared with the
//! fuzzer, which makes sequences of operations in its own way.

use std::collections::{BTreeMap, BTreeSet};

use slipring::{
    AckError, ClaimError, Consumer, Delivery, GroupError, GroupOptions, Message, Options, Producer,
    PublishError, Queue, Start,
};

/// One call.
#[derive(Clone, Debug)]
pub enum Op {
    Publish {
        producer: usize,
        length: usize,
    },
    Batch {
        producer: usize,
        count: usize,
    },
    Reserve {
        producer: usize,
        length: usize,
        commit: bool,
    },
    Claim {
        consumer: usize,
    },
    ClaimBatch {
        consumer: usize,
        max: usize,
        open: usize,
    },
    Settle {
        held: usize,
        how: How,
    },
    Decide {
        group: usize,
        which: usize,
        again: bool,
    },
    AddGroup {
        exclusive: bool,
        start: u8,
        limit: u8,
    },
    DeleteGroup {
        group: usize,
    },
    AddConsumer {
        group: usize,
    },
    DropConsumer {
        consumer: usize,
    },
}

/// How a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Ack,
    Nack,
    Release,
    Drop,
    AckUpTo,
    Defer,
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting { attempts: u8 },
    Held { attempts: u8 },
    Parked,
    Done,
}

/// What the model knows of a group.
#[derive(Debug)]
struct GroupModel {
    name: String,
    exclusive: bool,
    /// Deliveries before a message is dead; 0: any number.
    limit: u8,
    closing: bool,
    start: u64,
    fates: BTreeMap<u64, Fate>,
    /// Exclusive: next to hand over, and sequences of living guards, stale or not.
    position: u64,
    guards: Vec<u64>,
    deferred: BTreeSet<u64>,
}

impl GroupModel {
    fn fate(&self, sequence: u64) -> Fate {
        self.fates
            .get(&sequence)
            .copied()
            .unwrap_or(Fate::Waiting { attempts: 0 })
    }

    fn first_undone(&self, tail: u64) -> u64 {
        (self.start..tail)
            .find(|&s| self.fate(s) != Fate::Done)
            .unwrap_or(tail)
    }

    fn floor(&self, tail: u64) -> u64 {
        let undone = self.first_undone(tail);
        self.guards.iter().copied().chain([undone]).min().unwrap()
    }

    /// What a claim gets: sequence and count.
    fn claim(&mut self, tail: u64) -> Option<(u64, u8)> {
        let from = if self.exclusive {
            self.position
        } else {
            self.start
        };
        let waiting = |s: &u64| matches!(self.fate(*s), Fate::Waiting { .. });
        let given_back = |s: &u64| waiting(s) && self.fates.contains_key(s);
        let sequence = if self.exclusive {
            (from..tail).find(|s| !matches!(self.fate(*s), Fate::Done | Fate::Parked))
        } else {
            (from..tail)
                .find(given_back)
                .or_else(|| (from..tail).find(waiting))
        }?;
        let Fate::Waiting { attempts } = self.fate(sequence) else {
            panic!("{sequence} {self:?}")
        };
        self.fates.insert(sequence, Fate::Held { attempts });
        if self.exclusive {
            self.position = sequence + 1;
        }
        Some((sequence, attempts + 1))
    }

    fn give_back(&mut self, sequence: u64, attempts: u8) {
        if self.exclusive {
            // What came after is held by nobody any more, and comes again.
            for s in sequence..self.position {
                if let Fate::Held { attempts } = self.fate(s) {
                    self.fates.insert(s, Fate::Waiting { attempts });
                }
            }
            self.deferred.retain(|&s| s < sequence);
            self.position = sequence;
        }
        self.fates.insert(sequence, Fate::Waiting { attempts });
    }
}

struct Member {
    consumer: *mut Consumer,
    group: usize,
}

struct Held {
    delivery: Delivery<'static>,
    member: usize,
    group: usize,
    sequence: u64,
    count: u8,
    /// A guard that order has restarted before.
    stale: bool,
}

/// A queue and its model.
pub struct World {
    queue: Queue,
    producers: Vec<Producer>,
    members: Vec<Option<Member>>,
    held: Vec<Held>,
    groups: Vec<Option<GroupModel>>,
    messages: Vec<Vec<u8>>,
    base: u64,
    capacity: u64,
    made: u64,
    lowest: u64,
}

const MAX_MESSAGE: usize = 5000;

fn payload(n: u64, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u64 * 7 + n * 13) as u8)
        .collect()
}

impl World {
    /// Options of a queue whose first message is of this lap.
    pub fn options(capacity: u64, lap: u64) -> Options {
        Queue::options()
            .capacity(capacity)
            .max_message(MAX_MESSAGE as u64)
            .arena_size(32 * 8192)
            .max_groups(4)
            .max_participants(2)
            .first_sequence(lap * capacity)
    }

    /// A new queue with those options.
    pub fn new(queue: Queue, lap: u64) -> Self {
        let producers = (0..2).map(|_| queue.producer().unwrap()).collect();
        let capacity = queue.capacity();
        let base = lap * capacity;
        let mut world = Self {
            queue,
            producers,
            members: Vec::new(),
            held: Vec::new(),
            groups: Vec::new(),
            messages: Vec::new(),
            base,
            capacity,
            made: 0,
            lowest: base,
        };
        world.note_group("default", false, 0, base);
        world.add_consumer(0);
        world
    }

    fn tail(&self) -> u64 {
        self.base + self.messages.len() as u64
    }

    fn note_group(&mut self, name: &str, exclusive: bool, limit: u8, start: u64) {
        self.groups.push(Some(GroupModel {
            name: name.to_owned(),
            exclusive,
            limit,
            closing: false,
            start,
            fates: BTreeMap::new(),
            position: start,
            guards: Vec::new(),
            deferred: BTreeSet::new(),
        }));
    }

    fn room(&self) -> u64 {
        let lowest = self
            .groups
            .iter()
            .flatten()
            .map(|group| group.floor(self.tail()))
            .min();
        lowest.map_or(u64::MAX, |floor| floor + self.capacity - self.tail())
    }

    fn publish(&mut self, producer: usize, length: usize) {
        let bytes = payload(self.tail(), length);
        let result = self.producers[producer].try_publish(Message::new(&bytes).kind(length as u16));
        let result = result.map_err(|rejected| {
            assert_eq!(rejected.message.payload(), bytes);
            rejected.reason
        });
        self.published(result, bytes);
    }

    fn published(&mut self, result: Result<u64, PublishError>, bytes: Vec<u8>) {
        if bytes.len() > MAX_MESSAGE {
            let (length, max) = (bytes.len() as u64, MAX_MESSAGE as u64);
            assert_eq!(result, Err(PublishError::TooLong { length, max }));
        } else if self.room() == 0 {
            assert_eq!(result, Err(PublishError::Full));
        } else {
            assert_eq!(result, Ok(self.tail()));
            self.messages.push(bytes);
        }
    }

    fn reserve(&mut self, producer: usize, length: usize, commit: bool) {
        let bytes = payload(self.tail(), length);
        let result = match self.producers[producer].reserve(length) {
            Err(error) => Err(error),
            Ok(mut reservation) => {
                reservation.copy_from_slice(&bytes);
                if !commit {
                    return;
                }
                let reservation = reservation.kind(length as u16);
                reservation.try_commit().map_err(|rejected| rejected.reason)
            }
        };
        self.published(result, bytes);
    }

    fn batch(&mut self, producer: usize, count: usize) {
        let room = self.room().min(count as u64) as usize;
        if room < count {
            return;
        }
        let first = self.tail();
        let payloads: Vec<_> = (0..count as u64).map(|n| payload(first + n, 10)).collect();
        let messages = payloads.iter().map(|bytes| Message::new(bytes).kind(10));
        let batch = self.producers[producer].publish_batch(messages).unwrap();
        assert_eq!(batch.published, count as u64);
        assert_eq!(batch.first, (count > 0).then_some(first));
        self.messages.extend(payloads);
    }

    fn pick<T>(list: &[Option<T>], at: usize) -> Option<usize> {
        let live: Vec<usize> = (0..list.len()).filter(|&i| list[i].is_some()).collect();
        (!live.is_empty()).then(|| live[at % live.len()])
    }

    /// A live consumer, unless it stands by for another.
    fn member(&self, at: usize) -> Option<(usize, usize, &'static Consumer)> {
        let index = Self::pick(&self.members, at)?;
        let member = self.members[index].as_ref().unwrap();
        Some((index, member.group, unsafe { &*member.consumer }))
    }

    fn claim(&mut self, at: usize) {
        let Some((member, group, consumer)) = self.member(at) else {
            return;
        };
        let tail = self.tail();
        let active = consumer.is_active();
        let model = self.groups[group].as_mut().unwrap();
        let result = consumer.try_recv();
        if model.closing {
            assert_eq!(result.unwrap_err(), ClaimError::GroupClosed);
            return;
        }
        // A stand-by becomes active by trying, if there is nobody; the model drops its consumers one by one.
        if !active && !consumer.is_active() {
            assert_eq!(result.unwrap_err(), ClaimError::Empty);
            return;
        }
        match model.claim(tail) {
            None => assert_eq!(result.unwrap_err(), ClaimError::Empty),
            Some((sequence, count)) => self.hold(member, group, result.unwrap(), sequence, count),
        }
    }

    fn hold(
        &mut self,
        member: usize,
        group: usize,
        delivery: Delivery<'static>,
        sequence: u64,
        count: u8,
    ) {
        let bytes = &self.messages[(sequence - self.base) as usize];
        assert_eq!(
            (delivery.sequence(), delivery.delivery_count()),
            (sequence, count)
        );
        assert_eq!(delivery.kind(), bytes.len() as u16);
        assert_eq!(&*delivery, &bytes[..]);
        let model = self.groups[group].as_mut().unwrap();
        if model.exclusive {
            model.guards.push(sequence);
        }
        self.held.push(Held {
            delivery,
            member,
            group,
            sequence,
            count,
            stale: false,
        });
    }

    fn claim_batch(&mut self, at: usize, max: usize, open: usize) {
        let Some((member, group, consumer)) = self.member(at) else {
            return;
        };
        let tail = self.tail();
        let model = self.groups[group].as_mut().unwrap();
        if model.closing || model.exclusive {
            return;
        }
        let expected: Vec<_> = (0..max).map_while(|_| model.claim(tail)).collect();
        let mut result = match consumer.try_recv_batch(max) {
            Err(error) => {
                assert_eq!((error, expected.len()), (ClaimError::Empty, 0));
                return;
            }
            Ok(claims) => claims,
        };
        assert_eq!(result.size_hint().1, Some(expected.len()));
        let opened: Vec<_> = result.by_ref().take(open).map(Result::unwrap).collect();
        drop(result);
        for &(sequence, count) in expected.iter().skip(open) {
            model.give_back(sequence, count - 1);
        }
        for (delivery, &(sequence, count)) in opened.into_iter().zip(&expected) {
            self.hold(member, group, delivery, sequence, count);
        }
    }

    fn settle(&mut self, at: usize, how: How) {
        if self.held.is_empty() {
            return;
        }
        let Held {
            delivery,
            group,
            sequence,
            count,
            stale,
            member: _,
        } = self.held.swap_remove(at % self.held.len());
        let exclusive = self.groups[group].as_ref().unwrap().exclusive;
        let result = match how {
            How::Ack => delivery.ack(),
            How::Nack => delivery.nack(),
            How::Release => delivery.release(),
            How::AckUpTo => delivery.ack_up_to(),
            How::Defer => delivery.defer(),
            How::Reject => delivery.reject("no good"),
            How::Drop => {
                drop(delivery);
                if stale {
                    Err(AckError::Stale { sequence })
                } else {
                    Ok(())
                }
            }
        };
        let model = self.groups[group].as_mut().unwrap();
        if exclusive {
            let at = model.guards.iter().position(|&s| s == sequence).unwrap();
            model.guards.swap_remove(at);
        } else if matches!(how, How::AckUpTo | How::Defer) {
            assert_eq!(result, Err(AckError::NotExclusive));
            model.give_back(sequence, count - 1);
            return;
        }
        if stale {
            assert_eq!(result, Err(AckError::Stale { sequence }));
            return;
        }
        assert_eq!(result, Ok(()));
        match how {
            How::Ack => drop(model.fates.insert(sequence, Fate::Done)),
            How::AckUpTo => {
                for s in model.start..=sequence {
                    if model.fate(s) != Fate::Parked {
                        model.fates.insert(s, Fate::Done);
                    }
                }
                model.deferred.retain(|&s| s > sequence);
                self.make_stale(group, |s| s <= sequence);
            }
            How::Defer => drop(model.deferred.insert(sequence)),
            How::Reject => drop(model.fates.insert(sequence, Fate::Parked)),
            How::Nack if count == model.limit => {
                model.fates.insert(sequence, Fate::Parked);
            }
            How::Nack => self.give_back(group, sequence, count),
            How::Release | How::Drop => self.give_back(group, sequence, count - 1),
        }
    }

    fn give_back(&mut self, group: usize, sequence: u64, attempts: u8) {
        let model = self.groups[group].as_mut().unwrap();
        model.give_back(sequence, attempts);
        if model.exclusive {
            self.make_stale(group, |s| s > sequence);
        }
    }

    fn make_stale(&mut self, group: usize, which: impl Fn(u64) -> bool) {
        for held in self.held.iter_mut().filter(|held| held.group == group) {
            held.stale |= which(held.sequence);
        }
    }

    /// Gives a parked message back, or discards it. In an exclusive group the active consumer has to see it: it looks at once.
    fn decide(&mut self, at: usize, which: usize, again: bool) {
        let Some(group) = Self::pick(&self.groups, at) else {
            return;
        };
        let model = self.groups[group].as_mut().unwrap();
        let is_active =
            |member: &Member| member.group == group && unsafe { &*member.consumer }.is_active();
        let active = self
            .members
            .iter()
            .position(|member| member.as_ref().is_some_and(is_active));
        if model.closing || (model.exclusive && active.is_none()) {
            return;
        }
        let handle = self.queue.group(&model.name).unwrap();
        let parked: Vec<u64> = handle
            .dead_letters()
            .iter()
            .map(|dead| dead.sequence)
            .collect();
        let expected = (model.start..self.base + self.messages.len() as u64)
            .filter(|&s| model.fate(s) == Fate::Parked);
        assert_eq!(parked, expected.collect::<Vec<_>>());
        if parked.is_empty() {
            return;
        }
        let sequence = parked[which % parked.len()];
        if again {
            handle.retry(sequence).unwrap();
        } else {
            handle.discard(sequence).unwrap();
        }
        if !again {
            model.fates.insert(sequence, Fate::Done);
        } else if model.exclusive && sequence < model.position {
            self.give_back(group, sequence, 0);
        } else {
            model.fates.insert(sequence, Fate::Waiting { attempts: 0 });
        }
        if self.groups[group].as_ref().unwrap().exclusive {
            // By its place among the living ones.
            let active = active.unwrap();
            let place = self.members[..active].iter().flatten().count();
            self.claim(place);
        }
    }

    fn add_group(&mut self, exclusive: bool, start: u8, limit: u8) {
        let tail = self.tail();
        let earliest = self
            .groups
            .iter()
            .flatten()
            .map(|g| g.floor(tail))
            .min()
            .unwrap_or(tail);
        let (start, at) = match start % 3 {
            0 => (Start::Latest, tail),
            1 => (Start::Earliest, earliest),
            _ => {
                let at = earliest + u64::from(start) % (tail - earliest + 1);
                (Start::At(at), at)
            }
        };
        let mut kind = if exclusive {
            GroupOptions::exclusive()
        } else {
            GroupOptions::shared()
        };
        if limit > 0 {
            kind = kind.max_deliveries(limit);
        }
        let name = format!("group {}", self.made);
        self.made += 1;
        match self.queue.create_group(&name, kind.start(start)) {
            Ok(_) => self.note_group(&name, exclusive, limit, at),
            Err(error) => {
                assert_eq!(error, GroupError::Full { max: 4 });
                assert_eq!(self.groups.iter().flatten().count(), 4);
            }
        }
    }

    fn delete_group(&mut self, at: usize) {
        let Some(group) = Self::pick(&self.groups, at) else {
            return;
        };
        let model = self.groups[group].as_mut().unwrap();
        let result = self.queue.delete_group(&model.name);
        assert_eq!(result.is_ok(), !model.closing);
        model.closing = true;
        self.reap(group);
    }

    fn reap(&mut self, group: usize) {
        let members = self
            .members
            .iter()
            .flatten()
            .any(|member| member.group == group);
        if self.groups[group]
            .as_ref()
            .is_some_and(|model| model.closing)
            && !members
        {
            self.groups[group] = None;
        }
    }

    fn add_consumer(&mut self, at: usize) {
        let Some(group) = Self::pick(&self.groups, at) else {
            return;
        };
        let model = self.groups[group].as_ref().unwrap();
        if model.closing || self.members.iter().flatten().count() >= 6 {
            return;
        }
        let consumer = self.queue.group(&model.name).unwrap().consumer().unwrap();
        let consumer = Box::into_raw(Box::new(consumer));
        self.members.push(Some(Member { consumer, group }));
    }

    fn drop_consumer(&mut self, at: usize) {
        let Some((index, group, consumer)) = self.member(at) else {
            return;
        };
        let active = consumer.is_active();
        while let Some(at) = self.held.iter().position(|held| held.member == index) {
            self.settle(at, How::Drop);
        }
        let member = self.members[index].take().unwrap();
        drop(unsafe { Box::from_raw(member.consumer) });
        let model = self.groups[group].as_mut().unwrap();
        if model.exclusive && active {
            // What was deferred and not acked comes again, uncounted.
            let first = model.first_undone(self.base + self.messages.len() as u64);
            if first < model.position {
                for s in first..model.position {
                    if let Fate::Held { attempts } = model.fate(s) {
                        model.fates.insert(s, Fate::Waiting { attempts });
                    }
                }
                model.position = first;
                model.deferred.clear();
            }
        }
        self.reap(group);
    }

    fn check(&mut self) {
        let stats = self.queue.stats();
        let tail = self.tail();
        assert_eq!(stats.tail, tail);
        let mut floors = Vec::new();
        for model in self.groups.iter().flatten() {
            let group = stats
                .groups
                .iter()
                .find(|group| group.name == model.name)
                .unwrap();
            assert_eq!(group.closing, model.closing);
            assert_eq!(group.floor, model.floor(tail), "floor of {model:?}");
            let parked = model
                .fates
                .values()
                .filter(|fate| **fate == Fate::Parked)
                .count() as u64;
            assert_eq!(group.dead, parked, "parked of {model:?}");
            if !model.exclusive {
                let held = model
                    .fates
                    .values()
                    .filter(|fate| matches!(fate, Fate::Held { .. }))
                    .count();
                assert_eq!(group.in_flight, held as u64);
                let done = (model.start..tail)
                    .filter(|&s| model.fate(s) == Fate::Done)
                    .count() as u64;
                assert_eq!(group.lag, tail - model.start - done);
            }
            floors.push(group.floor);
        }
        assert_eq!(stats.groups.len(), floors.len());
        let lowest = floors.into_iter().min().unwrap_or(tail);
        assert!(lowest >= self.lowest || self.groups.iter().flatten().any(|g| g.start <= lowest));
        self.lowest = lowest;
    }

    /// Does it to both, and compares.
    pub fn run(&mut self, op: Op) {
        match op {
            Op::Publish { producer, length } => self.publish(producer, length),
            Op::Batch { producer, count } => self.batch(producer, count),
            Op::Reserve {
                producer,
                length,
                commit,
            } => {
                // A long one needs no slot before its commit, and room in the arena is always there.
                if self.room() > 0 || length <= 96 || !commit {
                    self.reserve(producer, length, commit);
                }
            }
            Op::Claim { consumer } => self.claim(consumer),
            Op::ClaimBatch {
                consumer,
                max,
                open,
            } => self.claim_batch(consumer, max, open),
            Op::Settle { held, how } => self.settle(held, how),
            Op::Decide {
                group,
                which,
                again,
            } => self.decide(group, which, again),
            Op::AddGroup {
                exclusive,
                start,
                limit,
            } => self.add_group(exclusive, start, limit),
            Op::DeleteGroup { group } => self.delete_group(group),
            Op::AddConsumer { group } => self.add_consumer(group),
            Op::DropConsumer { consumer } => self.drop_consumer(consumer),
        }
        self.check();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.held.clear();
        for member in self.members.iter_mut().filter_map(Option::take) {
            drop(unsafe { Box::from_raw(member.consumer) });
        }
    }
}
