//! One image of the disk: recovered, held against the ledger, and used; and recovered in spite of further power losses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use slipring::layout::{Geometry, GroupId, Offset, OwnerId};
use slipring::mem::fault;
use slipring::ring::{Effort, Observed, Publisher, Recovered, Ring, Settle, Stuck};

use crate::disk::{Disk, PAGE, PIECE, SECTOR, heap_with, watched};
use crate::world::{EXCLUSIVE, Ledger, QUEUE, Random, message_at, ring_on};

const ME: OwnerId = OwnerId(0);
const BOOT: [u8; 16] = [9; 16];
const NEXT_BOOT: [u8; 16] = [10; 16];

thread_local! {
    static SPARE: Cell<Option<Rc<Ring>>> = const { Cell::new(None) };
}

/// Recovers an image and checks it. `deeper`: the power goes again meanwhile, once after every store.
pub fn check(
    image: &[u8],
    geometry: &Geometry,
    ledger: &Ledger,
    random: &mut Random,
    deeper: bool,
) {
    if deeper {
        for (image, boot) in interrupted(image, geometry, random) {
            check_in(boot, &image, geometry, ledger);
        }
    }
    check_in(NEXT_BOOT, image, geometry, ledger);
}

/// Opens an image in this boot.
fn check_in(boot: [u8; 16], image: &[u8], geometry: &Geometry, ledger: &Ledger) {
    // One for all images of a shape: making them anew takes most of the time.
    let known = SPARE.take().filter(|spare| spare.geometry() == geometry);
    let ring = known.unwrap_or_else(|| ring_on(heap_with(image), *geometry));
    ring.mem().copy_in(Offset(0), image);
    let clean = open(&ring, boot, &Nothing).is_some_and(|found| found.clean);
    let expected = ledger.marked.filter(|_| clean);
    assert!(
        !clean || expected.is_some(),
        "a mark on the disk, while the queue is in use"
    );
    holds(&ring, ledger, expected);
    SPARE.set(Some(ring));
}

/// As an opener does it, and an attacher.
fn open(ring: &Ring, boot: [u8; 16], disk: &impl slipring::ring::Disk) -> Option<Recovered> {
    let recover = || ring.recover(&QUEUE, &boot, disk).unwrap();
    let recovered = (ring.recovered_in() != Some(Some(boot))).then(recover);
    if !ring.is_in_use() {
        ring.begin_use(disk).unwrap();
    }
    recovered
}

/// What a recovery leaves when the power goes in it, or just its process; for each of its stores. And the boot in which
/// that is found.
fn interrupted(image: &[u8], geometry: &Geometry, random: &mut Random) -> Vec<(Vec<u8>, [u8; 16])> {
    let ring = ring_on(heap_with(image), *geometry);
    let disk = Rc::new(RefCell::new(Disk::new(Rc::clone(&ring))));
    let images = Rc::new(RefCell::new(Vec::new()));
    let mut drawing = Random(random.next());
    let (looking, found) = (Rc::clone(&disk), Rc::clone(&images));
    let look = move || {
        let mut disk = looking.borrow_mut();
        if disk.look() {
            let block = [PIECE, SECTOR, PAGE][drawing.below(3)];
            let image = disk.image(block, |count| drawing.below(count)).0;
            found.borrow_mut().push((image, NEXT_BOOT));
            found.borrow_mut().push((disk.now(), BOOT));
        }
    };
    watched(look, || open(&ring, BOOT, &Recorded(disk)));
    images.take()
}

/// A disk whose versions are known.
struct Recorded(Rc<RefCell<Disk>>);

impl slipring::ring::Disk for Recorded {
    fn sync(&self) -> Result<(), u64> {
        // The recorder looks before every access.
        fault::touches();
        let mut disk = self.0.borrow_mut();
        let now = disk.time;
        disk.synced(now);
        Ok(())
    }
}

/// The promises. `next`: the next sequence, of a queue that was left in order.
fn holds(ring: &Rc<Ring>, ledger: &Ledger, next: Option<u64>) {
    let capacity = ring.geometry().capacity();
    let word = ring.join(ME).unwrap();
    for id in ring.geometry().group_ids() {
        let delivered = drain(ring, id, ledger);
        for &sequence in &ledger.durable {
            let acked = ledger.acked.contains(&(id.0, sequence));
            assert!(
                acked || delivered.contains(&sequence),
                "{sequence} was confirmed durable, and group {} has {delivered:?}",
                id.0
            );
        }
    }
    // More than a lap goes through it, and no sequence is used twice.
    let mut p = ring.publisher(ME, false);
    let mut new = BTreeSet::new();
    for _ in 0..=capacity {
        let sequence = publish(ring, &mut p);
        assert!(
            sequence >= ledger.used_until && !ledger.attempted.contains_key(&sequence),
            "sequence {sequence} again"
        );
        let first = next.filter(|_| new.is_empty());
        assert!(
            first.is_none_or(|next| next == sequence),
            "{first:?}: {sequence}"
        );
        new.insert(sequence);
        for id in ring.geometry().group_ids() {
            let ledger = Ledger::default();
            assert_eq!(
                drain_any(ring, id, &ledger, false),
                BTreeSet::from([sequence])
            );
        }
    }
    assert_eq!(new.len() as u64, capacity + 1);
    ring.leave(ME, word);
}

fn publish(ring: &Ring, p: &mut Publisher) -> u64 {
    let reserved = match ring.reserve(p) {
        Err(Stuck::Unsynced) => {
            assert_eq!(ring.try_sync(p, &Nothing), Ok(true));
            ring.reserve(p)
        }
        reserved => reserved,
    };
    let reserved = reserved.unwrap();
    ring.commit(p, reserved).unwrap();
    reserved.sequence
}

/// A disk that has everything at once.
pub struct Nothing;

impl slipring::ring::Disk for Nothing {
    fn sync(&self) -> Result<(), u64> {
        Ok(())
    }
}

fn drain(ring: &Ring, id: GroupId, ledger: &Ledger) -> BTreeSet<u64> {
    drain_any(ring, id, ledger, true)
}

/// Takes and acks all there is, which must be what the ledger knows.
fn drain_any(ring: &Ring, id: GroupId, ledger: &Ledger, known: bool) -> BTreeSet<u64> {
    let mut delivered = BTreeSet::new();
    let mut deliver = |sequence: u64| {
        if known {
            let bytes = message_at(ring, sequence);
            assert_eq!(ledger.attempted.get(&sequence), Some(&bytes), "{sequence}");
            let again = ledger.acked_durably.contains(&(id.0, sequence));
            assert!(!again, "{sequence} was acked durably");
            // As a consumer with a lease, and an observer, look at it.
            let mut copy = Vec::new();
            let seen = ring.copy_message(sequence, &mut copy);
            assert!(matches!(seen, Observed::Message(_)), "{sequence}: {seen:?}");
            assert_eq!(copy, bytes);
        }
        assert!(delivered.insert(sequence), "{sequence} twice");
    };
    if id == EXCLUSIVE {
        let mut cursor = ring.take_over(id, ME).unwrap();
        while let Some(handed) = ring.cursor_next(&mut cursor).unwrap() {
            deliver(handed.claim.sequence);
            assert!(ring.cursor_end(&mut cursor, handed, Some(Settle::Ack)));
        }
        ring.hand_over(&mut cursor);
        return delivered;
    }
    let mut c = ring.claimer(id, ME);
    while let Some(claim) = ring.claim(&mut c, true, Effort::Thorough).unwrap() {
        deliver(claim.sequence);
        assert!(ring.settle(id, ME, claim, Settle::Ack));
    }
    delivered
}
