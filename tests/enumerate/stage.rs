//! One trial: who takes part, and calls that are noted in the ledger.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use slipring::mem::fault;
use slipring::{
    ClaimError, Claims, Consumer, Delivery, GroupError, GroupOptions, Message, Producer,
    PublishError, Queue, Swept,
};

use super::ledger::{Id, Ledger, id_of};
use super::operations::Operation;
use super::slow::Slow;
use super::{
    BRIEF, CAPACITY, DEAD, DEFAULT, INLINE, Kind, LARGE, LOG, OTHER, Place, die, die_at, dies,
};

/// What happens to the victim, before which access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Dies(u64),
    IsPaused(u64),
}

pub struct Stage {
    pub place: Rc<Place>,
    pub operation: &'static Operation,
    pub ledger: RefCell<Ledger>,
    pub others: RefCell<Others>,
    pub slow: RefCell<Option<Slow>>,
    at: At,
    paused: Cell<bool>,
    /// When last looked at; and the tail.
    marks: RefCell<(Vec<Mark>, u64)>,
}

/// A group, its start and its floor.
type Mark = (String, u64, u64);

/// A participant with its handles.
pub struct Others {
    pub by: u16,
    pub queue: Queue,
    pub producer: Option<Producer>,
    pub consumers: Vec<(&'static str, Consumer)>,
}

impl Others {
    pub fn new(by: u16, queue: Queue) -> Self {
        Self {
            by,
            queue,
            producer: None,
            consumers: Vec::new(),
        }
    }

    pub fn join(&mut self, group: &'static str) {
        let consumer = self.queue.group(group).unwrap().consumer().unwrap();
        self.consumers.push((group, consumer));
    }

    pub fn produce(&mut self) {
        self.producer = Some(self.queue.producer().unwrap());
    }
}

impl Stage {
    /// `victim_first`: the victim gets participant number 0, else the others have it.
    pub fn new(
        place: &Rc<Place>,
        operation: &'static Operation,
        at: At,
        victim_first: bool,
    ) -> Rc<Self> {
        place.reset();
        let number_0 = victim_first.then(|| place.open("nobody"));
        let others = Others::new(OTHER, place.open("others"));
        drop(number_0);
        let mut ledger = Ledger::default();
        if place.kind != Kind::Nobody {
            ledger.exists(DEFAULT);
        }
        if place.kind == Kind::Both {
            ledger.exists(LOG);
        }
        Rc::new(Self {
            place: Rc::clone(place),
            operation,
            ledger: RefCell::new(ledger),
            others: RefCell::new(others),
            slow: RefCell::default(),
            at,
            paused: Cell::new(false),
            marks: RefCell::default(),
        })
    }

    /// What tells two stages apart: the file, and what is known of it.
    pub fn essence(&self) -> (Vec<u8>, Ledger) {
        (self.place.words().essence(), self.ledger.borrow().clone())
    }

    pub fn was_paused(&self) -> bool {
        self.paused.get()
    }

    /// The part of an operation in which the victim dies or is paused.
    pub fn numbered<T>(self: &Rc<Self>, run: impl FnOnce() -> T) -> T {
        match self.at {
            At::Dies(point) => die_at(point),
            At::IsPaused(point) => {
                let stage = Rc::clone(self);
                fault::install(move |number| {
                    if number == point {
                        stage.paused.set(true);
                        stage.go_on_for_long();
                    }
                });
            }
        }
        let result = run();
        fault::remove();
        result
    }

