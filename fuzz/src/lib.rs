//! What the targets share: queues that can be put back as they were, words that change under the library's hands, and
//! operations that are counted while they run.

pub mod crew;
pub mod input;
pub mod scene;
pub mod scribble;
