//! The `auth` section: authentication and access rules.

use std::{fs, path::PathBuf, time::Duration};

use super::keys::SILLY;
use super::{
    Error, Setting, Warning,
    access::{self, AccessRule, Group},
    dump::{self, Line},
    duration, key,
    lookup::suggest,
    node::{Node, Value},
    used_keys::{
        AUTH, AUTH_ACCESS, AUTH_GROUPS, AUTH_TOKENLIFETIME, HTPASSWD_PATH, HTPASSWD_REALM, TOKEN_ALGORITHMS,
        TOKEN_AUTOREDIRECT, TOKEN_AUTOREDIRECTPATH, TOKEN_BUNDLE, TOKEN_ISSUER, TOKEN_JWKS, TOKEN_REALM, TOKEN_SERVICE,
    },
};
use crate::lanes::Blocking;

// The reasons for which a section is refused.
const NO_USERS: &str = "says nothing that lets users in, and must not be passed over; expected auth.htpasswd with realm and \
    path, or no auth section (remove it only if a firewall or a reverse proxy keeps strangers out)";
const SERVICE: &str = "needs realm, service and issuer, and rootcertbundle or jwks";
const DECIDED: &str = "cannot stand beside auth.token, whose service decides who may do what; expected one of them";
/// The path at which tutorials mount the htpasswd file.
const CUSTOMARY: &str = "/auth/htpasswd";

/// The method of authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// None: every client has access.
    Open,
    /// Every request is refused: `path` is a directory instead of a htpasswd file, as in the configurations that Debian
    /// and distribution ship. The response is 401 with `WWW-Authenticate: Basic` and this realm.
    Locked {
        /// `auth.htpasswd.realm`, fit for a quoted string once `"` and `\` are escaped.
        realm: String,
        /// `auth.htpasswd.path`, a directory.
        path: PathBuf,
    },
    /// Users of a htpasswd file.
    Users(UsersConfig),
    /// Bearer tokens of an external token service.
    Token(TokenService),
}

/// A htpasswd file, and the rights of its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersConfig {
    /// `auth.htpasswd.realm`, as [`Auth::Locked`] has it.
    pub realm: String,
    /// `auth.htpasswd.path`: the file, which may be missing.
    pub path: PathBuf,
    /// `auth.access`. Without it every user may do everything, and anonymous clients nothing.
    pub access: Option<Vec<AccessRule>>,
    /// `auth.groups`.
    pub groups: Vec<Group>,
    /// `auth.tokenlifetime`: the lifetime of the tokens that Entrepot issues.
    pub token_lifetime: Duration,
}

/// An external token service: `auth.token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenService {
    /// `realm`: the URL from which clients get a token.
    pub realm: String,
    /// `service`: the service that clients request a token for; a token's `aud` must contain it.
    pub service: String,
    /// `issuer`: a token's `iss` must be equal to it.
    pub issuer: String,
    /// `rootcertbundle`: certificates that the signing keys must chain to.
    pub rootcertbundle: Option<PathBuf>,
    /// `jwks`: the signing keys.
    pub jwks: Option<PathBuf>,
    /// `signingalgorithms`: the accepted algorithms; empty: all that are supported.
    pub signingalgorithms: Vec<String>,
    /// `autoredirect`: true if the service is at a path of this server's host, under the name the client used.
    pub autoredirect: bool,
    /// `autoredirectpath`: that path.
    pub autoredirectpath: String,
}