    /// The others produce, and consume in these groups.
    pub fn others(&self, produce: bool, groups: &[&'static str]) {
        let mut others = self.others.borrow_mut();
        if produce {
            others.produce();
        }
        for group in groups {
            others.join(group);
        }
    }

    /// The others publish messages of these lengths.
    pub fn others_publish(&self, lengths: &[usize]) {
        let others = &mut *self.others.borrow_mut();
        for length in lengths {
            assert!(self.publish(others.by, others.producer.as_mut().unwrap(), *length));
        }
    }

    /// One try.
    pub fn publish(&self, by: u16, producer: &mut Producer, length: usize) -> bool {
        let (id, payload) = self.ledger.borrow_mut().attempt(by, length);
        let message = Message::new(&payload).kind(by).key(id as u32);
        let sent = producer.try_publish(message).map_err(|no| no.reason);
        self.published(id, sent)
    }

    /// Notes the end of a publish.
    pub fn published(&self, id: Id, sent: Result<u64, PublishError>) -> bool {
        let ledger = &mut *self.ledger.borrow_mut();
        match sent {
            Ok(sequence) => ledger.published(id, sequence),
            Err(PublishError::Full | PublishError::TimedOut) => ledger.refused(id),
            Err(error) => panic!("message {id}: {error}"),
        }
        sent.is_ok()
    }

    pub fn receive<'c>(&self, group: &'static str, consumer: &'c Consumer) -> Option<Delivery<'c>> {
        self.deliver(group, || match consumer.try_recv() {
            Ok(delivery) => Some(delivery),
            Err(ClaimError::Empty | ClaimError::GroupClosed) => None,
            Err(error) => panic!("group {group}: {error}"),
        })
    }

    /// Claims one message, by any call.
    pub fn deliver<'c>(
        &self,
        group: &'static str,
        claim: impl FnOnce() -> Option<Delivery<'c>>,
    ) -> Option<Delivery<'c>> {
        let before = {
            let ledger = &mut *self.ledger.borrow_mut();
            ledger.unsure(group, 1);
            ledger.seen(group)
        };
        let delivery = claim();
        let ledger = &mut *self.ledger.borrow_mut();
        ledger.sure(group, 1);
        delivery.inspect(|delivery| {
            ledger.delivered(group, delivery, &before);
        })
    }

