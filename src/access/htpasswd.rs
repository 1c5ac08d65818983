//! The format of the file of users: lines of `name:hash` with bcrypt hashes, as Apache's `htpasswd -B` writes them.

use std::{collections::HashMap, fmt::Write as _};

use bcrypt::HashParts;

use super::{Error, keyed_hash};
use crate::config::Secret;

/// The same as in `registry:2`.
const DEFAULT_COST: u32 = 10;
/// A higher cost would make a login take minutes.
const MAX_COST: u32 = 18;
/// The minimum of bcrypt.
const MIN_COST: u32 = 4;
/// bcrypt ignores all further bytes.
const MAX_PASSWORD_BYTES: usize = 72;

/// The users of a file.
#[derive(Debug)]
pub struct Htpasswd {
    users: HashMap<String, String>,
    /// Decoy hashes, one for each bcrypt cost up to the highest, so that an unknown user takes as long as a known one.
    decoys: Vec<String>,
}

/// The hashes to verify a password against.
#[derive(Debug)]
pub(super) struct PasswordCheck {
    /// The user's hash; `None` for an unknown user.
    own: Option<String>,
    /// Decoys that fill up the time to that of the highest cost.
    rest: Vec<String>,
}

impl PasswordCheck {
    /// Returns true if it is the user's password. A failure takes the same number of rounds for all users: a hash of
    /// cost c takes 2^c rounds, and decoys of the costs from c to the highest but one add up to 2^highest.
    pub(super) fn matches(&self, password: &Secret) -> bool {
        let holds = |hash: &String| bcrypt::verify(password.expose(), hash).unwrap_or(false);
        if self.own.as_ref().is_some_and(holds) {
            return true;
        }
        for decoy in &self.rest {
            std::hint::black_box(holds(decoy));
        }
        false
    }
}

/// A line that cannot be used.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    /// The line's number, counted from 1.
    line: usize,
    /// The user of the line, if it can be named without revealing a password.
    user: Option<String>,
}

impl Flaw {
    /// Describes the fault and the remedy, without the line's content.
    fn describe(&self) -> String {
        let (line, user) = (self.line, self.user.as_deref());
        let whose = user.map(|user| format!(" (user {user})")).unwrap_or_default();
        let user = user.unwrap_or("USER");
        format!(
            "line {line}{whose} has no bcrypt hash and lets nobody in: replace it by what `entrepot htpasswd {user}` prints"
        )
    }
}

impl Htpasswd {
    /// Parses a file's text. Unusable lines are skipped and described, without their content.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let (users, flaws) = Self::read_lines(text);
        (users, flaws.iter().map(Flaw::describe).collect())
    }

    fn read_lines(text: &str) -> (Self, Vec<Flaw>) {
        let (mut users, mut flaws, mut cost) = (HashMap::new(), Vec::new(), MIN_COST);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = line.split_once(':').and_then(|(user, hash)| Some((user, hash, cost_of(hash)?)));
            match parsed {
                Some((user, hash, own)) if !user.is_empty() => {
                    cost = cost.max(own);
                    users.insert(user.to_owned(), hash.to_owned());
                }
                _ => flaws.push(Flaw { line: number, user: shown_user(line) }),
            }
        }
        (Self { users, decoys: (MIN_COST..=cost).map(decoy).collect() }, flaws)
    }

    /// Returns true if it has no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Returns the number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Returns true if the user exists.
    #[must_use]
    pub fn has(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Returns a user's hash.
    pub(super) fn hash_of(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(String::as_str)
    }

    /// Returns the hashes to verify a user's password against.
    pub(super) fn password_check(&self, user: &str) -> PasswordCheck {
        let own = self.users.get(user).cloned();
        let cheaper = own.as_deref().and_then(cost_of).map(|cost| cost.saturating_sub(MIN_COST) as usize);
        let (last, below) = self.decoys.split_last().map_or((None, &[][..]), |(last, below)| (Some(last), below));
        let rest = match cheaper {
            Some(from) => below.get(from..).unwrap_or_default().to_vec(),
            None => last.cloned().into_iter().collect(),
        };
        PasswordCheck { own, rest }
    }
}

/// Returns the cost of a hash that can be verified.
fn cost_of(hash: &str) -> Option<u32> {
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version));
    let parts: HashParts = known.then(|| hash.parse().ok())??;
    (MIN_COST..=MAX_COST).contains(&parts.get_cost()).then(|| parts.get_cost())
}

/// Returns the text before a line's separator. The password is behind it, so this contains none.
fn shown_user(line: &str) -> Option<String> {
    let end = line.find(|char: char| char == ':' || char.is_whitespace())?;
    let user = &line[..end];
    let plain = |char: char| char.is_alphanumeric() || ".-_@+".contains(char);
    (!user.is_empty() && user.len() <= 64 && user.chars().all(plain)).then(|| user.to_owned())
}

/// Returns a hash of that cost with an unknown password.
fn decoy(cost: u32) -> String {
    let bytes: [u8; 27] = keyed_hash::random_bytes().unwrap_or([7; 27]);
    let letter = |byte: &u8| char::from(b'a' + byte % 26);
    let body: String = bytes.iter().chain(&bytes).map(letter).take(51).collect();
    // The last characters of salt and hash hold fewer bits than the others.
    let (salt, hash) = body.split_at(21);
    format!("$2b${cost:02}${salt}.{hash}.")
}

/// A new line for a file of users.
pub struct NewLine {
    user: String,
    hash: String,
}

