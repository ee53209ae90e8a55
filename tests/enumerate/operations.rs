//! The operations that are enumerated. To add one: a line in the table, a function that prepares what it needs, and the
//! call itself within [`Stage::numbered`]. Run its test once to learn how many points it has.

use std::rc::Rc;
use std::time::Duration;

use slipring::mem::fault;
use slipring::{ClaimError, Consumer, GroupOptions, PublishError, Queue, Start, WaitStrategy};

use super::ledger::id_of;
use super::slow::Slow;
use super::stage::Stage;
use super::words::Words;
use super::{BRIEF, DEAD, DEFAULT, INLINE, Kind, LARGE, LOG, PARTICIPANTS, VICTIM, die, dies};

/// One thing a participant does.
pub struct Operation {
    pub name: &'static str,
    pub kind: Kind,
    /// Its accesses to the file, at least. Fewer: something is no longer enumerated.
    pub points: u64,
    /// Nobody else can make a group while it is under way.
    pub makes_groups: bool,
    /// It has somebody dead to sweep.
    pub leaves_dead: bool,
    pub run: fn(&Rc<Stage>),
}

const fn operation(name: &'static str, kind: Kind, points: u64, run: fn(&Rc<Stage>)) -> Operation {
    Operation {
        name,
        kind,
        points,
        makes_groups: false,
        leaves_dead: false,
        run,
    }
}

const fn making_groups(operation: Operation) -> Operation {
    Operation {
        makes_groups: true,
        ..operation
    }
}

const fn among_the_dead(operation: Operation) -> Operation {
    Operation {
        leaves_dead: true,
        ..operation
    }
}

use Kind::{Both, Lossy, Nobody, Shared};

#[rustfmt::skip]
pub static OPERATIONS: &[Operation] = &[
    operation("publish", Both, 10, |s| publish(s, INLINE)),
    operation("publish to nobody", Nobody, 15, publish_to_nobody),
    operation("publish large", Both, 21, |s| publish(s, LARGE)),
    operation("publish batch", Both, 50, publish_batch),
    operation("reserve and commit", Both, 22, |s| reserve(s, INLINE)),
    operation("reserve and commit large", Both, 32, |s| reserve(s, LARGE)),
    operation("drop a loan", Both, 7, drop_loan),
    operation("publish as the sole producer", Both, 31, publish_alone),
    operation("become the sole producer", Both, 12, become_sole),
    operation("drop the oldest", Lossy, 37, |s| drop_oldest(s, INLINE)),
    operation("drop the oldest for the arena", Lossy, 88, |s| drop_oldest(s, LARGE)),
    // How often these two look depends on time; this is the least.
    operation("wait for room", Both, 17, wait_for_room),
    operation("wait for a message", Shared, 7, wait_for_message),
    operation("produce", Both, 28, produce),
    operation("claim", Shared, 11, claim),
    operation("claim batch", Shared, 39, claim_batch),
    operation("claim what was given back", Shared, 58, redeliver),
    operation("claim around somebody slow", Shared, 49, claim_around_slow),
    operation("ack", Shared, 4, ack),
    operation("ack what would be dropped", Lossy, 4, ack),
    operation("nack", Shared, 10, nack),
    operation("release", Shared, 10, release),
    operation("consume", Shared, 19, consume),
    operation("attach", Both, 18, attach),
    among_the_dead(operation("attach beside the dead", Both, 98, attach_beside_dead)),
    among_the_dead(operation("attach to a table full of the dead", Both, 135, attach_when_full)),
    operation("detach", Both, 25, detach),
    operation("detach the maker of a group", Both, 27, detach_maker),
    operation("detach with leaked deliveries", Shared, 46, detach_leaking_deliveries),
    operation("detach with a leaked loan", Both, 50, detach_leaking_loan),
    making_groups(among_the_dead(operation("create a shared group", Both, 115, create_latest))),
    making_groups(operation("create an exclusive group", Both, 70, create_earliest)),
    making_groups(operation("fail to create a group", Both, 66, fail_to_create)),
    making_groups(operation("an ephemeral group's life", Both, 100, ephemeral)),
    operation("delete a group", Both, 23, |s| delete(s, &[DEFAULT])),
    operation("delete a group with members", Both, 17, |s| delete(s, &[DEFAULT, LOG])),
    operation("join a brief group", Both, 42, join_brief),
    operation("ack in a deleted group", Both, 7, ack_in_deleted),
    operation("leave a deleted group", Both, 16, leave_deleted),
    operation("exclusive receive and ack", Both, 19, exclusive),
    operation("exclusive ack out of order", Both, 8, exclusive_out_of_order),
    operation("exclusive ack up to", Both, 12, exclusive_up_to),
    operation("exclusive nack", Both, 16, exclusive_nack),
    operation("exclusive hand over", Both, 10, hand_over),
    among_the_dead(operation("exclusive take over", Both, 20, take_over)),
    among_the_dead(operation("sweep", Both, 88, sweep)),
    among_the_dead(operation("work beside the dead", Both, 45, work_beside_dead)),
];

