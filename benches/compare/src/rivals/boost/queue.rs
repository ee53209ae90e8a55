//! The queue behind the C interface of `queue.cpp`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;

use anyhow::{Context, bail};

use crate::queue::{Place, Receiver, Rival, Sender};

unsafe extern "C" {
    fn compare_boost_version() -> *const c_char;
    fn compare_boost_failure() -> *const c_char;
    fn compare_boost_open(
        name: *const c_char,
        create: bool,
        depth: usize,
        size: usize,
    ) -> *mut c_void;
    fn compare_boost_send(queue: *mut c_void, message: *const c_void, size: usize) -> c_int;
    fn compare_boost_receive(
        queue: *mut c_void,
        into: *mut c_void,
        room: usize,
        size: *mut usize,
    ) -> c_int;
    fn compare_boost_close(queue: *mut c_void);
    fn compare_boost_remove(name: *const c_char);
}

/// As Boost writes it, with an underscore for a dot.
pub fn version() -> String {
    // SAFETY: takes nothing.
    let version = unsafe { compare_boost_version() };
    // SAFETY: a string literal.
    let version = unsafe { CStr::from_ptr(version) };
    version.to_string_lossy().replace('_', ".")
}

fn failure() -> String {
    // SAFETY: takes nothing; this process uses its queues from one thread.
    let failure = unsafe { compare_boost_failure() };
    // SAFETY: a string that stays until the next failure.
    let failure = unsafe { CStr::from_ptr(failure) };
    failure.to_string_lossy().into_owned()
}

pub struct Boost;

pub struct End {
    queue: NonNull<c_void>,
    /// To be removed by whoever made it; those who are attached stay so.
    made: Option<CString>,
    bytes: Vec<u8>,
}

impl End {
    fn open(place: &Place) -> anyhow::Result<Self> {
        let name = CString::new(place.name()).context("naming the queue")?;
        // SAFETY: a string with its end.
        let queue =
            unsafe { compare_boost_open(name.as_ptr(), place.creates(), place.depth, place.size) };
        let Some(queue) = NonNull::new(queue) else {
            bail!("opening the queue {}: {}", place.name(), failure());
        };
        Ok(Self {
            queue,
            made: place.creates().then_some(name),
            bytes: vec![0; place.size],
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: opened by `open`, closed only here.
        unsafe { compare_boost_close(self.queue.as_ptr()) };
        if let Some(name) = &self.made {
            // SAFETY: a string with its end.
            unsafe { compare_boost_remove(name.as_ptr()) };
        }
    }
}

impl Rival for Boost {
    type Sender = End;
    type Receiver = End;

    fn sender(place: &Place) -> anyhow::Result<End> {
        End::open(place)
    }

    fn receiver(place: &Place) -> anyhow::Result<End> {
        End::open(place)
    }
}

impl Sender for End {
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool> {
        // SAFETY: an open queue; the bytes are only read.
        let sent = unsafe {
            compare_boost_send(self.queue.as_ptr(), message.as_ptr().cast(), message.len())
        };
        if sent < 0 {
            bail!("sending: {}", failure());
        }
        Ok(sent == 1)
    }
}

impl Receiver for End {
    fn try_receive(
        &mut self,
        _most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut size = 0;
        let into = self.bytes.as_mut_ptr().cast();
        // SAFETY: an open queue; it writes no more than the length given.
        let received = unsafe {
            compare_boost_receive(self.queue.as_ptr(), into, self.bytes.len(), &raw mut size)
        };
        match received {
            0 => Ok(0),
            1 => take(&self.bytes[..size]).map(|()| 1),
            _ => bail!("receiving: {}", failure()),
        }
    }
}
