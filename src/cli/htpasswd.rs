//! `entrepot htpasswd`: makes a line for the file of users.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _, stderr, stdin, stdout},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Failure, print_line};
use crate::{access::NewLine, config::Secret, lanes::Blocking};

/// The command's arguments.
#[derive(Debug, Args, PartialEq)]
pub(super) struct HtpasswdOptions {
    /// The user's name.
    #[arg(value_name = "USER")]
    pub(super) user: String,
    /// Put the line into this file, in place of the user's former one, instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

pub(super) fn run(io: &Blocking, options: HtpasswdOptions) -> Result<(), Failure> {
    let HtpasswdOptions { user, file } = options;
    let password = if stdin().is_terminal() { ask(&user) } else { read() }.map_err(Failure::failed)?;
    let line = NewLine::new(&user, password.expose()).map_err(Failure::usage)?;
    let Some(path) = file else {
        print_line(&mut stdout(), &line.line());
        return Ok(());
    };
    update(io, &path, &line).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

/// Reads the password from the first line of a pipe.
fn read() -> io::Result<Secret> {
    let mut text = String::new();
    stdin().lock().read_line(&mut text)?;
    let password = Secret::new(text.trim_end_matches(['\r', '\n']));
    drop(Secret::new(text));
    Ok(password)
}

/// Asks for the password twice, because it is not shown.
fn ask(user: &str) -> io::Result<Secret> {
    let terminal = Silent::begin()?;
    let first = prompted(&format!("Password for {user}: "))?;
    let second = prompted("The same again: ")?;
    drop(terminal);
    if first == second { Ok(first) } else { Err(io::Error::other("the two are not the same: nothing was done")) }
}

fn prompted(prompt: &str) -> io::Result<Secret> {
    write!(stderr(), "{prompt}")?;
    let password = read();
    print_line(&mut stderr(), "");
    password
}

/// Disables the terminal's echo until dropped.
struct Silent(Termios);

impl Silent {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A closed terminal needs no reset.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Replaces the file atomically, so that a server reads either the old users or the new ones.
#[expect(clippy::disallowed_methods, reason = "a new file of its own, which goes when its sync fails")]
fn update(_io: &Blocking, path: &Path, line: &NewLine) -> io::Result<()> {
    let old = match fs::read_to_string(path) {
        Ok(text) => Some((text, fs::metadata(path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let text = line.put_into(old.as_ref().map_or("", |(text, _)| text));
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| match &old {
        Some((_, metadata)) => keep_owner(&file, metadata),
        None => Ok(()),
    });
    let replaced = written.and_then(|()| file.sync_all()).and_then(|()| replace(&new, path));
    if replaced.is_err() {
        let _ = fs::remove_file(new);
    }
    replaced
}

fn keep_owner(file: &fs::File, metadata: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    // Only root can change the owner; for other users it is already right.
    let _ = std::os::unix::fs::fchown(file, Some(metadata.uid()), Some(metadata.gid()));
    file.set_permissions(fs::Permissions::from_mode(metadata.permissions().mode() & 0o7777))
}

#[expect(clippy::disallowed_methods, reason = "the operator's own file, no blob")]
fn replace(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)
}
