//! Accounts at upstreams: a user name with its password, from keys, a file or a URL.

use std::path::PathBuf;

use url::Url;

use super::{
    Error, Secret, Setting,
    dump::{self, quoted},
    key::Key,
    node::{Node, Value},
};
use crate::lanes::Blocking;

/// An account at an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user name.
    pub username: String,
    /// The password or access token.
    pub password: Secret,
    /// The file that the password was read from.
    pub file: Option<PathBuf>,
}

const ACCOUNT: &str = "accounts such as {username: ci, passwordfile: /run/secrets/ci}";

/// Combines the keys of one account. A user needs a password and a password a user.
pub(super) fn single(
    io: &Blocking,
    username: &Setting<Option<String>>,
    password: Setting<Option<Secret>>,
    file: &Setting<Option<PathBuf>>,
) -> Result<Option<Account>, Error> {
    let password = with_file(io, password, file)?;
    let file = file.value().clone();
    match (username.value(), password.value()) {
        (Some(username), Some(secret)) => {
            Ok(Some(Account { username: username.clone(), password: secret.clone(), file }))
        }
        (Some(_), None) => Err(username.error(format!("{} beside it", password.key().path))),
        (None, Some(_)) => Err(password.error(format!("{} beside it", username.key().path))),
        (None, None) => Ok(None),
    }
}

/// Returns the password, read from its file if one is set.
pub(super) fn with_file(
    io: &Blocking,
    password: Setting<Option<Secret>>,
    file: &Setting<Option<PathBuf>>,
) -> Result<Setting<Option<Secret>>, Error> {
    let Some(path) = file.value() else { return Ok(password) };
    if password.is_some() {
        return Err(file.error(format!("no {} beside it", password.key().path)));
    }
    let secret = Secret::from_file(io, path).map_err(|error| file.error(error))?;
    Ok(Setting::new(password.key(), Some(secret), "", file.origin().clone()))
}

/// Reads a list of accounts.
pub(super) fn list(io: &Blocking, root: &Node, key: &'static Key) -> Result<Vec<Account>, Error> {
    let Some(node) = root.get(key.path).filter(|node| !node.is_empty()) else { return Ok(Vec::new()) };
    let Value::List(items) = &node.value else { return Err(Error::item_shape(key, node, ACCOUNT)) };
    items.iter().map(|item| entry(io, key, item)).collect()
}

fn entry(io: &Blocking, key: &'static Key, node: &Node) -> Result<Account, Error> {
    let Value::Map(entries) = &node.value else { return Err(Error::item_shape(key, node, ACCOUNT)) };
    let (mut username, mut password, mut file) = (None, None, None);
    for (name, node) in entries {
        let Value::Text(text) = &node.value else { return Err(Error::item_shape(key, node, ACCOUNT)) };
        match name.as_str() {
            "username" => username = Some(text.clone()),
            "password" => password = Some(Secret::new(text)),
            "passwordfile" => {
                let read = Secret::from_file(io, &PathBuf::from(text));
                password = Some(read.map_err(|error| Error::value(key, &node.origin, text, error))?);
                file = Some(PathBuf::from(text));
            }
            _ => return Err(Error::value(key, &node.origin, name, ACCOUNT)),
        }
    }
    match (username, password) {
        (Some(username), Some(password)) => Ok(Account { username, password, file }),
        _ => Err(Error::value(key, &node.origin, "an account without user or password", ACCOUNT)),
    }
}

/// Returns the account in a URL, percent-decoded.
pub(super) fn of_url(url: &Url) -> Option<Account> {
    let password = url.password().map(decoded).unwrap_or_default();
    let username = decoded(url.username());
    (!username.is_empty()).then(|| Account { username, password: Secret::new(password), file: None })
}

/// Returns the URL without its user.
pub(super) fn without_user(mut url: Url) -> Url {
    // The setters fail only for a URL without a host, which no upstream has.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Decodes percent-escapes; invalid ones stay as they are.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = escape(rest).unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match text {
        [b'%', high, low, rest @ ..] => Some((digit(high)? << 4 | digit(low)?, rest)),
        _ => None,
    }
}

/// The list as YAML, without the passwords.
pub(super) fn written(accounts: &[Account]) -> String {
    let secret = |account: &Account| match &account.file {
        Some(file) => ("passwordfile", quoted(&file.to_string_lossy())),
        None => ("password", "\"***\"".to_owned()),
    };
    let written = |account: &Account| dump::map([("username", quoted(&account.username)), secret(account)]);
    format!("[{}]", accounts.iter().map(written).collect::<Vec<_>>().join(", "))
}
