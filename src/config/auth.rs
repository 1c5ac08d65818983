//! The `auth` section: who may come in. There are no users yet, so that everything but one case stops the start.

use std::path::PathBuf;

use super::{
    Error, Setting, Warning,
    dump::Line,
    node::{Node, Value},
    used::{AUTH, HTPASSWD_PATH, HTPASSWD_REALM},
};

/// Why a section that asks for users is refused.
pub(super) const REFUSED: &str = "is set, but this version asks nobody for a password and would let everyone in; expected \
    no auth section (remove it only if a firewall or a reverse proxy keeps strangers out)";

/// Who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Whoever can reach the server.
    Open,
    /// Nobody: there is no file of users, only a directory, as in the files that Debian and distribution ship. Every
    /// request is to be answered 401, with `WWW-Authenticate: Basic` and this realm.
    Locked {
        /// `auth.htpasswd.realm`, fit for a quoted string once `"` and `\` are escaped.
        realm: String,
        /// `auth.htpasswd.path`, a directory.
        path: PathBuf,
    },
}

impl Auth {
    /// # Errors
    /// Any section but the one that lets nobody in: what is not understood must not be passed over.
    pub(super) fn read(root: &Node, warnings: &mut Vec<Warning>) -> Result<Setting<Self>, Error> {
        let Some(node) = root.get(AUTH.path).filter(|node| !node.is_empty()) else {
            return Ok(Setting::unsaid(&AUTH, Self::Open));
        };
        let Some(locked) = Self::locked(root, node) else {
            return Err(Error::Refused { origin: node.origin.clone(), key: AUTH.path.to_owned(), why: REFUSED });
        };
        let text = "auth.htpasswd.path is a directory, not a file of users: no user can log in, and every request is \
                    answered 401; remove the auth section to let everyone in who can reach this server";
        warnings.push(Warning::new(&root.get(HTPASSWD_PATH.path).unwrap_or(node).origin, text));
        Ok(Setting::new(&AUTH, locked, "htpasswd", node.origin.clone()))
    }

    /// Nothing beside `htpasswd`, nothing in it but realm and path, and that is a directory.
    fn locked(root: &Node, node: &Node) -> Option<Self> {
        let text = |key| root.text(key).ok()?.map(|(text, _)| text.to_owned());
        let htpasswd = only(node, &["htpasswd"])?.first()?;
        only(&htpasswd.1, &["realm", "path"])?;
        let (realm, path) = (text(&HTPASSWD_REALM)?, PathBuf::from(text(&HTPASSWD_PATH)?));
        (!realm.contains(char::is_control) && path.is_dir()).then_some(Self::Locked { realm, path })
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        match self {
            Self::Open => Vec::new(),
            Self::Locked { realm, path } => {
                vec![Line::of(&HTPASSWD_REALM, realm), Line::of(&HTPASSWD_PATH, path.to_string_lossy())]
            }
        }
    }
}

/// A section's entries, if none but these are in it.
fn only<'a>(node: &'a Node, names: &[&str]) -> Option<&'a [(String, Node)]> {
    match &node.value {
        Value::Map(entries) if entries.iter().all(|(name, _)| names.contains(&name.as_str())) => Some(entries),
        _ => None,
    }
}
