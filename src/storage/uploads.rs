//! Upload sessions on disk: `registry:2`'s own folders, so that a session begun under one program ends under the other.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Durability, Error, Sink, layout, publish};
use crate::oci::UploadId;

/// The sessions of one repository.
#[derive(Debug)]
pub struct Uploads {
    dir: PathBuf,
}

/// One session's folder.
#[derive(Clone, Debug)]
pub struct Upload {
    dir: PathBuf,
}

impl Uploads {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Begins a session. `started` is RFC 3339, in seconds, as `registry:2` writes it.
    ///
    /// # Errors
    /// When its files cannot be made.
    pub fn begin(&self, id: UploadId, started: &str) -> Result<Upload, Error> {
        let upload = self.named(id);
        fs::create_dir_all(&upload.dir).map_err(Error::at(&upload.dir))?;
        let begun =
            File::create_new(upload.dir.join("startedat")).and_then(|mut file| file.write_all(started.as_bytes()));
        begun.and_then(|()| File::create_new(upload.data())).map_err(Error::at(&upload.dir))?;
        Ok(upload)
    }

    /// A session that may or may not be there.
    #[must_use]
    pub fn named(&self, id: UploadId) -> Upload {
        Upload { dir: self.dir.join(id.to_string()) }
    }

    /// Every session, and when its last byte came.
    pub fn all(&self) -> impl Iterator<Item = (UploadId, SystemTime)> + '_ {
        let ids = layout::subfolders(&self.dir).filter_map(|name| name.parse().ok());
        ids.map(|id| (id, self.named(id).last_activity()))
    }
}

impl Upload {
    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// How many bytes it has received; `None` when there is no such session.
    #[must_use]
    pub fn received(&self) -> Option<u64> {
        if !self.dir.is_dir() {
            return None;
        }
        // registry:2 makes the data file with the first byte.
        Some(fs::metadata(self.data()).map_or(0, |meta| meta.len()))
    }

    /// Opens its file for writing on from `written` bytes; what lies beyond them was never counted, and goes. `None` when
    /// the session has ended.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn sink(&self, written: u64) -> Result<Option<Sink>, Error> {
        let path = self.data();
        // registry:2 makes the file with the first byte. Made in a session's middle, it would begin with a hole.
        let opened = File::options().read(true).write(true).create(written == 0).truncate(false).open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(Error::at(&path))?,
        };
        let length = file.metadata().map_err(Error::at(&path))?.len();
        if length < written {
            return Ok(None);
        }
        if length > written {
            file.set_len(written).map_err(Error::at(&path))?;
        }
        Ok(Some(Sink::new(path, file)))
    }

    /// Opens what it has received.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn read(&self) -> Result<File, Error> {
        File::open(self.data()).map_err(Error::at(&self.dir))
    }

    /// Ends the session; what it holds goes.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::at(&self.dir)(error)),
            _ => Ok(()),
        }
    }

    /// When its last byte came; its beginning, where none has.
    #[must_use]
    pub fn last_activity(&self) -> SystemTime {
        let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
        modified(&self.data()).or_else(|_| modified(&self.dir)).unwrap_or_else(|_: io::Error| SystemTime::now())
    }

    pub(super) fn publish(&self, to: &Path) -> Result<bool, Error> {
        let data = self.data();
        File::open(&data).and_then(|file| file.sync_all()).map_err(Error::at(&data))?;
        publish::rename(&data, to, Durability::Synced)
    }
}
