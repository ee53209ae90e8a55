//! Steps that the models of the data path share.

use slipring::layout::{Offset, OwnerId, SlotHeader};
use slipring::ring::{Claim, Claimer, Effort, Publisher, Settle};

use super::Model;

/// Checks a model with a bound of its own on preemptions.
pub fn preempted(most: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

impl Model {
    /// The next message, if a thorough look finds one.
    pub fn next(&self, c: &mut Claimer) -> Option<Claim> {
        self.ring.claim(c, true, Effort::Thorough).unwrap()
    }

    /// Ends a claim. False: it was lost.
    pub fn end(&self, owner: u16, claim: Claim, how: Settle) -> bool {
        self.ring.settle(self.group, OwnerId(owner), claim, how)
    }

    /// Reads a message and acks it.
    pub fn finish(&self, owner: u16, claim: Claim) -> u8 {
        let byte = self.read(claim);
        assert!(self.end(owner, claim, Settle::Ack));
        byte
    }

    /// A message of so many bytes, of which the first eight are written, by way of the arena. `None`: no room.
    pub fn publish_long(&self, p: &mut Publisher, byte: u8, length: u64) -> Option<u64> {
        let held = self.ring.hold_segment(p, length).ok()?;
        self.ring.mem().copy_in(held.bytes, &[byte; 8]);
        let sent = self.ring.reserve(p).ok().map(|reserved| {
            self.ring.use_segment(&held, reserved.sequence);
            let header = SlotHeader {
                length: u32::try_from(length).unwrap(),
                flags: SlotHeader::IN_ARENA,
                ..SlotHeader::default()
            };
            let place = held.bytes.0.to_le_bytes();
            self.ring.fill(reserved, &header, &place);
            self.ring.commit(p, reserved).unwrap();
            reserved.sequence
        });
        self.ring.open_segment(&held);
        sent
    }

    /// The first bytes of a long message: as [`Model::read`].
    pub fn read_long(&self, claim: Claim) -> u8 {
        let mut bytes = [0; 8];
        let slot = self.ring.geometry().slot(claim.sequence);
        self.ring.mem().copy_out(slot.plus(32), &mut bytes);
        let place = Offset(u64::from_le_bytes(bytes));
        self.ring.mem().copy_out(place, &mut bytes);
        assert_eq!(bytes, [bytes[0]; 8], "torn");
        bytes[0]
    }
}
