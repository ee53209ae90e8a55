//! Goal: any sequence of calls does what a simple model says.
//! Method: proptest makes sequences of operations; each runs on a queue and on the model (a list of messages, and for
//! each group a table of what became of each); every result is compared. Tiny capacities, many laps, large messages,
//! several groups that come and go. proptest prints the seed of a failure and shrinks it.

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
#[path = "model/world.rs"]
mod world;

use common::Backing;
use proptest::prelude::*;
use world::{How, Op, World};

fn op() -> impl Strategy<Value = Op> {
    let how = prop_oneof![
        6 => Just(How::Ack), 2 => Just(How::Nack), 1 => Just(How::Release),
        1 => Just(How::Drop), 1 => Just(How::AckUpTo), 1 => Just(How::Defer), 1 => Just(How::Reject),
    ];
    let length = prop_oneof![4 => 0..40usize, 1 => 97..5000usize, 1 => Just(96), 1 => Just(5001)];
    prop_oneof![
        8 => (0..2usize, length.clone()).prop_map(|(producer, length)| Op::Publish { producer, length }),
        2 => (0..2usize, 0..6usize).prop_map(|(producer, count)| Op::Batch { producer, count }),
        2 => (0..2usize, length, any::<bool>())
            .prop_map(|(producer, length, commit)| Op::Reserve { producer, length, commit }),
        8 => any::<usize>().prop_map(|consumer| Op::Claim { consumer }),
        3 => (any::<usize>(), 1..5usize, 0..5usize)
            .prop_map(|(consumer, max, open)| Op::ClaimBatch { consumer, max, open }),
        12 => (any::<usize>(), how).prop_map(|(held, how)| Op::Settle { held, how }),
        2 => (any::<usize>(), any::<usize>(), any::<bool>())
            .prop_map(|(group, which, again)| Op::Decide { group, which, again }),
        1 => (any::<bool>(), any::<u8>(), 0..4u8)
            .prop_map(|(exclusive, start, limit)| Op::AddGroup { exclusive, start, limit }),
        1 => any::<usize>().prop_map(|group| Op::DeleteGroup { group }),
        2 => any::<usize>().prop_map(|group| Op::AddConsumer { group }),
        1 => any::<usize>().prop_map(|consumer| Op::DropConsumer { consumer }),
    ]
}

fn run(backing: Backing, capacity: u64, lap: u64, ops: Vec<Op>) {
    let place = common::queue(backing, &World::options(capacity, lap));
    let mut world = World::new(place.queue.clone(), lap);
    for op in ops {
        world.run(op);
    }
}

fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 1..most)
}

fn capacity() -> impl Strategy<Value = u64> {
    prop_oneof![Just(2u64), Just(4), Just(8)]
}

fn lap() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0u64), 1 => Just((1 << 40) - 4), 1 => Just((1 << 48) - 4)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_does_what_the_model_says(
        capacity in capacity(), lap in lap(), ops in ops(200),
    ) {
        run(Backing::Heap, capacity, lap, ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_on_a_mapped_file(capacity in capacity(), lap in lap(), ops in ops(200)) {
        run(Backing::Tmpfs, capacity, lap, ops);
    }
}
