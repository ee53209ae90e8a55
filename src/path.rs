//! From a queue's name to its file.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use crate::error::{OpenError, OpenErrorKind};

/// The longest bare name, in bytes.
const BARE_NAME_MAX: usize = 200;

/// A bare name becomes a file in `$SLIPRING_DIR`, or else in this user's own directory; a path stays what it is.
pub fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let mut components = path.components();
    let bare = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    ) && !path.as_os_str().as_encoded_bytes().contains(&b'/');
    if !bare {
        if path.file_name().is_none() {
            let expected = "a name, or a path that ends in one";
            return Err(OpenError::new(path, OpenErrorKind::Name { expected }));
        }
        return Ok(path.to_owned());
    }
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.len() > BARE_NAME_MAX
        || bytes.iter().any(u8::is_ascii_control)
        || bytes.starts_with(b".")
    {
        let expected = "1 to 200 bytes, without control characters and not starting with a dot";
        return Err(OpenError::new(path, OpenErrorKind::Name { expected }));
    }
    Ok(directory()?.join(path))
}

/// The directory of bare names: `$SLIPRING_DIR`, or `slipring-UID` in `/dev/shm`, made with mode 0700 if need be.
///
/// # Errors
/// It cannot be made, or belongs to somebody else.
pub fn directory() -> Result<PathBuf, OpenError> {
    if let Some(directory) = std::env::var_os("SLIPRING_DIR").filter(|value| !value.is_empty()) {
        return Ok(directory.into());
    }
    let shared = Path::new("/dev/shm");
    let base = if shared.is_dir() {
        shared.to_owned()
    } else {
        std::env::temp_dir()
    };
    // SAFETY: geteuid cannot fail and touches no memory.
    let user = unsafe { libc::geteuid() };
    let directory = base.join(format!("slipring-{user}"));
    let fail = |operation, source| {
        OpenError::new(&directory, OpenErrorKind::from_io(operation, 0, source))
    };
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(fail("creating the directory", error));
        }
        _ => {}
    }
    // Anybody may have made it first, in a directory that everybody can write to.
    let found = directory
        .symlink_metadata()
        .map_err(|error| fail("reading the directory", error))?;
    let mode = found.mode() & 0o777;
    if !found.is_dir() || found.uid() != user || mode & 0o077 != 0 {
        let kind = OpenErrorKind::UnsafeDirectory {
            owner: found.uid(),
            mode,
        };
        return Err(OpenError::new(directory, kind));
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_what_it_is() {
        assert_eq!(resolve(Path::new("/a/b")).unwrap(), Path::new("/a/b"));
        assert_eq!(resolve(Path::new("./b")).unwrap(), Path::new("./b"));
        assert_eq!(resolve(Path::new("../b")).unwrap(), Path::new("../b"));
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for name in ["", ".", "..", "/", ".hidden", "a\nb", &"x".repeat(201)] {
            assert!(resolve(Path::new(name)).is_err(), "{name:?}");
        }
    }
}
