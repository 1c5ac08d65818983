//! Explains a permission error on a file or folder, with the `chown` command if another user owns it.

use std::{fs, io, path::Path};

use rustix::process::{getegid, geteuid};

/// Returns the system's error for an unreadable file, and the command that helps if another user owns it.
#[must_use]
pub fn explain(file: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    // A file in a folder without search permission appears to be missing, so the folders above are checked.
    match file.ancestors().skip(1).find(|above| fs::metadata(above).is_ok_and(|found| found.is_dir())) {
        Some(folder) if fs::metadata(file).is_err() => {
            format!("{error}; user {} may not enter {}", geteuid().as_raw(), folder.display())
        }
        _ => format!("{error}{}", chown(file, "", error)),
    }
}

/// Returns the command that helps if another user owns the folder and its content; empty if that is not the reason.
#[must_use]
pub fn chown_all(folder: &Path, error: &io::Error) -> String {
    chown(folder, "-R ", error)
}

fn chown(path: &Path, option: &str, error: &io::Error) -> String {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("; as root: chown {option}{user}:{group} {}", path.display()),
        _ => String::new(),
    }
}