impl Auth {
    /// # Errors
    /// [`Error::Refused`] or [`Error::Value`] for anything in the section that is not understood: ignoring it could
    /// grant access.
    pub(super) fn read(io: &Blocking, root: &Node, warnings: &mut Vec<Warning>) -> Result<Setting<Self>, Error> {
        let Some(node) = root.get(AUTH.path).filter(|node| !node.is_empty()) else {
            return Ok(Setting::default(&AUTH, Self::Open));
        };
        let kind = kind(node)?;
        let auth = match kind {
            "htpasswd" => Self::htpasswd(io, root, node)?,
            "token" => Self::Token(TokenService::read(root, node)?),
            _ => return Err(refused(node, "auth.silly", SILLY)),
        };
        if let Self::Locked { .. } = auth {
            let text = "auth.htpasswd.path is a directory, not a file of users: no user can log in, and every request is \
                        answered 401; remove the auth section to let everyone in who can reach this server";
            warnings.push(Warning::new(&root.get(HTPASSWD_PATH.path).unwrap_or(node).origin, text));
        }
        if let Self::Users(UsersConfig { token_lifetime, .. }) = &auth
            && *token_lifetime < DEFAULT_CLIENT_LIFETIME
        {
            let text = "auth.tokenlifetime is short: clients take a token to live for a minute at least";
            warnings.push(Warning::new(&root.get(AUTH_TOKENLIFETIME.path).unwrap_or(node).origin, text));
        }
        Ok(Setting::new(&AUTH, auth, kind, node.origin.clone()))
    }

    fn htpasswd(io: &Blocking, root: &Node, node: &Node) -> Result<Self, Error> {
        let section = root.get("auth.htpasswd").unwrap_or(node);
        only(section, "auth.htpasswd", &["realm", "path"])?;
        let (realm, path) = (root.text(&HTPASSWD_REALM)?, root.text(&HTPASSWD_PATH)?);
        let (Some((realm, origin)), Some((path, _))) = (realm, path) else {
            return Err(incomplete(io, section, realm.is_none(), path.is_none()));
        };
        if realm.contains(char::is_control) {
            return Err(Error::value(&HTPASSWD_REALM, origin, realm, "text on one line"));
        }
        let (realm, path) = (realm.to_owned(), PathBuf::from(path));
        let groups = access::groups(root)?;
        let access = access::rules(root, &groups)?;
        // Other faults of the file are reported when it is read.
        if fs::metadata(&path).is_ok_and(|found| found.is_dir()) {
            return Ok(Self::Locked { realm, path });
        }
        let token_lifetime = *Setting::read(root, &AUTH_TOKENLIFETIME, lifetime)?;
        Ok(Self::Users(UsersConfig { realm, path, access, groups, token_lifetime }))
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        match self {
            Self::Open => Vec::new(),
            Self::Locked { realm, path } => {
                vec![Line::of(&HTPASSWD_REALM, realm), Line::of(&HTPASSWD_PATH, path.to_string_lossy())]
            }
            Self::Users(users) => users.lines(),
            Self::Token(service) => service.lines(),
        }
    }
}

impl UsersConfig {
    fn lines(&self) -> Vec<Line> {
        let mut lines = vec![
            Line::of(&HTPASSWD_REALM, &self.realm),
            Line::of(&HTPASSWD_PATH, self.path.to_string_lossy()),
            Line::yaml(&AUTH_GROUPS, access::written_groups(&self.groups)),
            Line::of(&AUTH_TOKENLIFETIME, duration::write(self.token_lifetime)),
        ];
        lines.extend(self.access.as_ref().map(|rules| Line::yaml(&AUTH_ACCESS, access::written_rules(rules))));
        lines
    }
}

impl TokenService {
    fn read(root: &Node, node: &Node) -> Result<Self, Error> {
        let section = root.get("auth.token").unwrap_or(node);
        let names = ["realm", "service", "issuer", "rootcertbundle", "jwks", "signingalgorithms"];
        only(section, "auth.token", &[&names[..], &["autoredirect", "autoredirectpath"]].concat())?;
        if let Some(rules) = [&AUTH_ACCESS, &AUTH_GROUPS].into_iter().find_map(|key| root.get(key.path)) {
            return Err(refused(rules, AUTH_ACCESS.path, DECIDED));
        }
        let text = |key| Setting::read_optional(root, key, |text| Some(text.to_owned())).map(Setting::into_value);
        let path = |key| text(key).map(|path| path.map(PathBuf::from));
        let (rootcertbundle, jwks) = (path(&TOKEN_BUNDLE)?, path(&TOKEN_JWKS)?);
        let named = (text(&TOKEN_REALM)?, text(&TOKEN_SERVICE)?, text(&TOKEN_ISSUER)?);
        let (Some(realm), Some(service), Some(issuer)) = named else {
            return Err(refused(section, "auth.token", SERVICE));
        };
        if rootcertbundle.is_none() && jwks.is_none()
            || [&realm, &service].iter().any(|text| text.contains(char::is_control))
        {
            return Err(refused(section, "auth.token", SERVICE));
        }
        Ok(Self {
            realm,
            service,
            issuer,
            rootcertbundle,
            jwks,
            signingalgorithms: Setting::read_list(root, &TOKEN_ALGORITHMS, |text| Ok::<_, &str>(text.to_owned()))?
                .into_value(),
            autoredirect: *Setting::read(root, &TOKEN_AUTOREDIRECT, key::flag)?,
            autoredirectpath: Setting::read(root, &TOKEN_AUTOREDIRECTPATH, absolute)?.into_value(),
        })
    }

