//! What an input says, read from its start to its end. `Unstructured` takes what it needs for ranges and choices from the other
//! end: a byte put in or left out would then change the meaning of all that follows, and good inputs would not stay good.

use libfuzzer_sys::arbitrary::{Error, Result};

/// The rest of an input.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// True if nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().ok_or(Error::NotEnoughData)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next eight.
    pub fn word(&mut self) -> Result<u64> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Error::NotEnoughData)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*first))
    }

    /// A number below `limit`: from one byte, or from two if one cannot say them all.
    pub fn below(&mut self, limit: u64) -> Result<u64> {
        let low = u64::from(self.byte()?);
        if limit <= 256 {
            return Ok(low % limit);
        }
        let high = u64::from(self.byte()?);
        Ok((high << 8 | low) * limit / (1 << 16))
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, list: &[T]) -> Result<T> {
        Ok(list[self.below(list.len() as u64)? as usize])
    }

    /// True in one of so many cases.
    pub fn once_in(&mut self, cases: u64) -> Result<bool> {
        Ok(self.below(cases)? == 0)
    }
}
