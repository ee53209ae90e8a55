//! Any sequence of calls does what the model of `tests/model.rs` says. There, proptest makes the sequences; here, coverage
//! leads the search for them.
#![no_main]

#[path = "../../tests/model/world.rs"]
mod world;

use libfuzzer_sys::arbitrary::Result;
use libfuzzer_sys::fuzz_target;
use slipring_fuzz::input::Input;
use world::{How, Op, World};

/// Calls for one input.
const MOST: usize = 300;

fuzz_target!(|data: &[u8]| {
    let mut u = Input(data);
    let _ended = run(&mut u);
});

fn run(u: &mut Input<'_>) -> Result<()> {
    let capacity = u.of(&[2, 4, 8])?;
    let lap = u.of(&[0, (1 << 40) - 4, (1 << 48) - 4])?;
    let queue = World::options(capacity, lap).in_memory().unwrap();
    let mut world = World::new(queue, lap);
    for _ in 0..MOST {
        if u.is_empty() {
            break;
        }
        world.run(op(u)?);
    }
    Ok(())
}

fn length(u: &mut Input<'_>) -> Result<usize> {
    let lengths = [
        0, 1, 8, 31, 39, 95, 96, 97, 128, 1000, 4095, 4096, 4999, 5000, 5001,
    ];
    u.of(&lengths)
}

fn op(u: &mut Input<'_>) -> Result<Op> {
    let at = usize::from(u.byte()?);
    Ok(match u.below(25)? {
        0..=5 => Op::Publish {
            producer: at % 2,
            length: length(u)?,
        },
        6 => Op::Batch {
            producer: at % 2,
            count: u.below(6)? as usize,
        },
        7 | 8 => Op::Reserve {
            producer: at % 2,
            length: length(u)?,
            commit: u.once_in(2)?,
        },
        9..=12 => Op::Claim { consumer: at },
        13 | 14 => {
            let (max, open) = (1 + u.below(4)? as usize, u.below(5)? as usize);
            Op::ClaimBatch {
                consumer: at,
                max,
                open,
            }
        }
        15..=18 => Op::Settle {
            held: at,
            how: how(u)?,
        },
        19 => Op::Decide {
            group: at,
            which: at / 16,
            again: u.once_in(2)?,
        },
        20 => Op::AddGroup {
            exclusive: u.once_in(2)?,
            start: u.byte()?,
            limit: u.below(4)? as u8,
        },
        21 => Op::DeleteGroup { group: at },
        22 | 23 => Op::AddConsumer { group: at },
        _ => Op::DropConsumer { consumer: at },
    })
}

fn how(u: &mut Input<'_>) -> Result<How> {
    let all = [
        How::Ack,
        How::Ack,
        How::Nack,
        How::Release,
        How::Drop,
        How::AckUpTo,
        How::Defer,
        How::Reject,
    ];
    u.of(&all)
}
