//! The format of a file of users: a line each, `name:hash`, the hash bcrypt's (`htpasswd -B` of Apache's tools writes it).

use std::{collections::HashMap, fmt::Write as _};

use bcrypt::HashParts;

use super::{Error, keyed_hash};
use crate::config::Secret;

/// As `registry:2`'s own.
const COST: u32 = 10;
/// More makes a login a matter of minutes.
const MOST_COST: u32 = 18;
/// The least that bcrypt takes.
const LEAST_COST: u32 = 4;
/// bcrypt reads no further.
const LONGEST: usize = 72;

/// The users of a file.
#[derive(Debug)]
pub struct Htpasswd {
    users: HashMap<String, String>,
    /// Nobody's hashes, one of each cost up to the highest: what a password is held against that is not right, so that it takes
    /// as long whoever it is of.
    decoys: Vec<String>,
}

/// What to hold a password against.
#[derive(Debug)]
pub(super) struct PasswordCheck {
    /// The user's, where there is such a user.
    own: Option<String>,
    /// What makes up for the time that it takes less than another's.
    rest: Vec<String>,
}

impl PasswordCheck {
    /// Whether it is the user's password. No is said after as many rounds for all: 2^c for a hash of cost c, and decoys of c to
    /// the highest but one make 2^highest of them.
    pub(super) fn fits(&self, password: &Secret) -> bool {
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

/// A line that lets nobody in.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    /// Counted from 1.
    line: usize,
    /// Whose it would be, where that can be told without telling a password.
    user: Option<String>,
}

impl Flaw {
    /// What is wrong and what to do, without what stands in the line.
    fn told(&self) -> String {
        let (line, user) = (self.line, self.user.as_deref());
        let whose = user.map(|user| format!(" (user {user})")).unwrap_or_default();
        let user = user.unwrap_or("USER");
        format!(
            "line {line}{whose} has no bcrypt hash and lets nobody in: replace it by what `entrepot htpasswd {user}` prints"
        )
    }
}

impl Htpasswd {
    /// Reads a file's text, passing over the lines that let nobody in: what is wrong with those is said, a line each, without
    /// what stands in them.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let (users, flaws) = Self::read_lines(text);
        (users, flaws.iter().map(Flaw::told).collect())
    }

    fn read_lines(text: &str) -> (Self, Vec<Flaw>) {
        let (mut users, mut flaws, mut cost) = (HashMap::new(), Vec::new(), LEAST_COST);
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
        (Self { users, decoys: (LEAST_COST..=cost).map(decoy).collect() }, flaws)
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// How many are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether a user is in it.
    #[must_use]
    pub fn has(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// A user's hash.
    pub(super) fn hash_of(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(String::as_str)
    }

    /// What to hold a user's password against.
    pub(super) fn measure(&self, user: &str) -> PasswordCheck {
        let own = self.users.get(user).cloned();
        let cheaper = own.as_deref().and_then(cost_of).map(|cost| cost.saturating_sub(LEAST_COST) as usize);
        let (last, below) = self.decoys.split_last().map_or((None, &[][..]), |(last, below)| (Some(last), below));
        let rest = match cheaper {
            Some(from) => below.get(from..).unwrap_or_default().to_vec(),
            None => last.cloned().into_iter().collect(),
        };
        PasswordCheck { own, rest }
    }
}

/// The cost of a hash that can be verified.
fn cost_of(hash: &str) -> Option<u32> {
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version));
    let parts: HashParts = known.then(|| hash.parse().ok())??;
    (LEAST_COST..=MOST_COST).contains(&parts.get_cost()).then(|| parts.get_cost())
}

/// The beginning of a line that has a separator: behind it stands the password, so that before it stands none.
fn shown_user(line: &str) -> Option<String> {
    let end = line.find(|char: char| char == ':' || char.is_whitespace())?;
    let user = &line[..end];
    let plain = |char: char| char.is_alphanumeric() || ".-_@+".contains(char);
    (!user.is_empty() && user.len() <= 64 && user.chars().all(plain)).then(|| user.to_owned())
}

/// A hash of that cost which is of no password that anybody knows.
fn decoy(cost: u32) -> String {
    let bytes: [u8; 27] = keyed_hash::random_bytes().unwrap_or([7; 27]);
    let letter = |byte: &u8| char::from(b'a' + byte % 26);
    let body: String = bytes.iter().chain(&bytes).map(letter).take(51).collect();
    // The last letter of the salt and of the hash hold fewer bits than a letter can.
    let (salt, hash) = body.split_at(21);
    format!("$2b${cost:02}${salt}.{hash}.")
}

