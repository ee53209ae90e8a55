//! Accidents of real file systems.

use std::path::Path;

use anyhow::Result;

use crate::mounts::Kind;

type Test = (&'static str, Kind, fn(&Path) -> Result<()>);

pub const ALL: [Test; 0] = [];
