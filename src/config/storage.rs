//! The `storage` section: the data directory, quota, eviction and upload purging.

use std::{path::PathBuf, time::Duration};

use super::{
    Error, Origin, Setting, SizeBound,
    dump::Line,
    duration, key,
    node::Node,
    size,
    used_keys::{
        DELETE_ENABLED, HEADROOM, LEASE, MAXOBJECT, MEMORY, PINNED, PURGING_AGE, PURGING_DRYRUN, PURGING_ENABLED,
        PURGING_INTERVAL, QUOTA, READONLY_ENABLED, ROOT_DIRECTORY,
    },
};
use crate::oci::NamePattern;

/// The least memory, in bytes.
const MIN_MEMORY: u64 = 16_000_000;

/// The settings of storage.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// `storage.filesystem.rootdirectory`: the data directory.
    pub rootdirectory: Setting<PathBuf>,
    /// `storage.quota`: the limit for all stored bytes.
    pub quota: Setting<Option<SizeBound>>,
    /// `storage.headroom`: the space that stays free on the filesystem.
    pub headroom: Setting<Option<SizeBound>>,
    /// `storage.maxobject`: the largest mirrored blob that is cached.
    pub maxobject: Setting<SizeBound>,
    /// `storage.pinned`: mirrored repositories whose content is never evicted.
    pub pinned: Setting<Vec<NamePattern>>,
    /// `storage.lease`: the time after a request during which content is not evicted.
    pub lease: Setting<Duration>,
    /// `storage.memory`: the bytes of memory for manifests and pages of the index.
    pub memory: Setting<u64>,
    /// `storage.delete.enabled`: clients may delete manifests, tags and blobs.
    pub delete_enabled: Setting<bool>,
    /// `storage.maintenance.readonly.enabled`: pushes and deletes are refused.
    pub readonly: Setting<bool>,
    /// `storage.maintenance.uploadpurging`.
    pub uploadpurging: UploadPurging,
}

/// The settings for removing abandoned uploads.
#[derive(Clone, Debug)]
pub struct UploadPurging {
    /// True if abandoned uploads are removed.
    pub enabled: Setting<bool>,
    /// The time without activity after which an upload is removed.
    pub age: Setting<Duration>,
    /// The time between two runs; never zero.
    pub interval: Setting<Duration>,
    /// Uploads are logged instead of removed.
    pub dryrun: Setting<bool>,
}

impl StorageConfig {
    pub(super) fn read(root: &Node, data: Option<PathBuf>) -> Result<Self, Error> {
        let rootdirectory = match data {
            Some(path) => from_flag(path)?,
            None => Setting::read(root, &ROOT_DIRECTORY, |text| Some(PathBuf::from(text)))?,
        };
        Ok(Self {
            rootdirectory,
            quota: quota(root)?,
            headroom: Setting::read_optional(root, &HEADROOM, SizeBound::parse)?,
            maxobject: Setting::read(root, &MAXOBJECT, SizeBound::parse)?,
            pinned: Setting::read_list(root, &PINNED, str::parse)?,
            lease: Setting::read(root, &LEASE, duration::parse)?,
            memory: memory(root)?,
            delete_enabled: Setting::read(root, &DELETE_ENABLED, key::flag)?,
            readonly: Setting::read(root, &READONLY_ENABLED, key::flag)?,
            uploadpurging: UploadPurging::read(root)?,
        })
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::new(&self.rootdirectory, self.rootdirectory.to_string_lossy())];
        lines.extend(self.quota.line());
        lines.extend(self.headroom.line());
        lines.extend([
            Line::new(&self.maxobject, self.maxobject.write()),
            Line::list(&self.pinned, self.pinned.iter().map(NamePattern::as_str)),
            Line::new(&self.lease, duration::write(*self.lease)),
            Line::new(&self.memory, size::write(*self.memory)),
            Line::new(&self.delete_enabled, self.delete_enabled.to_string()),
        ]);
        lines.extend(self.uploadpurging.lines());
        lines.push(Line::new(&self.readonly, self.readonly.to_string()));
        lines
    }
}

impl Setting<Option<SizeBound>> {
    fn line(&self) -> Option<Line> {
        self.value().map(|amount| Line::new(self, amount.write()))
    }
}

impl UploadPurging {
    fn read(root: &Node) -> Result<Self, Error> {
        let interval = Setting::read(root, &PURGING_INTERVAL, duration::parse)?;
        if interval.is_zero() {
            return Err(interval.error("a duration longer than that"));
        }
        Ok(Self {
            enabled: Setting::read(root, &PURGING_ENABLED, key::flag)?,
            age: Setting::read(root, &PURGING_AGE, duration::parse)?,
            interval,
            dryrun: Setting::read(root, &PURGING_DRYRUN, key::flag)?,
        })
    }

    fn lines(&self) -> [Line; 4] {
        [
            Line::new(&self.enabled, self.enabled.to_string()),
            Line::new(&self.age, duration::write(*self.age)),
            Line::new(&self.interval, duration::write(*self.interval)),
            Line::new(&self.dryrun, self.dryrun.to_string()),
        ]
    }
}

/// Reads the quota. It must not be zero: nothing could be stored.
fn quota(root: &Node) -> Result<Setting<Option<SizeBound>>, Error> {
    let quota = Setting::read_optional(root, &QUOTA, SizeBound::parse)?;
    match quota.value() {
        Some(SizeBound::Bytes(0)) => {
            Err(quota.error("a size above that, a share such as 80%, or no such key for no quota"))
        }
        _ => Ok(quota),
    }
}

fn memory(root: &Node) -> Result<Setting<u64>, Error> {
    let memory = Setting::read(root, &MEMORY, size::bytes)?;
    if *memory < MIN_MEMORY { Err(memory.error("16MB or more")) } else { Ok(memory) }
}

fn from_flag(path: PathBuf) -> Result<Setting<PathBuf>, Error> {
    let written = path.to_string_lossy().into_owned();
    let setting = Setting::new(&ROOT_DIRECTORY, path, &written, Origin::Flag("--data"));
    if written.is_empty() { Err(setting.error(ROOT_DIRECTORY.kind.expected())) } else { Ok(setting) }
}
