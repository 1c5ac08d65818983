//! Why a file or folder may not be used, with the command that helps where it belongs to another user than this process runs as.

use std::{fs, io, path::Path};

use rustix::process::{getegid, geteuid};

/// The system's reason why a file cannot be read, and the command that helps where it is somebody else's.
#[must_use]
pub fn explain(file: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    // What lies in a folder that may not be entered is not seen at all.
    match file.ancestors().skip(1).find(|above| fs::metadata(above).is_ok_and(|found| found.is_dir())) {
        Some(folder) if fs::metadata(file).is_err() => {
            format!("{error}; user {} may not enter {}", geteuid().as_raw(), folder.display())
        }
        _ => format!("{error}{}", chown(file, "", error)),
    }
}

/// The command that helps where a folder, with what is in it, is somebody else's; nothing where that is not the reason.
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