/// Long enough to sleep once, as a rule.
const MOMENT: Duration = Duration::from_millis(1);

fn victim(s: &Stage) -> Queue {
    s.place.open("victim")
}

/// Others who produce and consume in every group, in the second lap.
fn prepare(s: &Stage) -> Queue {
    s.others(true, &[DEFAULT, LOG]);
    s.go_on();
    s.others_publish(&[INLINE]);
    victim(s)
}

/// Publishes at last, if a paused one found no room.
fn publish_at_last(s: &Stage, producer: &mut slipring::Producer, sent: bool) {
    if !sent {
        s.drain();
        assert!(s.publish(VICTIM, producer, INLINE), "still no room");
    }
}

fn publish(s: &Rc<Stage>, length: usize) {
    let queue = prepare(s);
    let mut producer = queue.producer().unwrap();
    assert!(s.publish(VICTIM, &mut producer, INLINE));
    let sent = s.numbered(|| s.publish(VICTIM, &mut producer, length));
    publish_at_last(s, &mut producer, sent);
}

fn publish_to_nobody(s: &Rc<Stage>) {
    s.others(true, &[]);
    let queue = victim(s);
    let mut producer = queue.producer().unwrap();
    let sent = s.numbered(|| s.publish(VICTIM, &mut producer, INLINE));
    publish_at_last(s, &mut producer, sent);
}

fn publish_batch(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    let queue = victim(s);
    let mut producer = queue.producer().unwrap();
    let messages =
        [INLINE, LARGE, INLINE].map(|length| s.ledger.borrow_mut().attempt(VICTIM, length));
    let batch = s.numbered(|| {
        producer.publish_batch(
            messages
                .iter()
                .map(|(id, payload)| slipring::Message::new(payload).kind(VICTIM).key(*id as u32)),
        )
    });
    let published = match batch {
        Ok(batch) => batch.published,
        Err(error) => {
            assert_eq!(error.reason, PublishError::Full);
            error.published
        }
    };
    for (id, _) in &messages[..published as usize] {
        s.ledger.borrow_mut().published_somewhere(*id);
    }
    for (id, _) in &messages[published as usize..] {
        s.ledger.borrow_mut().refused(*id);
    }
    publish_at_last(s, &mut producer, published == 3);
}

fn reserve(s: &Rc<Stage>, length: usize) {
    let queue = prepare(s);
    let mut producer = queue.producer().unwrap();
    let sent = s.numbered(|| {
        let (id, payload) = s.ledger.borrow_mut().attempt(VICTIM, length);
        let sent = producer.reserve(length).and_then(|mut reservation| {
            reservation.copy_from_slice(&payload);
            reservation.kind(VICTIM).key(id as u32).commit()
        });
        s.published(id, sent)
    });
    publish_at_last(s, &mut producer, sent);
}

fn drop_loan(s: &Rc<Stage>) {
    let queue = prepare(s);
    let mut producer = queue.producer().unwrap();
    s.numbered(|| {
        let mut loan = producer.loan(LARGE).unwrap();
        loan.fill(7);
    });
    publish_at_last(s, &mut producer, false);
}

fn publish_alone(s: &Rc<Stage>) {
    s.others(false, &[DEFAULT, LOG]);
    let queue = victim(s);
    let mut producer = queue.sole_producer().unwrap();
    assert!(s.publish(VICTIM, &mut producer, INLINE));
    s.numbered(|| {
        assert!(s.publish(VICTIM, &mut producer, INLINE));
        assert!(s.publish(VICTIM, &mut producer, LARGE));
    });
}