impl NewLine {
    /// Hashes the password for this user.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a file of users cannot hold the user or the password, [`Error::NoRandom`] if the system
    /// provides no random bytes.
    pub fn new(user: &str, password: &str) -> Result<Self, Error> {
        if user.is_empty() || user.starts_with('#') || user.contains(':') || user.contains(char::is_control) {
            return Err(Error::Invalid("a user's name is not empty, has no colon, and does not begin with #"));
        }
        if user.trim() != user {
            return Err(Error::Invalid("a user's name neither begins nor ends with a space"));
        }
        if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
            return Err(Error::Invalid("a password has 1 to 72 bytes: bcrypt reads no more"));
        }
        let hash = bcrypt::hash(password, DEFAULT_COST).map_err(|_| Error::NoRandom)?;
        Ok(Self { user: user.to_owned(), hash })
    }

    /// Returns the line without its end.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}:{}", self.user, self.hash)
    }

    /// Returns a file's text with this line in place of the user's previous ones.
    #[must_use]
    pub fn put_into(&self, text: &str) -> String {
        let (mut out, mut written) = (String::new(), false);
        for line in text.lines() {
            if !self.is_line_of(line) {
                let _ = writeln!(out, "{line}");
            } else if !written {
                let _ = writeln!(out, "{}", self.line());
                written = true;
            }
        }
        if !written {
            let _ = writeln!(out, "{}", self.line());
        }
        out
    }

    /// Unusable lines of the user count too.
    fn is_line_of(&self, line: &str) -> bool {
        let rest = line.trim().strip_prefix(&self.user);
        rest.is_some_and(|rest| rest.starts_with(|char: char| char == ':' || char.is_whitespace()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apache_s_tool_writes() {
        let text = "# users\n\nann:$2y$05$KQqOVKOCKXSdQ2fUYEAzkuUnV3K6A2IP2Z.xVAMSWsULWPUPCq4U.\r\n";
        let (users, flaws) = Htpasswd::read_lines(text);
        assert!(flaws.is_empty() && users.has("ann") && !users.has("# users"), "{flaws:?}");
        assert_eq!(users.decoys.iter().map(|decoy| cost_of(decoy)).collect::<Vec<_>>(), [Some(4), Some(5)]);
    }

    #[test]
    fn describes_unusable_lines_without_their_passwords() {
        let sha = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";
        let text = format!(
            "testuser test123\nbob:plain-secret\neve:$apr1$x$plain-secret\nann:{sha}\nplain-secret\n:plain\n\u{1b}[31m x"
        );
        let (users, flaws) = Htpasswd::read_lines(&text);
        assert!(users.is_empty());
        let described: Vec<String> = flaws.iter().map(Flaw::describe).collect();
        assert!(described[0].starts_with("line 1 (user testuser) has no bcrypt hash"), "{described:?}");
        assert!(described[0].contains("`entrepot htpasswd testuser`"), "{described:?}");
        assert!(described[4].starts_with("line 5 has no"), "{described:?}");
        assert_eq!(described.len(), 7);
        for secret in ["test123", "plain", "apr1", "W6ph", "\u{1b}"] {
            assert!(!described.iter().any(|line| line.contains(secret)), "{described:?}");
        }
    }

    #[test]
    fn a_wrong_password_takes_the_same_time_for_all_users() {
        let line = |user: &str, cost| format!("{user}:{}\n", bcrypt::hash("pw", cost).unwrap());
        let rounds = |check: &PasswordCheck| -> u32 {
            check.own.iter().chain(&check.rest).map(|hash| 1 << cost_of(hash).unwrap()).sum()
        };
        for costs in [&[4][..], &[6], &[4, 7], &[5, 4, 8]] {
            let text: String = costs.iter().map(|cost| line(&format!("u{cost}"), *cost)).collect();
            let (users, _) = Htpasswd::read_lines(&text);
            let highest = costs.iter().max().unwrap();
            for cost in costs {
                let check = users.password_check(&format!("u{cost}"));
                assert!(check.matches(&Secret::new("pw")) && !check.matches(&Secret::new("wrong")));
                assert_eq!(rounds(&check), 1 << highest, "{costs:?} {cost}");
            }
            let nobody = users.password_check("nobody");
            assert!(!nobody.matches(&Secret::new("pw")));
            assert_eq!(rounds(&nobody), 1 << highest, "{costs:?}");
        }
    }

    #[test]
    fn costs_that_take_minutes_are_no_users() {
        let hash = bcrypt::hash("pw", 4).unwrap().replacen("$04$", "$31$", 1);
        assert!(Htpasswd::read_lines(&format!("a:{hash}")).0.is_empty());
    }

    #[test]
    fn a_new_line_is_usable() {
        let line = NewLine::new("ann", "secret").unwrap();
        let (users, flaws) = Htpasswd::read_lines(&line.line());
        assert!(flaws.is_empty() && users.password_check("ann").matches(&Secret::new("secret")));
        let text = line.put_into("# mine\nann plain\nannie:x\nann:old\nbob:y");
        assert_eq!(text, format!("# mine\n{}\nannie:x\nbob:y\n", line.line()));
        assert_eq!(line.put_into(""), format!("{}\n", line.line()));
        for (user, password) in [("", "x"), ("a:b", "x"), ("#a", "x"), ("a\nb", "x"), (" a", "x"), ("a", "")] {
            assert!(NewLine::new(user, password).is_err(), "{user:?}");
        }
        assert!(NewLine::new("a", &"x".repeat(73)).is_err());
    }
}
