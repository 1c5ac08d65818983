//! The current users: creates the file if it is missing, and reloads it if it changes.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::{Mutex, RwLock};

use super::{Error, Htpasswd, NewLine, keyed_hash};
use crate::lanes::Blocking;

/// The least time between two checks for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The largest file of users accepted.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A file of users with its last valid content.
#[derive(Debug)]
pub(super) struct Users {
    path: PathBuf,
    current: RwLock<Arc<Htpasswd>>,
    seen: Mutex<FileCheck>,
}

#[derive(Debug)]
struct FileCheck {
    checked: Instant,
    file: Option<FileIdentity>,
}

/// A file's identity: device, inode, size, and its times of modification and change to the nanosecond.
type FileIdentity = (u64, u64, u64, (i64, i64), (i64, i64));

impl Users {
    /// Reads the file. If it is missing, it is created with the user `docker` and a random password, which is logged
    /// once.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it cannot be read, [`Error::NotCreated`] if it is missing and cannot be created,
    /// [`Error::NoUser`] if it contains no usable line, [`Error::NoRandom`] if the system provides no random bytes.
    pub(super) fn open(io: &Blocking, path: &Path) -> Result<Self, Error> {
        // Other faults are found when the file is read.
        if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            create(io, path)?;
        }
        let stamp = stamp(io, path);
        let users = read(io, path)?;
        tracing::info!("{} users can log in", users.len());
        Ok(Self {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(users)),
            seen: Mutex::new(FileCheck { checked: Instant::now(), file: stamp }),
        })
    }

    /// Returns the current users.
    pub(super) fn current(&self) -> Arc<Htpasswd> {
        Arc::clone(&self.current.read())
    }

    /// Returns whether the caller is to check the file for changes: one caller a second.
    pub(super) fn is_check_due(&self) -> bool {
        let Some(mut seen) = self.seen.try_lock() else { return false };
        let is_due = seen.checked.elapsed() >= CHECK_INTERVAL;
        if is_due {
            seen.checked = Instant::now();
        }
        is_due
    }

    /// Reads the file again if it has changed. An invalid file leaves the users unchanged.
    pub(super) fn refresh(&self, io: &Blocking) {
        let mut seen = self.seen.lock();
        let now = stamp(io, &self.path);
        if now == seen.file {
            return;
        }
        match read(io, &self.path) {
            Ok(users) => {
                tracing::info!(file = %self.path.display(), users = users.len(), "users reloaded");
                *self.current.write() = Arc::new(users);
            }
            Err(error) => tracing::warn!(%error, "users not reloaded; the previous ones stay valid"),
        }
        seen.file = now;
    }
}

fn stamp(_io: &Blocking, path: &Path) -> Option<FileIdentity> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.size(), (file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())))
}

/// Reads a file of users, and logs a warning for each unusable line.
fn read(io: &Blocking, path: &Path) -> Result<Htpasswd, Error> {
    let (users, flaws) = Htpasswd::read(io, path)?;
    if users.is_empty() {
        return Err(Error::NoUser { path: path.to_owned(), flaws });
    }
    for flaw in flaws {
        tracing::warn!("{}: {flaw}", path.display());
    }
    Ok(users)
}

impl Htpasswd {
    /// Reads a file, and returns its users with a description of each faulty line.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the file cannot be read.
    pub fn read(_io: &Blocking, path: &Path) -> Result<(Self, Vec<String>), Error> {
        let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_FILE_BYTES {
            return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB")));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }
}

/// Creates the file with one user and a random password.
fn create(io: &Blocking, path: &Path) -> Result<(), Error> {
    let password = URL_SAFE_NO_PAD.encode(keyed_hash::random_bytes::<32>()?);
    let line = NewLine::new("docker", &password)?;
    write_new(io, path, &line.line()).map_err(|source| Error::NotCreated { path: path.to_owned(), source })?;
    tracing::warn!(
        user = "docker",
        password,
        "{} was missing and has been made: its one user is docker, and this is the only time that the password is logged",
        path.display()
    );
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a new file of its own, written once")]
fn write_new(_io: &Blocking, path: &Path, line: &str) -> io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{line}")?;
    file.sync_all()
}
