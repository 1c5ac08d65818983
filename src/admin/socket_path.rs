//! Where the socket is: in the data directory, under a path that may be longer than a socket's address takes.

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

const NAME: &str = "entrepot.sock";
/// `sun_path`, less the zero that ends it.
const LONGEST: usize = 107;
const BACKLOG: i32 = 16;

/// An address that is valid for as long as this lives.
struct Address {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

/// Where the socket of a data directory is.
pub(super) fn path(root: &Path) -> PathBuf {
    root.join(NAME)
}

fn address(root: &Path) -> io::Result<Address> {
    let path = path(root);
    if path.as_os_str().len() <= LONGEST {
        return Ok(Address { path, _folder: None });
    }
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(NAME);
    Ok(Address { path, _folder: Some(folder) })
}

/// Listens in a data directory whose lock the caller holds: what lies there from before is nobody's.
pub(super) fn listen(root: &Path) -> io::Result<UnixListener> {
    let address = address(root)?;
    match std::fs::remove_file(&address.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before it is bound: there is no moment at which others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(&address.path)?)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connects to the server that has a data directory.
///
/// # Errors
/// When there is none, or it may not be asked by this user.
pub fn connect(root: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&address(root)?.path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_path_may_be_longer_than_an_address() {
        let dir = tempfile::TempDir::new().unwrap();
        let long = dir.path().join("long".repeat(40));
        std::fs::create_dir(&long).unwrap();
        for root in [dir.path(), &long] {
            assert!(connect(root).is_err());
            let first = listen(root).unwrap();
            drop(first);
            assert_eq!(connect(root).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            let _second = listen(root).unwrap();
            assert!(connect(root).is_ok(), "what a killed process left is replaced");
            assert_eq!(std::fs::metadata(path(root)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
