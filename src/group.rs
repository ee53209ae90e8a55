//! Groups: named readers of a queue. Every group sees every message; within a shared group each message goes to one
//! consumer.

use std::sync::Arc;

use crate::Consumer;
use crate::error::{AttachError, GroupError};
use crate::layout::geometry::group;
use crate::layout::header::FullPolicy;
use crate::layout::{EntryState, GroupId, NAME_MAX, OwnedWord};
use crate::participant::{Attachment, Futex};
use crate::ring::{OutOfReach, Ring, Start};
use crate::sync::Ordering;

/// The group a new queue has.
pub const DEFAULT_GROUP: &str = "default";

/// How a group is made.
///
/// # Examples
/// ```
/// use slipring::{GroupOptions, Start};
/// let options = GroupOptions::shared().start(Start::Earliest).ephemeral(true);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOptions {
    exclusive: bool,
    ephemeral: bool,
    start: Start,
}

impl GroupOptions {
    /// Consumers compete: each message goes to one, is settled by itself, and order is that of claims, not of endings.
    pub fn shared() -> Self {
        Self::default()
    }

    /// One consumer at a time sees all messages in strict order; others stand by and take over when it leaves or dies.
    /// The fastest kind, for broadcast and pipelines.
    pub fn exclusive() -> Self {
        Self {
            exclusive: true,
            ..Self::default()
        }
    }

    /// Where it starts; default [`Start::Latest`].
    #[must_use]
    pub fn start(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Whether it vanishes when its last consumer has gone; if none ever comes, with the process that made it.
    #[must_use]
    pub fn ephemeral(self, ephemeral: bool) -> Self {
        Self { ephemeral, ..self }
    }
}

/// A group of a queue. Holding one holds nothing: it may be deleted meanwhile.
#[derive(Clone, Debug)]
pub struct Group {
    attachment: Arc<Attachment>,
    id: GroupId,
    /// Tells it from a later group in the same entry.
    incarnation: u64,
    name: String,
}

impl Group {
    pub(crate) fn create(
        attachment: &Arc<Attachment>,
        name: &str,
        options: GroupOptions,
    ) -> Result<Self, GroupError> {
        check_name(name)?;
        if attachment.is_forked() {
            return Err(GroupError::Forked);
        }
        if options.exclusive && attachment.verified().full_policy == FullPolicy::DropOldest {
            return Err(GroupError::ExclusiveOnLossy);
        }
        attachment
            .alone(|| Self::create_alone(attachment, name, options))
            .unwrap_or(Err(GroupError::Busy))
    }

    fn create_alone(
        attachment: &Arc<Attachment>,
        name: &str,
        options: GroupOptions,
    ) -> Result<Self, GroupError> {
        let ring = attachment.ring();
        if let Some((_, state)) = find(ring, name) {
            return Err(match state.entry_state() {
                Some(EntryState::Closing) => GroupError::Closing,
                _ => GroupError::AlreadyExists,
            });
        }
        let max = ring.geometry().shape().max_groups;
        let joining = ring
            .begin_group(attachment.me())
            .ok_or(GroupError::Full { max })?;
        Self::write_name(ring, joining.id, name);
        ring.finish_group(joining, options.exclusive, options.ephemeral, options.start)
            .map_err(|OutOfReach { earliest, latest }| {
                let asked = match options.start {
                    Start::At(asked) => asked,
                    Start::Earliest | Start::Latest => latest,
                };
                GroupError::Start {
                    asked,
                    earliest,
                    latest,
                }
            })?;
        Ok(Self::at(attachment, joining.id, name.to_owned()))
    }

    pub(crate) fn write_name(ring: &Ring, id: GroupId, name: &str) {
        ring.mem()
            .copy_in(ring.geometry().group(id).plus(group::NAME), name.as_bytes());
        // ORDERING: Release; pairs with name_of's Acquire; the name's bytes.
        ring.group_word(id, group::NAME_LENGTH)
            .store(name.len() as u64, Ordering::Release);
    }

    fn at(attachment: &Arc<Attachment>, id: GroupId, name: String) -> Self {
        let incarnation = attachment.ring().group_state(id).tag();
        Self {
            attachment: Arc::clone(attachment),
            id,
            incarnation,
            name,
        }
    }

