//! How operations are drawn: simple ones first, since that is where shrinking goes.

use proptest::prelude::*;
use slipring::{FullPolicy, Timestamps};

use super::act::{Call, Kind, Op, Publish, Receive, Settle, What};

/// A queue to run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub capacity: u64,
    pub policy: FullPolicy,
    pub slot_size: u64,
    pub timestamps: Timestamps,
    /// The first sequence, in laps.
    pub lap: u64,
    /// Two segments of arena, rather than one for each message.
    pub tight: bool,
    pub default_group: bool,
    /// The exclusive group `g1`, with a limit of 2.
    pub log: bool,
}

impl Setup {
    pub const MAX_MESSAGE: usize = 5000;
    pub const MAX_GROUPS: u32 = 3;
    pub const MAX_PARTICIPANTS: u32 = 3;
    const SEGMENT: u64 = 8192;

    pub fn base(&self) -> u64 {
        self.lap * self.capacity
    }

    pub fn inline(&self) -> usize {
        self.slot_size as usize - 32
    }

    pub fn arena(&self) -> u64 {
        Self::SEGMENT * if self.tight { 2 } else { 40 }
    }
}

pub fn setup() -> impl Strategy<Value = Setup> {
    let policy = prop_oneof![
        2 => Just(FullPolicy::Reject), 2 => Just(FullPolicy::Block), 1 => Just(FullPolicy::DropOldest),
    ];
    let capacity = prop_oneof![Just(2u64), Just(4), Just(8)];
    let lap = prop_oneof![3 => Just(0u64), 1 => Just((1 << 40) - 2), 1 => Just((1 << 48) - 2)];
    let slot_size = prop_oneof![Just(128u64), Just(64)];
    let timestamps = prop_oneof![
        Just(Timestamps::Off),
        Just(Timestamps::Coarse),
        Just(Timestamps::Precise)
    ];
    let rest = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.8),
        any::<bool>(),
    );
    (capacity, policy, slot_size, timestamps, lap, rest).prop_map(
        |(capacity, policy, slot_size, timestamps, lap, (tight, default_group, log))| Setup {
            capacity,
            policy,
            slot_size,
            timestamps,
            lap,
            tight: tight && policy != FullPolicy::DropOldest,
            default_group,
            log: log && policy != FullPolicy::DropOldest,
        },
    )
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..40usize, 1 => Just(96), 1 => 97..3000usize, 1 => Just(5000), 1 => Just(5001)]
}

fn publish() -> impl Strategy<Value = What> {
    use Publish::{Commit, DropReservation, LeakLoan, Loan, Timed, Try, TryCommit, Wait};
    let how = prop_oneof![
        8 => Just(Try), 3 => Just(Wait), 1 => Just(Timed), 1 => Just(Commit), 2 => Just(TryCommit),
        2 => Just(Loan), 1 => Just(DropReservation), 1 => Just(LeakLoan),
    ];
    (how, length()).prop_map(|(how, length)| What::Publish { how, length })
}

fn receive_how() -> impl Strategy<Value = Receive> {
    prop_oneof![
        8 => Just(Receive::Try), 2 => Just(Receive::Wait), 1 => Just(Receive::Timed), 1 => Just(Receive::Iter),
    ]
}

fn receive() -> impl Strategy<Value = What> {
    (0..4u8, receive_how()).prop_map(|(consumer, how)| What::Receive { consumer, how })
}

fn several() -> impl Strategy<Value = What> {
    (
        0..4u8,
        receive_how(),
        1..5usize,
        0..5usize,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(consumer, how, max, open, leak)| What::Several {
            consumer,
            how,
            max,
            open,
            leak,
        })
}

fn settle() -> impl Strategy<Value = What> {
    use Settle::{Ack, AckUpTo, Defer, Drop, Extend, Lapse, Leak, Nack, Panic, Reject, Release};
    let how = prop_oneof![
        8 => Just(Ack), 4 => Just(Nack), 1 => Just(Release), 1 => Just(Drop), 1 => Just(Panic),
        2 => Just(Reject), 3 => Just(AckUpTo), 2 => Just(Defer), 1 => Just(Extend), 1 => Just(Lapse),
        1 => Just(Leak),
    ];
    (0..6u8, how).prop_map(|(guard, how)| What::Settle { guard, how })
}

fn kind() -> impl Strategy<Value = Kind> {
    let rare = || prop::bool::weighted(0.2);
    (any::<bool>(), rare(), 0..4u8, rare(), rare()).prop_map(
        |(exclusive, ephemeral, limit, lease, letters)| Kind {
            exclusive,
            ephemeral,
            // What is retried there is delivered once more whatever the limit: `tests/identity.rs`.
            limit: if lease { 0 } else { limit },
            lease,
            letters,
        },
    )
}

fn create() -> impl Strategy<Value = What> {
    (0..4u8, kind(), 0..12u8, prop::bool::weighted(0.3)).prop_map(|(group, kind, start, open)| {
        What::Create {
            group,
            kind,
            start,
            open,
        }
    })
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        10 => publish(),
        10 => receive(),
        12 => settle(),
        3 => (0..5usize, length()).prop_map(|(count, length)| What::Batch { count, length }),
        4 => several(),
        3 => (0..3u8, 0..4u8, any::<bool>())
            .prop_map(|(group, which, again)| What::Decide { group, which, again }),
        4 => (0..3u8).prop_map(|group| What::Join { group }),
        1 => (0..4u8).prop_map(|consumer| What::Leave { consumer }),
        3 => create(),
        1 => (0..3u8).prop_map(|group| What::Delete { group }),
        1 => prop::bool::weighted(0.5).prop_map(|sole| What::Produce { sole }),
        1 => Just(What::Stop),
        2 => Just(What::Sweep),
        3 => Just(What::Attach),
        1 => Just(What::Detach),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    (0..3u8, what()).prop_map(|(by, what)| Call { by, what })
}

/// Most operations make few accesses.
fn access() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..16u64, 2 => 0..60u64, 1 => 0..200u64]
}

fn op() -> impl Strategy<Value = Op> {
    let meanwhile = prop::collection::vec(call(), 0..5);
    prop_oneof![
        24 => call().prop_map(Op::Do),
        4 => (access(), call()).prop_map(|(at, call)| Op::Crash(at, call)),
        6 => (access(), call(), meanwhile).prop_map(|(at, call, meanwhile)| Op::Pause(at, call, meanwhile)),
        1 => Just(Op::Reopen),
        1 => Just(Op::Outage),
    ]
}

pub fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..most)
}