    pub fn claim_several<'c>(
        &self,
        group: &'static str,
        consumer: &'c Consumer,
        most: usize,
    ) -> Option<Claims<'c>> {
        self.ledger.borrow_mut().claiming_several(group);
        consumer.try_recv_batch(most).ok()
    }

    pub fn open<'c>(&self, group: &'static str, claims: &mut Claims<'c>) -> Option<Delivery<'c>> {
        self.deliver(group, || claims.next().map(Result::unwrap))
    }

    pub fn ack(&self, group: &'static str, delivery: Delivery<'_>) {
        let id = id_of(&delivery);
        self.ledger.borrow_mut().acking(group, id);
        delivery.ack().unwrap();
        self.ledger.borrow_mut().acked(group, id);
    }

    /// Acks with all before it, in an exclusive group.
    pub fn ack_up_to(&self, group: &'static str, delivery: Delivery<'_>, ids: &[Id]) {
        for id in ids {
            self.ledger.borrow_mut().acking(group, *id);
        }
        delivery.ack_up_to().unwrap();
        for id in ids {
            self.ledger.borrow_mut().acked(group, *id);
        }
    }

    /// Makes a call that takes these hand-overs back.
    pub fn uncount<T>(&self, group: &'static str, ids: &[Id], call: impl FnOnce() -> T) -> T {
        for id in ids {
            self.ledger.borrow_mut().uncounting(group, *id);
        }
        let result = call();
        self.ledger.borrow_mut().sure(group, ids.len() as u8);
        result
    }

    pub fn create_group(&self, queue: &Queue, name: &'static str, options: GroupOptions) {
        self.ledger.borrow_mut().doubtful(name);
        queue.create_group(name, options).unwrap();
        self.ledger.borrow_mut().exists(name);
    }

    pub fn delete_group(&self, queue: &Queue, name: &'static str) {
        self.ledger.borrow_mut().doubtful(name);
        queue.delete_group(name).unwrap();
        self.ledger.borrow_mut().gone(name);
    }

    /// The others go on for a lap, or until they are stuck.
    pub fn go_on(&self) {
        let others = &mut *self.others.borrow_mut();
        for turn in 0..CAPACITY {
            if let Some(producer) = &mut others.producer {
                let length = if turn == 1 { LARGE } else { INLINE };
                self.publish(others.by, producer, length);
            }
            // Some are acked before the next is published, the rest after all are.
            for (group, consumer) in &others.consumers {
                while (turn % 2 == 0 || turn == CAPACITY - 1)
                    && let Some(delivery) = self.receive(group, consumer)
                {
                    self.ack(group, delivery);
                }
            }
        }
        self.observe(&others.queue);
    }

    /// The others take all there is.
    pub fn drain(&self) {
        for (group, consumer) in &self.others.borrow().consumers {
            while let Some(delivery) = self.receive(group, consumer) {
                self.ack(group, delivery);
            }
        }
    }

    /// Somebody slow, if there is one, comes to an end.
    pub fn finish_slow(&self) -> bool {
        let slow = self.slow.take();
        slow.map(|slow| slow.finish(self)).is_some()
    }

    /// The others do all they can while the victim is paused, and take nothing from it.
    fn go_on_for_long(&self) {
        if self.finish_slow() {
            return;
        }
        self.go_on();
        let queue = self.others.borrow().queue.clone();
        self.sweep_nothing(&queue);
        self.replace_brief(&queue);
        drop(self.place.open("visitor"));
        self.casualty();
        if !self.operation.makes_groups {
            self.pass(&queue);
        }
        self.go_on();
        self.sweep_nothing(&queue);
        // Something is left for the victim.
        let others = &mut *self.others.borrow_mut();
        if let Some(producer) = &mut others.producer {
            self.publish(others.by, producer, INLINE);
        }
    }

    /// A group comes and goes; another comes, and falls behind by as much as it can, if there is room for them.
    fn pass(&self, queue: &Queue) {
        match queue.create_group("passing", GroupOptions::shared()) {
            Ok(group) => {
                self.go_on();
                group.delete().unwrap();
            }
            Err(error) => assert!(matches!(error, GroupError::Full { .. }), "{error}"),
        }
        self.drain();
        if queue.create_group("late", GroupOptions::shared()).is_ok() {
            self.ledger.borrow_mut().exists("late");
            self.go_on();
            self.others.borrow_mut().join("late");
        }
    }

    /// If there is a group `brief`, deletes it and makes another in the same entry, if nobody is in it.
    fn replace_brief(&self, queue: &Queue) {
        if queue.group(BRIEF).is_ok() {
            self.delete_group(queue, BRIEF);
            if let Ok(_made) = queue.create_group("new", GroupOptions::exclusive()) {
                self.ledger.borrow_mut().exists("new");
                self.others.borrow_mut().join("new");
            }
        }
    }

    /// Somebody else dies, holding a claim, and is swept; nobody but it is.
    fn casualty(&self) {
        let queue = &self.others.borrow().queue;
        dies(|| {
            let queue = self.place.open("casualty");
            // Not beside a sole one.
            let mut producer = queue.producer().ok();
            if let Some(producer) = &mut producer {
                self.publish(DEAD, producer, LARGE);
            }
            let consumer = queue.consumer().ok();
            let held = consumer.as_ref();
            let _held = held.map(|consumer| self.receive(DEFAULT, consumer));
            die()
        });
        let mut swept = queue.sweep();
        swept.participants -= 1;
        swept.claims = 0;
        assert!(
            self.operation.leaves_dead || swept == Swept::default(),
            "{swept:?} of the living"
        );
    }

    fn sweep_nothing(&self, queue: &Queue) {
        let swept = queue.sweep();
        if !self.operation.leaves_dead {
            assert_eq!(swept, Swept::default(), "of the living");
        }
    }

    /// Floors and tail only grow.
    pub fn observe(&self, queue: &Queue) {
        let stats = queue.stats();
        let (marks, tail) = &mut *self.marks.borrow_mut();
        assert!(*tail <= stats.tail, "tail {tail}, then {}", stats.tail);
        *tail = stats.tail;
        let known = std::mem::take(marks);
        for group in stats.groups {
            assert!(group.floor <= stats.tail, "{group:?}");
            let same = |mark: &&Mark| (&mark.0, mark.1) == (&group.name, group.start);
            let before = known.iter().find(same).map(|mark| mark.2);
            assert!(before <= Some(group.floor), "floor {before:?}, {group:?}");
            marks.push((group.name, group.start, group.floor));
        }
    }
}