    pub(crate) fn open(attachment: &Arc<Attachment>, name: &str) -> Result<Self, GroupError> {
        if attachment.is_forked() {
            return Err(GroupError::Forked);
        }
        match find(attachment.ring(), name) {
            Some((id, state)) if state.entry_state() == Some(EntryState::Live) => {
                Ok(Self::at(attachment, id, name.to_owned()))
            }
            Some((_, state)) if state.entry_state() == Some(EntryState::Closing) => {
                Err(GroupError::Closing)
            }
            // Being made: not there yet.
            _ => Err(GroupError::NotFound),
        }
    }

    pub(crate) fn open_or_create(
        attachment: &Arc<Attachment>,
        name: &str,
        options: GroupOptions,
    ) -> Result<Self, GroupError> {
        match Self::open(attachment, name) {
            Err(GroupError::NotFound) => {}
            found => return found.and_then(|found| found.of_kind(options.exclusive)),
        }
        match Self::create(attachment, name, options) {
            // Somebody was quicker.
            Err(GroupError::AlreadyExists) => {
                Self::open(attachment, name).and_then(|found| found.of_kind(options.exclusive))
            }
            made => made,
        }
    }

    fn of_kind(self, exclusive: bool) -> Result<Self, GroupError> {
        let found = self.is_exclusive();
        if found == exclusive {
            Ok(self)
        } else {
            Err(GroupError::KindDiffers { exclusive: found })
        }
    }

    pub(crate) fn all(attachment: &Arc<Attachment>) -> Vec<Self> {
        if attachment.is_forked() {
            return Vec::new();
        }
        let ring = attachment.ring();
        ring.geometry()
            .group_ids()
            .filter(|&id| ring.group_state(id).entry_state() == Some(EntryState::Live))
            .map(|id| Self::at(attachment, id, name_of(ring, id)))
            .collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if one consumer at a time sees everything in strict order.
    pub fn is_exclusive(&self) -> bool {
        !self.attachment.is_forked() && self.attachment.ring().is_exclusive(self.id)
    }

    /// A consumer in this group. In an exclusive group it becomes the active one, or stands by.
    ///
    /// # Errors
    /// [`AttachError::GroupClosed`] if the group has been deleted.
    pub fn consumer(&self) -> Result<Consumer, AttachError> {
        if self.attachment.is_forked() {
            return Err(AttachError::Forked);
        }
        if !self.is_current() || !self.attachment.join_group(self.id) {
            return Err(AttachError::GroupClosed);
        }
        // Joined, so it cannot be freed and made anew any more.
        if !self.is_current() {
            self.attachment.leave_group(self.id);
            return Err(AttachError::GroupClosed);
        }
        Ok(Consumer::new(Arc::clone(&self.attachment), self.id))
    }

    fn is_current(&self) -> bool {
        let state = self.attachment.ring().group_state(self.id);
        state.tag() == self.incarnation && state.entry_state() == Some(EntryState::Live)
    }

    /// Deletes it: members are told at their next call, and once they have gone it holds nobody back.
    ///
    /// # Errors
    /// [`GroupError::NotFound`] if it is gone already.
    pub fn delete(self) -> Result<(), GroupError> {
        if self.attachment.is_forked() {
            return Err(GroupError::Forked);
        }
        let ring = self.attachment.ring();
        let state = ring.group_state(self.id);
        if state.tag() != self.incarnation || !ring.close_group(self.id, state) {
            return Err(GroupError::NotFound);
        }
        ring.wake_all(&Futex);
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), GroupError> {
    let good = (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if good {
        return Ok(());
    }
    Err(GroupError::Name {
        length: name.len(),
        expected: "1 to 63 bytes without control characters",
    })
}

/// The entry of that name that is in use or being deleted.
fn find(ring: &Ring, name: &str) -> Option<(GroupId, OwnedWord)> {
    ring.geometry()
        .group_ids()
        .map(|id| (id, ring.group_state(id)))
        .find(|&(id, state)| {
            matches!(
                state.entry_state(),
                Some(EntryState::Pinned | EntryState::Live | EntryState::Closing)
            ) && name_of(ring, id) == name
        })
}

/// A group's name; what is no text is shown as U+FFFD.
pub(crate) fn name_of(ring: &Ring, id: GroupId) -> String {
    // ORDERING: Acquire; pairs with write_name's Release.
    let length = ring
        .group_word(id, group::NAME_LENGTH)
        .load(Ordering::Acquire);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(NAME_MAX).min(NAME_MAX)];
    ring.mem()
        .copy_out_torn(ring.geometry().group(id).plus(group::NAME), &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
