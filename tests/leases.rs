//! Goal: in a group with an ack time-out, a live but slow consumer's claim goes to another, its late ack is refused, it can
//! ask for more time, and it never sees a byte of a later message.
//! Method: short time-outs and no upper bounds on time; each behaviour on heap memory, tmpfs and disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Backing, MINUTE, Place, queue, watchdog};
use slipring::{
    AckError, ClaimError, Consumer, GroupError, GroupOptions, GroupStats, Options, Queue,
    WaitStrategy,
};

on_every_backing![
    "leases.rs":
    a_slow_consumers_claim_goes_to_another,
    a_consumer_that_never_waits_finds_expired_claims,
    an_extended_lease_holds,
    what_has_expired_cannot_be_extended,
    expired_deliveries_count_towards_the_limit,
    a_batch_not_opened_in_time_is_lost_uncounted,
    a_late_consumer_keeps_its_copy,
    without_a_lease_time_takes_nothing,
    leases_out_of_range_are_refused,
];

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(600);

fn small() -> Options {
    Queue::options()
        .capacity(8)
        .max_message(4000)
        .max_groups(4)
        .max_participants(4)
        .default_group(false)
}

fn leased(queue: &Queue, timeout: Duration) -> [Consumer; 2] {
    let options = GroupOptions::shared().ack_timeout(timeout);
    let group = queue.create_group("jobs", options).unwrap();
    [group.consumer().unwrap(), group.consumer().unwrap()]
}

fn jobs(queue: &Queue) -> GroupStats {
    queue.stats().groups.remove(0)
}