fn become_sole(s: &Rc<Stage>) {
    s.others(false, &[DEFAULT, LOG]);
    let queue = victim(s);
    s.numbered(|| drop(queue.sole_producer().unwrap()));
}

fn drop_oldest(s: &Rc<Stage>, length: usize) {
    s.others(true, &[DEFAULT]);
    s.others_publish(&[length; 4]);
    let queue = victim(s);
    let mut producer = queue.producer().unwrap();
    let sent = s.numbered(|| s.publish(VICTIM, &mut producer, length));
    publish_at_last(s, &mut producer, sent);
}

fn wait_for_room(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    s.others_publish(&[INLINE; 4]);
    let queue = victim(s);
    let mut producer = queue.producer().unwrap().wait_strategy(WaitStrategy::Park);
    let sent = s.numbered(|| {
        let (id, payload) = s.ledger.borrow_mut().attempt(VICTIM, INLINE);
        let message = slipring::Message::new(&payload).kind(VICTIM).key(id as u32);
        let sent = producer.publish_timeout(message, MOMENT);
        s.published(id, sent)
    });
    publish_at_last(s, &mut producer, sent);
}

fn produce(s: &Rc<Stage>) {
    let queue = prepare(s);
    s.numbered(|| {
        let mut producer = queue.producer().unwrap();
        s.publish(VICTIM, &mut producer, INLINE);
    });
}

/// Others who have published three messages, one of them large, of which they have taken none.
fn stock(s: &Stage) -> (Queue, Consumer) {
    s.others(true, &[DEFAULT]);
    s.others_publish(&[INLINE, LARGE, INLINE]);
    let queue = victim(s);
    let consumer = queue.consumer().unwrap();
    (queue, consumer)
}

fn claim(s: &Rc<Stage>) {
    let (_queue, consumer) = stock(s);
    let first = s.receive(DEFAULT, &consumer).unwrap();
    let second = s.numbered(|| s.receive(DEFAULT, &consumer));
    for delivery in [Some(first), second].into_iter().flatten() {
        s.ack(DEFAULT, delivery);
    }
}

fn claim_batch(s: &Rc<Stage>) {
    let (_queue, consumer) = stock(s);
    s.numbered(|| {
        let Some(mut claims) = s.claim_several(DEFAULT, &consumer, 3) else {
            return;
        };
        let first = s.open(DEFAULT, &mut claims);
        let second = s.open(DEFAULT, &mut claims);
        drop(claims);
        for delivery in [second, first].into_iter().flatten() {
            s.ack(DEFAULT, delivery);
        }
    });
}

/// Somebody slow has claimed the first message and is writing the second.
fn claim_around_slow(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT]);
    s.others_publish(&[INLINE]);
    s.slow.replace(Some(Slow::begin(s, 0)));
    s.others_publish(&[LARGE]);
    let queue = victim(s);
    let consumer = queue.consumer().unwrap();
    let behind = s.receive(DEFAULT, &consumer).unwrap();
    s.slow.borrow().as_ref().unwrap().point_here();
    s.numbered(|| {
        behind.nack().unwrap();
        for _ in 0..4 {
            if let Some(delivery) = s.receive(DEFAULT, &consumer) {
                s.ack(DEFAULT, delivery);
            }
        }
    });
}

fn redeliver(s: &Rc<Stage>) {
    let (_queue, consumer) = stock(s);
    {
        let others = s.others.borrow();
        let theirs = &others.consumers[0].1;
        let held = [(); 3].map(|()| s.receive(DEFAULT, theirs).unwrap());
        let [first, second, third] = held;
        second.nack().unwrap();
        first.nack().unwrap();
        s.ack(DEFAULT, third);
    }
    s.numbered(|| {
        while let Some(delivery) = s.receive(DEFAULT, &consumer) {
            s.ack(DEFAULT, delivery);
        }
    });
}

fn ack(s: &Rc<Stage>) {
    let (_queue, consumer) = stock(s);
    let [first, second] = [(); 2].map(|()| s.receive(DEFAULT, &consumer).unwrap());
    s.numbered(|| {
        s.ack(DEFAULT, second);
        s.ack(DEFAULT, first);
    });
}

