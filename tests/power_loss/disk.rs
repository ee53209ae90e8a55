//! A disk that may lose power: the versions that each piece of the file has had since the last sync, and the images that
//! can be made of them.

use std::collections::BTreeMap;
use std::rc::Rc;

use slipring::layout::Offset;
use slipring::mem::{Mem, fault};
use slipring::ring::Ring;

/// Bytes that are stable or not as one, at the least: an aligned word.
pub const PIECE: usize = 8;
/// At the most: a sector, and a page.
pub const SECTOR: usize = 512;
pub const PAGE: usize = 4096;

/// The versions of a piece since the last sync, with the time of each. The first is what the disk has for sure.
type Versions = Vec<(u64, [u8; PIECE])>;

/// What is known of the bytes of one queue.
pub struct Disk {
    ring: Rc<Ring>,
    /// The bytes as they were last looked at.
    now: Vec<u8>,
    scratch: Vec<u8>,
    dirty: BTreeMap<usize, Versions>,
    /// Stores seen so far.
    pub time: u64,
}

pub fn bytes_of(mem: &Mem, into: &mut [u8]) {
    mem.copy_out_torn(Offset(0), into);
}

pub fn heap_with(bytes: &[u8]) -> Mem {
    let mem = Mem::heap(bytes.len() as u64).unwrap();
    mem.copy_in(Offset(0), bytes);
    mem
}

impl Disk {
    /// All that the ring's memory holds now is stable.
    pub fn new(ring: Rc<Ring>) -> Self {
        let mut now = vec![0; usize::try_from(ring.geometry().file_size()).unwrap()];
        bytes_of(ring.mem(), &mut now);
        Self {
            ring,
            scratch: now.clone(),
            now,
            dirty: BTreeMap::new(),
            time: 0,
        }
    }

    /// Looks for what has been stored since the last look; true if there is something.
    pub fn look(&mut self) -> bool {
        bytes_of(self.ring.mem(), &mut self.scratch);
        if self.scratch == self.now {
            return false;
        }
        self.time += 1;
        for at in (0..self.now.len()).step_by(PIECE) {
            let (new, old) = (&self.scratch[at..at + PIECE], &self.now[at..at + PIECE]);
            if new != old {
                let versions = self.dirty.entry(at).or_default();
                if versions.is_empty() {
                    versions.push((0, old.try_into().unwrap()));
                }
                versions.push((self.time, new.try_into().unwrap()));
            }
        }
        std::mem::swap(&mut self.now, &mut self.scratch);
        true
    }

    /// A sync that began at that time has ended well: no piece is older than it was then.
    pub fn synced(&mut self, began: u64) {
        self.dirty.retain(|_, versions| {
            let stable = versions.iter().rposition(|&(time, _)| time <= began);
            versions.drain(..stable.unwrap_or(0));
            versions[0].0 = 0;
            versions.len() > 1
        });
    }

    /// How many images there are, with every piece for itself.
    pub fn images(&self) -> u128 {
        let counts = self.dirty.values().map(|versions| versions.len() as u128);
        counts.fold(1, u128::saturating_mul)
    }

    /// How many of them hold the latest store: those that earlier moments do not have.
    pub fn new_images(&self) -> u128 {
        let old = |versions: &Versions| versions.iter().filter(|(t, _)| *t < self.time).count();
        let before = self.dirty.values().map(|versions| old(versions) as u128);
        self.images() - before.fold(1, u128::saturating_mul)
    }

    /// What a kill of all processes leaves: everything.
    pub fn now(&self) -> Vec<u8> {
        self.now.clone()
    }

    /// The image in which every piece, in the order of the file, has the version that `choose` says, of so many; pieces that
    /// share a block of this size are of one moment.
    pub fn image(&self, block: usize, mut choose: impl FnMut(usize) -> usize) -> (Vec<u8>, u64) {
        let mut image = self.now.clone();
        let mut newest = 0;
        let mut last: Option<(usize, u64)> = None;
        for (&at, versions) in &self.dirty {
            let moment = match last {
                Some((known, moment)) if known == at / block => moment,
                _ => {
                    let moments = self.moments(at, block);
                    moments[choose(moments.len())]
                }
            };
            last = Some((at / block, moment));
            let chosen = versions.iter().rfind(|(time, _)| *time <= moment).unwrap();
            newest = newest.max(chosen.0);
            image[at..at + PIECE].copy_from_slice(&chosen.1);
        }
        (image, newest)
    }

    /// The moments at which a block was different.
    fn moments(&self, at: usize, block: usize) -> Vec<u64> {
        let start = at / block * block;
        let versions = self.dirty.range(start..start + block);
        let mut moments: Vec<u64> = versions.flat_map(|(_, v)| v.iter().map(|v| v.0)).collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// Every image with every piece for itself that holds the latest store.
    pub fn every_new_image(&self, mut visit: impl FnMut(Vec<u8>)) {
        let counts: Vec<usize> = self.dirty.values().map(Vec::len).collect();
        let mut chosen = vec![0; counts.len()];
        loop {
            let mut next = chosen.iter();
            let (image, newest) = self.image(PIECE, |_| *next.next().unwrap());
            if newest == self.time {
                visit(image);
            }
            let Some(at) = (0..counts.len()).find(|&at| chosen[at] + 1 < counts[at]) else {
                return;
            };
            chosen[at] += 1;
            chosen[..at].fill(0);
        }
    }
}

/// Calls `each` before every access that `work` makes on this thread.
pub fn watched<T>(mut each: impl FnMut() + 'static, work: impl FnOnce() -> T) -> T {
    fault::install(move |_| each());
    let done = work();
    fault::remove();
    done
}
