//! Opens and connects to the admin socket, `entrepot.sock` in the data directory. If its path is too long for a socket
//! address, it is addressed through `/proc/self/fd`.

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::lanes::Blocking;

const FILE_NAME: &str = "entrepot.sock";
/// The length of `sun_path` without the terminating zero.
const MAX_PATH_BYTES: usize = 107;
const BACKLOG: i32 = 16;

/// A socket address that is valid until dropped.
struct Address {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

/// Returns the socket's path in a data directory.
pub(super) fn path(root: &Path) -> PathBuf {
    root.join(FILE_NAME)
}

fn address(_io: &Blocking, root: &Path) -> io::Result<Address> {
    let path = path(root);
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return Ok(Address { path, _folder: None });
    }
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(FILE_NAME);
    Ok(Address { path, _folder: Some(folder) })
}

/// Listens in a data directory whose lock the caller holds; therefore an existing socket is stale.
pub(super) fn listen(io: &Blocking, root: &Path) -> io::Result<UnixListener> {
    let address = address(io, root)?;
    match remove(io, &address.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before the bind, so that no other user can connect in between.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(&address.path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Removes a socket's file.
pub(super) fn remove(_io: &Blocking, path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// Connects to the server that uses a data directory.
///
/// # Errors
/// An I/O error if there is no server, or this user may not connect.
pub fn connect(io: &Blocking, root: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&address(io, root)?.path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_path_may_be_longer_than_an_address() {
        let io = Blocking::in_test();
        let dir = tempfile::TempDir::new().unwrap();
        let long = dir.path().join("long".repeat(40));
        std::fs::create_dir(&long).unwrap();
        for root in [dir.path(), &long] {
            assert!(connect(io, root).is_err());
            let first = listen(io, root).unwrap();
            drop(first);
            assert_eq!(connect(io, root).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            let _second = listen(io, root).unwrap();
            assert!(connect(io, root).is_ok(), "what a killed process left is replaced");
            assert_eq!(std::fs::metadata(path(root)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