fn nack(s: &Rc<Stage>) {
    let (_queue, consumer) = stock(s);
    let [first, second] = [(); 2].map(|()| s.receive(DEFAULT, &consumer).unwrap());
    s.numbered(|| {
        second.nack().unwrap();
        first.nack().unwrap();
    });
}

fn release(s: &Rc<Stage>) {
    let (_queue, consumer) = stock(s);
    let [first, second] = [(); 2].map(|()| s.receive(DEFAULT, &consumer).unwrap());
    let ids = [id_of(&first), id_of(&second)];
    s.numbered(|| {
        s.uncount(DEFAULT, &ids[1..], || drop(second));
        s.uncount(DEFAULT, &ids[..1], || first.release().unwrap());
    });
}

fn wait_for_message(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT]);
    let queue = victim(s);
    let consumer = queue.consumer().unwrap().wait_strategy(WaitStrategy::Park);
    let delivery = s.numbered(|| {
        s.deliver(DEFAULT, || match consumer.recv_timeout(MOMENT) {
            Err(ClaimError::TimedOut) => None,
            received => Some(received.unwrap()),
        })
    });
    if let Some(delivery) = delivery {
        s.ack(DEFAULT, delivery);
    }
}

fn consume(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT]);
    s.others_publish(&[INLINE]);
    let queue = victim(s);
    s.numbered(|| drop(queue.consumer().unwrap()));
}

fn attach(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    s.others_publish(&[INLINE]);
    let _queue = s.numbered(|| victim(s));
}

fn attach_beside_dead(s: &Rc<Stage>) {
    leave_dead(s);
    let _queue = s.numbered(|| victim(s));
}

fn attach_when_full(s: &Rc<Stage>) {
    leave_dead(s);
    let free = PARTICIPANTS as usize - s.place.words().living().len();
    let queues: Vec<_> = (0..free).map(|_| s.place.open("dead")).collect();
    dies(move || {
        let _queues = queues;
        die()
    });
    let _queue = s.numbered(|| victim(s));
}

fn detach(s: &Rc<Stage>) {
    let queue = prepare(s);
    let mut producer = queue.producer().unwrap();
    assert!(s.publish(VICTIM, &mut producer, INLINE));
    let consumers = [DEFAULT, LOG].map(|group| queue.group(group).unwrap().consumer().unwrap());
    s.numbered(|| drop((consumers, producer, queue)));
}

/// Nobody has joined the group it made, so that goes with it.
fn detach_maker(s: &Rc<Stage>) {
    let queue = prepare(s);
    let options = GroupOptions::shared().ephemeral(true);
    drop(queue.create_group("ephemeral", options).unwrap());
    s.go_on();
    s.numbered(|| drop(queue));
}

fn detach_leaking_deliveries(s: &Rc<Stage>) {
    let (queue, consumer) = stock(s);
    for _ in 0..2 {
        std::mem::forget(s.receive(DEFAULT, &consumer).unwrap());
    }
    s.numbered(|| drop((consumer, queue)));
}

fn detach_leaking_loan(s: &Rc<Stage>) {
    let queue = prepare(s);
    let mut producer = queue.producer().unwrap();
    assert!(s.publish(VICTIM, &mut producer, INLINE));
    std::mem::forget(producer.loan(LARGE).unwrap());
    s.numbered(|| drop((producer, queue)));
}

fn create_earliest(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    s.others_publish(&[INLINE, INLINE]);
    let queue = victim(s);
    let options = GroupOptions::exclusive().start(Start::Earliest);
    s.numbered(|| s.create_group(&queue, "new", options));
}

/// Somebody has published, and died before it could raise the tail.
fn create_latest(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    let queue = victim(s);
    dies(|| {
        let queue = s.place.open("dead");
        let mut producer = queue.producer().unwrap();
        assert!(s.publish(DEAD, &mut producer, INLINE));
        die_when(s, |words| words.tail_lags());
        s.publish(DEAD, &mut producer, INLINE);
    });
    s.numbered(|| s.create_group(&queue, "new", GroupOptions::shared()));
    let groups = queue.stats().groups;
    let new = groups.iter().find(|group| group.name == "new").unwrap();
    let first = s.place.geometry.shape().first_sequence;
    assert!(new.start >= first + 2, "two were published before: {new:?}");
}

