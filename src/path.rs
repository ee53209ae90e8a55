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
    own_directory(&base)
}

/// This user's directory in a place where anybody may make one.
fn own_directory(base: &Path) -> Result<PathBuf, OpenError> {
    // SAFETY: geteuid cannot fail and touches no memory.
    let user = unsafe { libc::geteuid() };
    let directory = base.join(format!("slipring-{user}"));
    let fail = |operation, source: std::io::Error| {
        let kind = if source.kind() == std::io::ErrorKind::NotFound {
            // No queue is missing, but the place for all of them.
            OpenErrorKind::Io { operation, source }
        } else {
            OpenErrorKind::from_io(operation, 0, source)
        };
        OpenError::new(&directory, kind)
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
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn the_directory_is_made_for_its_user_alone_and_found_again() {
        let base = tempfile::tempdir().unwrap();
        let made = own_directory(base.path()).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(own_directory(base.path()).unwrap(), made);
    }

    #[test]
    fn a_directory_that_others_can_write_to_or_that_is_none_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let place = own_directory(base.path()).unwrap();
        let refused = || {
            matches!(
                own_directory(base.path()).unwrap_err().kind(),
                OpenErrorKind::UnsafeDirectory { .. }
            )
        };
        for mode in [0o777, 0o720, 0o701] {
            std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(refused(), "{mode:o}");
        }
        std::fs::remove_dir(&place).unwrap();
        std::fs::write(&place, "").unwrap();
        assert!(refused(), "a file");
        std::fs::remove_file(&place).unwrap();
        // A link that somebody else may have put there, even to what would do.
        std::os::unix::fs::symlink(base.path(), &place).unwrap();
        assert!(refused(), "a link");
    }

    #[test]
    fn a_place_where_none_can_be_made_is_an_error_that_says_so() {
        let base = tempfile::tempdir().unwrap();
        let error = own_directory(&base.path().join("missing")).unwrap_err();
        assert!(
            error.to_string().contains("creating the directory"),
            "{error}"
        );
    }
}
