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

/// The least time between two checks for changes.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The largest file of users accepted.
const MOST_BYTES: u64 = 64 << 20;

/// A file of users with its last valid content.
#[derive(Debug)]
pub(super) struct Users {
    path: PathBuf,
    current: RwLock<Arc<Htpasswd>>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    checked: Instant,
    file: Option<Stamp>,
}

/// A file's identity: device, inode, size, and its times of modification and change to the nanosecond.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Users {
    /// Reads the file. If it is missing, it is created with the user `docker` and a random password, which is logged
    /// once.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it cannot be read, [`Error::NotCreated`] if it is missing and cannot be created,
    /// [`Error::NoUser`] if it contains no usable line, [`Error::NoRandom`] if the system provides no random bytes.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // Other faults are found when the file is read.
        if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            create(path)?;
        }
        let stamp = stamp(path);
        let users = read(path)?;
        tracing::info!("{} users can log in", users.len());
        Ok(Self {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(users)),
            seen: Mutex::new(Seen { checked: Instant::now(), file: stamp }),
        })
    }

    /// Returns the current users. The file is checked at most once a second; an invalid file leaves the users
    /// unchanged.
    pub(super) fn current(&self) -> Arc<Htpasswd> {
        if let Some(stamp) = self.changed() {
            match read(&self.path) {
                Ok(users) => {
                    tracing::info!("{} was read again: {} users can log in", self.path.display(), users.len());
                    *self.current.write() = Arc::new(users);
                }
                Err(error) => tracing::warn!("the users stay as they were: {error}"),
            }
            self.seen.lock().file = stamp;
        }
        Arc::clone(&self.current.read())
    }

    /// Returns the file's stamp if a check is due and the file has changed.
    #[allow(clippy::option_option, reason = "a file that has gone is another than before")]
    fn changed(&self) -> Option<Option<Stamp>> {
        let mut seen = self.seen.try_lock()?;
        if seen.checked.elapsed() < CHECK_EVERY {
            return None;
        }
        seen.checked = Instant::now();
        let now = stamp(&self.path);
        (now != seen.file).then_some(now)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.size(), (file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())))
}

/// Reads a file of users, and logs a warning for each unusable line.
fn read(path: &Path) -> Result<Htpasswd, Error> {
    let (users, flaws) = Htpasswd::read(path)?;
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
    pub fn read(path: &Path) -> Result<(Self, Vec<String>), Error> {
        let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > MOST_BYTES {
            return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB")));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }
}

/// Creates the file with one user and a random password.
fn create(path: &Path) -> Result<(), Error> {
    let password = URL_SAFE_NO_PAD.encode(keyed_hash::random_bytes::<32>()?);
    let line = NewLine::new("docker", &password)?;
    write_new(path, &line.line()).map_err(|source| Error::NotCreated { path: path.to_owned(), source })?;
    tracing::warn!(
        user = "docker",
        password,
        "{} was missing and has been made: its one user is docker, and this is the only time that the password is logged",
        path.display()
    );
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a new file of its own, written once")]
fn write_new(path: &Path, line: &str) -> io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{line}")?;
    file.sync_all()
}