/// This thread's participant dies as soon as the file is like this.
fn die_when(s: &Rc<Stage>, so: fn(&Words<'_>) -> bool) {
    let place = Rc::clone(&s.place);
    fault::install(move |_| {
        if so(&place.words()) {
            die();
        }
    });
}

fn fail_to_create(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    s.others_publish(&[INLINE]);
    let queue = victim(s);
    let never = GroupOptions::shared().start(Start::At(u64::MAX));
    s.numbered(|| queue.create_group("never", never).unwrap_err());
}

fn ephemeral(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    s.others_publish(&[INLINE]);
    let queue = victim(s);
    s.numbered(|| {
        // Nobody else ever joins it, so whether it dies with its maker or is left by it, it goes.
        let options = GroupOptions::shared().ephemeral(true);
        let group = queue.create_group("ephemeral", options).unwrap();
        drop(group.consumer().unwrap());
    });
}

fn delete(s: &Rc<Stage>, members: &[&'static str]) {
    s.others(true, members);
    s.others_publish(&[INLINE]);
    let queue = victim(s);
    s.numbered(|| s.delete_group(&queue, LOG));
}

/// While it is paused in here, others delete the group and put another one in its place.
fn join_brief(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    let others = s.others.borrow().queue.clone();
    s.create_group(&others, BRIEF, GroupOptions::shared());
    s.others_publish(&[INLINE]);
    let queue = victim(s);
    s.numbered(|| {
        let Ok(group) = queue.group(BRIEF) else {
            return;
        };
        if let Ok(consumer) = group.consumer()
            && let Some(delivery) = s.receive(BRIEF, &consumer)
        {
            s.ack(BRIEF, delivery);
        }
    });
}

fn ack_in_deleted(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT, LOG]);
    let others = s.others.borrow().queue.clone();
    s.create_group(&others, BRIEF, GroupOptions::shared());
    s.others(false, &[BRIEF]);
    let queue = victim(s);
    let consumer = queue.group(BRIEF).unwrap().consumer().unwrap();
    s.others_publish(&[INLINE, LARGE]);
    let [first, second] = [(); 2].map(|()| s.receive(BRIEF, &consumer).unwrap());
    s.delete_group(&others, BRIEF);
    s.numbered(|| {
        s.ack(BRIEF, first);
        drop(second);
    });
}

fn leave_deleted(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT]);
    let queue = victim(s);
    let consumer = queue.group(LOG).unwrap().consumer().unwrap();
    s.others_publish(&[INLINE]);
    s.receive(LOG, &consumer).unwrap().defer().unwrap();
    let others = s.others.borrow().queue.clone();
    s.delete_group(&others, LOG);
    s.numbered(|| drop(consumer));
}

/// An active consumer of the exclusive group, and others who stand by and have published three messages.
fn active(s: &Stage) -> (Queue, Consumer) {
    s.others(true, &[DEFAULT]);
    let queue = victim(s);
    let consumer = queue.group(LOG).unwrap().consumer().unwrap();
    s.others(false, &[LOG]);
    s.others_publish(&[INLINE, LARGE, INLINE]);
    (queue, consumer)
}

fn exclusive(s: &Rc<Stage>) {
    let (_queue, consumer) = active(s);
    s.numbered(|| {
        for _ in 0..2 {
            let delivery = s.receive(LOG, &consumer).unwrap();
            s.ack(LOG, delivery);
        }
    });
}

fn exclusive_out_of_order(s: &Rc<Stage>) {
    let (_queue, consumer) = active(s);
    let [first, second] = [(); 2].map(|()| s.receive(LOG, &consumer).unwrap());
    s.numbered(|| {
        s.ack(LOG, second);
        s.ack(LOG, first);
    });
}

fn exclusive_up_to(s: &Rc<Stage>) {
    let (_queue, consumer) = active(s);
    let held = [(); 3].map(|()| s.receive(LOG, &consumer).unwrap());
    let ids = held.each_ref().map(|delivery| id_of(delivery));
    let [first, second, third] = held;
    first.defer().unwrap();
    s.numbered(|| {
        second.defer().unwrap();
        s.ack_up_to(LOG, third, &ids);
    });
}

