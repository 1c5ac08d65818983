//! The `storage` section.

use std::path::PathBuf;

use super::{Error, Origin, Setting, dump::Line, node::Node, table::ROOT_DIRECTORY};

/// Where bytes are kept.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `storage.filesystem.rootdirectory`: the directory that holds everything.
    pub rootdirectory: Setting<PathBuf>,
}

impl Storage {
    pub(super) fn read(root: &Node, data: Option<PathBuf>) -> Result<Self, Error> {
        let rootdirectory = match data {
            Some(path) => from_flag(path)?,
            None => Setting::read(root, &ROOT_DIRECTORY, |text| Some(PathBuf::from(text)))?,
        };
        Ok(Self { rootdirectory })
    }

    pub(super) fn lines(&self) -> [Line; 1] {
        [Line::new(&self.rootdirectory, self.rootdirectory.to_string_lossy())]
    }
}

fn from_flag(path: PathBuf) -> Result<Setting<PathBuf>, Error> {
    let written = path.to_string_lossy().into_owned();
    let setting = Setting::new(&ROOT_DIRECTORY, path, &written, Origin::Flag("--data"));
    if written.is_empty() { Err(setting.error(ROOT_DIRECTORY.kind.expected())) } else { Ok(setting) }
}
