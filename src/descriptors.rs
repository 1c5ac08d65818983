//! The limit on file descriptors, and the reserve of them for the server's own work. Clients cannot use up the reserve:
//! without it a garbage collection could open nothing.

use std::os::fd::{AsFd, AsRawFd};

use rustix::{
    io,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// The reserve is this fraction of all descriptors, within bounds.
const RESERVED_SHARE: u64 = 8;
const MIN_RESERVED: u64 = 24;
const MAX_RESERVED: u64 = 256;

/// The use that a client makes of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorUse {
    /// A client's connection.
    Connection,
    /// A file that is opened for a client. Connected clients have priority over new connections.
    File,
}

/// Raises the soft limit, often 1,024, to the hard limit.
///
/// # Errors
/// The kernel's error if it refuses.
pub fn raise_limit() -> Result<(), io::Errno> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
}

/// Returns the limit; `None` if there is none.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns whether a descriptor that was just opened for a client falls into the reserve. The kernel assigns the lowest
/// free number, so a high number means that few are left.
#[must_use]
pub fn is_kept(descriptor: &impl AsFd, used_as: DescriptorUse) -> bool {
    let number = u64::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or_default();
    limit().is_some_and(|limit| number >= first_kept(limit, used_as))
}

fn first_kept(limit: u64, used_as: DescriptorUse) -> u64 {
    let kept = (limit / RESERVED_SHARE).max(MIN_RESERVED.min(limit / 5)).min(MAX_RESERVED);
    limit - if used_as == DescriptorUse::Connection { 2 * kept } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_of_few_and_of_many() {
        let firsts = |limit| (first_kept(limit, DescriptorUse::Connection), first_kept(limit, DescriptorUse::File));
        assert_eq!(firsts(64), (40, 52));
        assert_eq!(firsts(128), (80, 104));
        assert_eq!(firsts(1024), (768, 896));
        assert_eq!(firsts(1 << 20), ((1 << 20) - 512, (1 << 20) - 256));
        assert_eq!(firsts(0), (0, 0));
    }
}
