//! What is published: bytes and a few facts about them.

use std::fmt;

use zerocopy::{Immutable, IntoBytes};

/// A message to publish. Anything that is bytes converts into one.
///
/// # Examples
/// ```
/// use slipring::Message;
/// let plain: Message<'_> = "hello".into();
/// assert_eq!(plain.payload(), b"hello");
/// let tagged = Message::new(b"order").kind(7).key(0xfeed);
/// assert_eq!(tagged.len(), 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is published"]
pub struct Message<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) kind: u16,
    pub(crate) key: u32,
    /// Of the slot header.
    pub(crate) flags: u16,
}

impl<'a> Message<'a> {
    /// A message with this payload, of kind 0.
    #[inline]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self {
            payload,
            kind: 0,
            key: 0,
            flags: 0,
        }
    }

    /// A message whose payload is a plain value: an integer, an array, a `repr(C)` struct that derives zerocopy's
    /// `IntoBytes`. [`Delivery::value`](crate::Delivery::value) reads it back.
    #[inline]
    pub fn value<T: IntoBytes + Immutable + ?Sized>(value: &'a T) -> Self {
        Self::new(value.as_bytes())
    }

    /// Tags it with a number of the user's choosing, to tell types of messages apart.
    pub const fn kind(self, kind: u16) -> Self {
        Self { kind, ..self }
    }

    /// Tags it with the hash of a key of the user's choosing.
    pub const fn key(self, key: u32) -> Self {
        Self { key, ..self }
    }

    /// The bytes.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.payload.len()
    }

    /// True if there are none.
    pub const fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    #[inline]
    fn from(payload: &'a [u8]) -> Self {
        Self::new(payload)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    #[inline]
    fn from(payload: &'a [u8; N]) -> Self {
        Self::new(payload)
    }
}

impl<'a> From<&'a str> for Message<'a> {
    #[inline]
    fn from(payload: &'a str) -> Self {
        Self::new(payload.as_bytes())
    }
}

impl<'a> From<&'a String> for Message<'a> {
    #[inline]
    fn from(payload: &'a String) -> Self {
        Self::new(payload.as_bytes())
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    #[inline]
    fn from(payload: &'a Vec<u8>) -> Self {
        Self::new(payload)
    }
}

/// A payload that is not the type it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// Bytes of the type.
    pub expected: usize,
    /// Bytes of the payload.
    pub found: usize,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.expected == self.found {
            return f.write_str("the payload's bytes are no valid value of the type");
        }
        write!(
            f,
            "payload of {} bytes, the type has {}",
            self.found, self.expected
        )
    }
}

impl std::error::Error for ValueError {}