/// A line for a file of users.
pub struct NewLine {
    user: String,
    hash: String,
}

impl NewLine {
    /// For this user with this password.
    ///
    /// # Errors
    /// [`Error::Unfit`], when a file of users cannot hold them.
    pub fn new(user: &str, password: &str) -> Result<Self, Error> {
        if user.is_empty() || user.starts_with('#') || user.contains(':') || user.contains(char::is_control) {
            return Err(Error::Unfit("a user's name is not empty, has no colon, and does not begin with #"));
        }
        if user.trim() != user {
            return Err(Error::Unfit("a user's name neither begins nor ends with a space"));
        }
        if password.is_empty() || password.len() > LONGEST {
            return Err(Error::Unfit("a password has 1 to 72 bytes: bcrypt reads no more"));
        }
        let hash = bcrypt::hash(password, COST).map_err(|_| Error::NoRandom)?;
        Ok(Self { user: user.to_owned(), hash })
    }

    /// The line itself, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}:{}", self.user, self.hash)
    }

    /// A file's text with this line, in place of the user's former ones.
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

    /// Also one of those that never let anybody in.
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
    fn names_lines_that_let_nobody_in_without_their_passwords() {
        let sha = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";
        let text = format!(
            "testuser test123\nbob:plain-secret\neve:$apr1$x$plain-secret\nann:{sha}\nplain-secret\n:plain\n\u{1b}[31m x"
        );
        let (users, flaws) = Htpasswd::read_lines(&text);
        assert!(users.is_empty());
        let told: Vec<String> = flaws.iter().map(Flaw::told).collect();
        assert!(told[0].starts_with("line 1 (user testuser) has no bcrypt hash"), "{told:?}");
        assert!(told[0].contains("`entrepot htpasswd testuser`"), "{told:?}");
        assert!(told[4].starts_with("line 5 has no"), "{told:?}");
        assert_eq!(told.len(), 7);
        for secret in ["test123", "plain", "apr1", "W6ph", "\u{1b}"] {
            assert!(!told.iter().any(|line| line.contains(secret)), "{told:?}");
        }
    }

    #[test]
    fn a_wrong_password_takes_as_long_whoever_it_is_of() {
        let line = |user: &str, cost| format!("{user}:{}\n", bcrypt::hash("pw", cost).unwrap());
        let rounds = |measure: &PasswordCheck| -> u32 {
            measure.own.iter().chain(&measure.rest).map(|hash| 1 << cost_of(hash).unwrap()).sum()
        };
        for costs in [&[4][..], &[6], &[4, 7], &[5, 4, 8]] {
            let text: String = costs.iter().map(|cost| line(&format!("u{cost}"), *cost)).collect();
            let (users, _) = Htpasswd::read_lines(&text);
            let highest = costs.iter().max().unwrap();
            for cost in costs {
                let measure = users.measure(&format!("u{cost}"));
                assert!(measure.fits(&Secret::new("pw")) && !measure.fits(&Secret::new("wrong")));
                assert_eq!(rounds(&measure), 1 << highest, "{costs:?} {cost}");
            }
            let nobody = users.measure("nobody");
            assert!(!nobody.fits(&Secret::new("pw")));
            assert_eq!(rounds(&nobody), 1 << highest, "{costs:?}");
        }
    }

    #[test]
    fn costs_that_take_minutes_are_no_users() {
        let hash = bcrypt::hash("pw", 4).unwrap().replacen("$04$", "$31$", 1);
        assert!(Htpasswd::read_lines(&format!("a:{hash}")).0.is_empty());
    }

    #[test]
    fn a_new_line_is_one_that_lets_in() {
        let line = NewLine::new("ann", "secret").unwrap();
        let (users, flaws) = Htpasswd::read_lines(&line.line());
        assert!(flaws.is_empty() && users.measure("ann").fits(&Secret::new("secret")));
        let text = line.put_into("# mine\nann plain\nannie:x\nann:old\nbob:y");
        assert_eq!(text, format!("# mine\n{}\nannie:x\nbob:y\n", line.line()));
        assert_eq!(line.put_into(""), format!("{}\n", line.line()));
        for (user, password) in [("", "x"), ("a:b", "x"), ("#a", "x"), ("a\nb", "x"), (" a", "x"), ("a", "")] {
            assert!(NewLine::new(user, password).is_err(), "{user:?}");
        }
        assert!(NewLine::new("a", &"x".repeat(73)).is_err());
    }
}