    fn lines(&self) -> Vec<Line> {
        let path = |key, path: &Option<PathBuf>| path.as_deref().map(|path| Line::of(key, path.to_string_lossy()));
        let mut lines = vec![
            Line::of(&TOKEN_REALM, &self.realm),
            Line::of(&TOKEN_SERVICE, &self.service),
            Line::of(&TOKEN_ISSUER, &self.issuer),
        ];
        lines.extend(path(&TOKEN_BUNDLE, &self.rootcertbundle));
        lines.extend(path(&TOKEN_JWKS, &self.jwks));
        lines.extend([
            Line::yaml(&TOKEN_ALGORITHMS, dump::list(&self.signingalgorithms)),
            Line::of(&TOKEN_AUTOREDIRECT, self.autoredirect.to_string()),
            Line::of(&TOKEN_AUTOREDIRECTPATH, &self.autoredirectpath),
        ]);
        lines
    }
}

/// The lifetime that clients assume for a token without `expires_in` (distribution's token specification).
const DEFAULT_CLIENT_LIFETIME: Duration = Duration::from_secs(60);

/// Reads a token's lifetime. The shortest one still covers a client's slow request.
fn lifetime(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|lifetime| *lifetime >= Duration::from_secs(1))
}

fn absolute(text: &str) -> Option<String> {
    (text.starts_with('/') && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// Returns the authentication method of `registry:2` that the section names: exactly one.
fn kind(node: &Node) -> Result<&str, Error> {
    only(node, AUTH.path, &["htpasswd", "token", "silly", "access", "groups", "tokenlifetime"])?;
    let Value::Map(entries) = &node.value else { return Err(refused(node, AUTH.path, NO_USERS)) };
    let mut kinds = entries
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !matches!(*name, "access" | "groups" | "tokenlifetime"));
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Ok(kind),
        _ => Err(refused(node, AUTH.path, NO_USERS)),
    }
}

/// Fails if the section has a key that is not in `names`.
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

/// Names the missing keys and the variables for them, and a htpasswd file at the customary path.
fn incomplete(_io: &Blocking, section: &Node, realm: bool, path: bool) -> Error {
    let missing = [(realm, &HTPASSWD_REALM), (path, &HTPASSWD_PATH)].into_iter().filter(|(missing, _)| *missing);
    let names: Vec<_> = missing
        .map(|(_, key)| format!("{} (REGISTRY_{})", key.path, key.path.to_uppercase().replace('.', "_")))
        .collect();
    let seen = match path && fs::metadata(CUSTOMARY).is_ok_and(|found| found.is_file()) {
        true => format!("; there is a file {CUSTOMARY}: is that the path?"),
        false => format!(", as in {{realm: Registry, path: {CUSTOMARY}}}"),
    };
    let problem = format!("auth.htpasswd needs both a realm and a path; missing: {}{seen}", names.join(" and "));
    Error::Form { origin: section.origin.clone(), problem }
}

fn refused(node: &Node, key: &str, why: &'static str) -> Error {
    Error::Refused { origin: node.origin.clone(), key: key.to_owned(), why }
}