fn a_slow_consumers_claim_goes_to_another(backing: Backing) {
    let _watchdog = watchdog("expiry", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    for strategy in [WaitStrategy::Park, WaitStrategy::BusySpin] {
        let [slow, quick] = leased(queue, SHORT);
        let quick = quick.wait_strategy(strategy);
        queue.producer().unwrap().publish("job").unwrap();
        let late = slow.recv().unwrap();
        let again = quick.recv().unwrap();
        assert_eq!((&*again, again.delivery_count()), (&b"job"[..], 2));
        let sequence = late.sequence();
        assert_eq!(late.ack(), Err(AckError::Stale { sequence }));
        again.ack().unwrap();
        assert_eq!((jobs(queue).expired, jobs(queue).lag), (1, 0));
        assert_eq!(jobs(queue).ack_timeout, Some(SHORT));
        drop((slow, quick));
        queue.delete_group("jobs").unwrap();
    }
}

fn a_consumer_that_never_waits_finds_expired_claims(backing: Backing) {
    let _watchdog = watchdog("expiry", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    let [slow, quick] = leased(queue, SHORT);
    queue.producer().unwrap().publish("job").unwrap();
    let late = slow.try_recv().unwrap();
    let again = loop {
        match quick.try_recv() {
            Ok(again) => break again,
            Err(error) => assert_eq!(error, ClaimError::Empty),
        }
    };
    assert_eq!(again.delivery_count(), 2);
    again.ack().unwrap();
    assert!(late.ack().is_err());
}

fn an_extended_lease_holds(backing: Backing) {
    let _watchdog = watchdog("extension", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    let [slow, quick] = leased(queue, Duration::from_millis(500));
    queue.producer().unwrap().publish("job").unwrap();
    let late = slow.recv().unwrap();
    late.extend(LONG).unwrap();
    assert_eq!(
        quick.recv_timeout(Duration::from_millis(800)).unwrap_err(),
        ClaimError::TimedOut
    );
    late.ack().unwrap();
    assert_eq!((jobs(queue).expired, jobs(queue).acked), (0, 0));
    drop(slow);
    assert_eq!(jobs(queue).acked, 1);
}

fn what_has_expired_cannot_be_extended(backing: Backing) {
    let _watchdog = watchdog("extension", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    let [slow, quick] = leased(queue, SHORT);
    queue.producer().unwrap().publish("job").unwrap();
    let late = slow.recv().unwrap();
    let again = quick.recv().unwrap();
    let sequence = late.sequence();
    assert_eq!(late.extend(LONG), Err(AckError::Stale { sequence }));
    // A lease that may be shortened, too.
    again.extend(Duration::ZERO).unwrap();
    let third = slow.recv().unwrap();
    assert_eq!(third.delivery_count(), 3);
    assert!(again.nack().is_err());
    third.ack().unwrap();
}

fn expired_deliveries_count_towards_the_limit(backing: Backing) {
    let _watchdog = watchdog("limit", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    let options = GroupOptions::shared().ack_timeout(SHORT).max_deliveries(2);
    let group = queue.create_group("jobs", options).unwrap();
    let consumers = [
        group.consumer().unwrap(),
        group.consumer().unwrap(),
        group.consumer().unwrap(),
    ];
    queue.producer().unwrap().publish("hangs").unwrap();
    let _first = consumers[0].recv().unwrap();
    let _second = consumers[1].recv().unwrap();
    while group.dead_letters().is_empty() {
        assert_eq!(
            consumers[2].recv_timeout(SHORT).unwrap_err(),
            ClaimError::TimedOut
        );
    }
    assert_eq!(group.dead_letters()[0].deliveries, 2);
}

fn a_batch_not_opened_in_time_is_lost_uncounted(backing: Backing) {
    let _watchdog = watchdog("batch", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    let [slow, quick] = leased(queue, SHORT);
    queue
        .producer()
        .unwrap()
        .publish_batch(["a", "b", "c"])
        .unwrap();
    let mut batch = slow.recv_batch(3).unwrap();
    let a = batch.next().unwrap().unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let delivery = quick.recv().unwrap();
        seen.push((delivery.to_vec(), delivery.delivery_count()));
        delivery.ack().unwrap();
    }
    seen.sort();
    let expected = [("a", 2), ("b", 1), ("c", 1)].map(|(m, n)| (m.as_bytes().to_vec(), n));
    assert_eq!(seen, expected);
    assert!(a.ack().is_err());
    assert!(batch.next().is_none(), "nothing of it is ours any more");
    drop(batch);
    assert_eq!(jobs(queue).lag, 0);
}

fn a_late_consumer_keeps_its_copy(backing: Backing) {
    let _watchdog = watchdog("copy", MINUTE);
    let Place { queue, .. } = &queue(backing, &small());
    let [slow, quick] = leased(queue, SHORT);
    let mut producer = queue.producer().unwrap();
    let (short, long) = (vec![1; 50], vec![2; 3000]);
    producer.publish(&short).unwrap();
    producer.publish(&long).unwrap();
    let late = [slow.recv().unwrap(), slow.recv().unwrap()];
    for _ in 0..2 {
        quick.recv().unwrap().ack().unwrap();
    }
    // More than a lap, and more than the arena holds.
    for n in 0..100 {
        producer.publish(&vec![n; 3000]).unwrap();
        quick.recv().unwrap().ack().unwrap();
    }
    assert_eq!(*late[0], *short);
    assert_eq!(*late[1], *long);
}

fn without_a_lease_time_takes_nothing(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let group = queue.create_group("jobs", GroupOptions::shared()).unwrap();
    let [slow, quick] = [group.consumer().unwrap(), group.consumer().unwrap()];
    queue.producer().unwrap().publish("job").unwrap();
    let late = slow.recv().unwrap();
    assert_eq!(
        quick.recv_timeout(Duration::from_millis(200)).unwrap_err(),
        ClaimError::TimedOut
    );
    queue.sweep();
    late.extend(SHORT).unwrap();
    late.ack().unwrap();
}

fn leases_out_of_range_are_refused(backing: Backing) {
    let Place { queue, .. } = &queue(backing, &small());
    let refused = |options: GroupOptions| queue.create_group("jobs", options).unwrap_err();
    let exclusive = GroupOptions::exclusive().ack_timeout(SHORT);
    assert_eq!(refused(exclusive), GroupError::AckTimeoutOnExclusive);
    for wrong in [Duration::ZERO, Duration::from_secs(1 << 40), Duration::MAX] {
        let error = refused(GroupOptions::shared().ack_timeout(wrong)).to_string();
        assert!(
            error.contains("ack_timeout") && error.contains("from 1 to 2^40 ms"),
            "{error}"
        );
    }
    let rounded = GroupOptions::shared().ack_timeout(Duration::from_nanos(1));
    queue.create_group("jobs", rounded).unwrap();
    assert_eq!(jobs(queue).ack_timeout, Some(Duration::from_millis(1)));
}

/// Two consumers whose leases end all the time fight for messages of one shape; every payload seen is one that was
/// published, and every message is acked once.
#[test]
fn under_constant_expiry_every_payload_is_whole_and_every_message_acked_once() {
    let _watchdog = watchdog("storm", 2 * MINUTE);
    let Place { queue, .. } = &queue(Backing::Tmpfs, &small());
    let consumers = leased(queue, Duration::from_millis(1));
    const MESSAGES: usize = 3000;
    let done = &AtomicBool::new(false);
    let acked: Vec<Vec<u64>> = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut producer = queue.producer().unwrap();
            for n in 0..MESSAGES {
                let length = if n % 3 == 0 { 3000 } else { 64 };
                producer.publish(&vec![n as u8; length]).unwrap();
            }
        });
        let handles = consumers.map(|consumer| {
            scope.spawn(move || {
                let mut acked = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let Ok(delivery) = consumer.recv_timeout(Duration::from_millis(5)) else {
                        let stats = jobs(queue);
                        let all = stats.lag == 0 && queue.stats().tail == MESSAGES as u64;
                        done.fetch_or(all, Ordering::Relaxed);
                        continue;
                    };
                    let (sequence, byte) = (delivery.sequence(), delivery[0]);
                    if sequence % 64 == 0 {
                        std::thread::sleep(Duration::from_millis(3));
                    }
                    assert!(delivery.iter().all(|&found| found == byte));
                    assert_eq!(usize::from(byte), sequence as usize % 256);
                    if delivery.ack().is_ok() {
                        acked.push(sequence);
                    }
                }
                acked
            })
        });
        handles.map(|handle| handle.join().unwrap()).into()
    });
    let mut all = acked.concat();
    all.sort_unstable();
    assert_eq!(all, (0..MESSAGES as u64).collect::<Vec<_>>());
}
