//! File descriptors: how many this process may have, and how many of them are kept for its own work, so that clients cannot
//! use up the last. A collection that finds none left can look at nothing.

use std::os::fd::{AsFd, AsRawFd};

use rustix::{
    io,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Of all descriptors one of so many is kept, within bounds.
const SHARE: u64 = 8;
const LEAST: u64 = 24;
const MOST: u64 = 256;

/// What a client's descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Its connection.
    Connection,
    /// A file that is opened for it. Those who are connected come before those who want to be.
    File,
}

/// Raises the limit as far as this process may: the soft limit is often 1,024.
///
/// # Errors
/// As the kernel refuses it.
pub fn raise_limit() -> Result<(), io::Errno> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
}

/// How many there may be; `None` for any number.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Whether a descriptor that was opened for a client just now is one of those that are kept. The kernel gives the lowest
/// number that is free, so that a high one tells that few are left.
#[must_use]
pub fn is_kept(descriptor: &impl AsFd, used_as: Use) -> bool {
    let number = u64::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or_default();
    limit().is_some_and(|limit| number >= first_kept(limit, used_as))
}

fn first_kept(limit: u64, used_as: Use) -> u64 {
    let kept = (limit / SHARE).max(LEAST.min(limit / 5)).min(MOST);
    limit - if used_as == Use::Connection { 2 * kept } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_of_few_and_of_many() {
        let firsts = |limit| (first_kept(limit, Use::Connection), first_kept(limit, Use::File));
        assert_eq!(firsts(64), (40, 52));
        assert_eq!(firsts(128), (80, 104));
        assert_eq!(firsts(1024), (768, 896));
        assert_eq!(firsts(1 << 20), ((1 << 20) - 512, (1 << 20) - 256));
        assert_eq!(firsts(0), (0, 0));
    }
}