fn exclusive_nack(s: &Rc<Stage>) {
    let (_queue, consumer) = active(s);
    let [first, second] = [(); 2].map(|()| s.receive(LOG, &consumer).unwrap());
    let later = id_of(&second);
    s.numbered(|| {
        // Who dies after it has noted the attempt leaves it to be counted once more.
        s.ledger.borrow_mut().unsure(LOG, 1);
        // Order restarts: what was handed over behind it comes again as if it had not been.
        s.uncount(LOG, &[later], || first.nack().unwrap());
        s.ledger.borrow_mut().sure(LOG, 1);
        assert!(second.ack().is_err(), "a stale guard");
        let again = s.receive(LOG, &consumer).unwrap();
        s.ack(LOG, again);
    });
}

fn hand_over(s: &Rc<Stage>) {
    let (_queue, consumer) = active(s);
    let [first, second] = [(); 2].map(|()| s.receive(LOG, &consumer).unwrap());
    let ids = [id_of(&first), id_of(&second)];
    first.defer().unwrap();
    second.defer().unwrap();
    s.numbered(|| s.uncount(LOG, &ids, || drop(consumer)));
}

fn take_over(s: &Rc<Stage>) {
    let queue = victim(s);
    let dead = s.place.open("dead");
    let before = dead.group(LOG).unwrap().consumer().unwrap();
    let consumer = queue.group(LOG).unwrap().consumer().unwrap();
    s.others(true, &[DEFAULT, LOG]);
    s.others_publish(&[INLINE, LARGE, INLINE]);
    dies(move || {
        let _dead = dead;
        let consumer = before;
        let _held = [(); 2].map(|()| s.receive(LOG, &consumer).unwrap());
        die()
    });
    s.others.borrow().queue.sweep();
    assert!(!consumer.is_active());
    s.numbered(|| {
        if let Some(delivery) = s.receive(LOG, &consumer) {
            s.ack(LOG, delivery);
        }
    });
}

fn sweep(s: &Rc<Stage>) {
    let queue = victim(s);
    leave_dead(s);
    s.numbered(|| queue.sweep());
}

/// What is the victim's is as much like what is the dead one's as can be.
fn work_beside_dead(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT]);
    let queue = victim(s);
    let consumer = queue.consumer().unwrap();
    let log = queue.group(LOG).unwrap().consumer().unwrap();
    s.others_publish(&[INLINE]);
    let claimed = s.receive(DEFAULT, &consumer).unwrap();
    let handed = s.receive(LOG, &log).unwrap();
    someone_dies(s, &[INLINE, LARGE]);
    let mut producer = queue.producer().unwrap();
    let sent = s.numbered(|| {
        s.ack(DEFAULT, claimed);
        s.ack(LOG, handed);
        s.publish(VICTIM, &mut producer, LARGE)
    });
    for (group, consumer) in [(DEFAULT, &consumer), (LOG, &log)] {
        while let Some(delivery) = s.receive(group, consumer) {
            s.ack(group, delivery);
        }
    }
    publish_at_last(s, &mut producer, sent);
}

fn leave_dead(s: &Rc<Stage>) {
    s.others(true, &[DEFAULT]);
    someone_dies(s, &[INLINE, LARGE, INLINE]);
    s.others(false, &[LOG]);
}

/// Somebody dies active in the exclusive group, if nobody was, with a batch half opened, with a loan, alone in an
/// ephemeral group, and writing a slot behind these messages.
fn someone_dies(s: &Rc<Stage>, lengths: &[usize]) {
    s.others_publish(lengths);
    let died = dies(|| {
        let queue = s.place.open("dead");
        let log = queue.group(LOG).unwrap().consumer().unwrap();
        let _handed = s.receive(LOG, &log);
        let consumer = queue.consumer().unwrap();
        let mut claims = s.claim_several(DEFAULT, &consumer, 2).unwrap();
        let _opened = s.open(DEFAULT, &mut claims).unwrap();
        let options = GroupOptions::shared().ephemeral(true);
        let group = queue.create_group("ephemeral", options).unwrap();
        let _member = group.consumer().unwrap();
        let mut lender = queue.producer().unwrap();
        let _loan = lender.loan(LARGE).unwrap();
        let mut producer = queue.producer().unwrap();
        die_when(s, |words| !words.open_reservations().is_empty());
        s.publish(DEAD, &mut producer, INLINE);
    });
    assert!(died);
}
