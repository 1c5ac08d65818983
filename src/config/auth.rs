//! The `auth` section: who may come in, and what they may do then.

use std::path::PathBuf;

use super::{
    Error, Setting, Warning,
    access::{self, Group, Rule},
    dump::Line,
    node::{Node, Value},
    recognise::suggest,
    used::{AUTH, AUTH_ACCESS, AUTH_GROUPS, HTPASSWD_PATH, HTPASSWD_REALM},
};

// Why a section is refused.
const NOBODY: &str = "says nothing that lets users in, and must not be passed over; expected auth.htpasswd with realm and \
    path, or no auth section (remove it only if a firewall or a reverse proxy keeps strangers out)";
pub(super) const SILLY: &str =
    "lets everybody in who says anything: it is for registry:2's own tests; expected auth.htpasswd";
pub(super) const TOKEN: &str = "is set, but this version does not know outside token services; expected auth.htpasswd";
const INCOMPLETE: &str = "needs both a realm and a path, as in {realm: Registry, path: /auth/htpasswd}";

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
    /// The users of a file.
    Users(Users),
}

/// A file of users, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    /// `auth.htpasswd.realm`, as [`Auth::Locked`] has it.
    pub realm: String,
    /// `auth.htpasswd.path`: the file, which may be missing.
    pub path: PathBuf,
    /// `auth.access`. Without it every user may do everything, and nobody else anything.
    pub access: Option<Vec<Rule>>,
    /// `auth.groups`.
    pub groups: Vec<Group>,
}

impl Auth {
    /// # Errors
    /// Anything that is not understood: it must not be passed over.
    pub(super) fn read(root: &Node, warnings: &mut Vec<Warning>) -> Result<Setting<Self>, Error> {
        let Some(node) = root.get(AUTH.path).filter(|node| !node.is_empty()) else {
            return Ok(Setting::unsaid(&AUTH, Self::Open));
        };
        let kind = kind(node)?;
        if kind != "htpasswd" {
            let why = if kind == "silly" { SILLY } else { TOKEN };
            return Err(refused(node, &format!("{}.{kind}", AUTH.path), why));
        }
        let auth = Self::htpasswd(root, node)?;
        if let Self::Locked { .. } = auth {
            let text = "auth.htpasswd.path is a directory, not a file of users: no user can log in, and every request is \
                        answered 401; remove the auth section to let everyone in who can reach this server";
            warnings.push(Warning::new(&root.get(HTPASSWD_PATH.path).unwrap_or(node).origin, text));
        }
        Ok(Setting::new(&AUTH, auth, kind, node.origin.clone()))
    }

    fn htpasswd(root: &Node, node: &Node) -> Result<Self, Error> {
        let section = root.get("auth.htpasswd").unwrap_or(node);
        only(section, "auth.htpasswd", &["realm", "path"])?;
        let (Some((realm, origin)), Some((path, _))) = (root.text(&HTPASSWD_REALM)?, root.text(&HTPASSWD_PATH)?) else {
            return Err(refused(section, "auth.htpasswd", INCOMPLETE));
        };
        if realm.contains(char::is_control) {
            return Err(Error::value(&HTPASSWD_REALM, origin, realm, "text on one line"));
        }
        let (realm, path) = (realm.to_owned(), PathBuf::from(path));
        let groups = access::groups(root)?;
        let access = access::rules(root, &groups)?;
        if path.is_dir() {
            return Ok(Self::Locked { realm, path });
        }
        Ok(Self::Users(Users { realm, path, access, groups }))
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        match self {
            Self::Open => Vec::new(),
            Self::Locked { realm, path } => {
                vec![Line::of(&HTPASSWD_REALM, realm), Line::of(&HTPASSWD_PATH, path.to_string_lossy())]
            }
            Self::Users(users) => users.lines(),
        }
    }
}

impl Users {
    fn lines(&self) -> Vec<Line> {
        let mut lines = vec![
            Line::of(&HTPASSWD_REALM, &self.realm),
            Line::of(&HTPASSWD_PATH, self.path.to_string_lossy()),
            Line::yaml(&AUTH_GROUPS, access::written_groups(&self.groups)),
        ];
        lines.extend(self.access.as_ref().map(|rules| Line::yaml(&AUTH_ACCESS, access::written_rules(rules))));
        lines
    }
}

/// Which of `registry:2`'s ways of authentication the section names: exactly one.
fn kind(node: &Node) -> Result<&str, Error> {
    only(node, AUTH.path, &["htpasswd", "token", "silly", "access", "groups"])?;
    let Value::Map(entries) = &node.value else { return Err(refused(node, AUTH.path, NOBODY)) };
    let mut kinds = entries.iter().map(|(name, _)| name.as_str()).filter(|name| !matches!(*name, "access" | "groups"));
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Ok(kind),
        _ => Err(refused(node, AUTH.path, NOBODY)),
    }
}

/// Nothing in a section but these.
fn only(node: &Node, section: &str, names: &[&str]) -> Result<(), Error> {
    let entries = match &node.value {
        Value::Map(entries) => entries,
        Value::Null => return Ok(()),
        _ => return Err(Error::section(section, node)),
    };
    match entries.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, node)) => {
            let key = format!("{section}.{name}");
            Err(Error::UnknownKey { origin: node.origin.clone(), suggestion: suggest(&key), key })
        }
    }
}

fn refused(node: &Node, key: &str, why: &'static str) -> Error {
    Error::Refused { origin: node.origin.clone(), key: key.to_owned(), why }
}
