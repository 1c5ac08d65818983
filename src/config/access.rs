//! `auth.access` and `auth.groups`: the access rules as they are written in the configuration.

use super::{
    Error, Origin,
    dump::{self, quoted},
    node::{Node, Value},
    used_keys::{AUTH_ACCESS, AUTH_GROUPS},
};
use crate::oci::{Action, NamePattern};

/// A rule: each of `who` may do each of `may` in every repository of `place`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Its subjects.
    pub who: Vec<Who>,
    /// The actions it allows them.
    pub may: Vec<Action>,
    /// `where`: the repositories.
    pub place: Vec<NamePattern>,
    /// The line or variable that holds it.
    pub origin: Origin,
}

/// A subject of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// `anonymous`: every client, authenticated or not.
    Anonymous,
    /// `authenticated`: every user.
    Authenticated,
    /// One user.
    User(String),
    /// `group:<name>`: the users that `auth.groups` lists under it.
    Group(String),
}

/// A group: its name, and its members' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name that rules use, after `group:`.
    pub name: String,
    /// Its users.
    pub users: Vec<String>,
}

const RULE: &str = "rules such as {who: [alice, group:devs], may: [pull, push], where: [team/**]}";

impl Who {
    /// Returns `None` if no user can have this name.
    fn parse(text: &str) -> Option<Self> {
        match text {
            "anonymous" => Some(Self::Anonymous),
            "authenticated" => Some(Self::Authenticated),
            _ => match text.strip_prefix("group:") {
                Some(group) => Some(Self::Group(name(group)?)),
                None => name(text).map(Self::User),
            },
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Authenticated => "authenticated".to_owned(),
            Self::User(user) => user.clone(),
            Self::Group(group) => format!("group:{group}"),
        }
    }
}

/// The name of a user or a group. It has no colon, which ends a user's name in htpasswd.
fn name(text: &str) -> Option<String> {
    (!text.is_empty() && !text.contains([':', '\n', '\r'])).then(|| text.to_owned())
}

/// Reads the rules, if there are any; each group they name must be one of `groups`.
pub(super) fn rules(root: &Node, groups: &[Group]) -> Result<Option<Vec<AccessRule>>, Error> {
    // An empty `auth.access` must not be taken for "everybody may do everything".
    let Some(node) = root.get(AUTH_ACCESS.path) else { return Ok(None) };
    let Value::List(items) = &node.value else { return Err(Error::item_shape(&AUTH_ACCESS, node, RULE)) };
    let rules = items.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    for rule in &rules {
        let unknown = rule.who.iter().find(|who| matches!(who, Who::Group(name) if !is_among(name, groups)));
        if let Some(who) = unknown {
            return Err(Error::value(&AUTH_ACCESS, &rule.origin, &who.written(), "a group that auth.groups lists"));
        }
    }
    Ok(Some(rules))
}

fn is_among(name: &str, groups: &[Group]) -> bool {
    groups.iter().any(|group| group.name == name)
}

fn rule(node: &Node) -> Result<AccessRule, Error> {
    let Value::Map(entries) = &node.value else { return Err(Error::item_shape(&AUTH_ACCESS, node, RULE)) };
    if let Some((name, node)) = entries.iter().find(|(name, _)| !matches!(name.as_str(), "who" | "may" | "where")) {
        return Err(Error::value(&AUTH_ACCESS, &node.origin, name, RULE));
    }
    let part = |wanted: &str| {
        let part = entries.iter().find(|(name, node)| name == wanted && !node.is_blank()).map(|(_, node)| node);
        part.ok_or_else(|| {
            let (origin, key) = (node.origin.clone(), AUTH_ACCESS.path.into());
            let got = format!("a rule without {wanted}");
            Error::Value { origin, key, got, expected: RULE.to_owned() }
        })
    };
    let rule = AccessRule {
        who: each(part("who")?, |text| Who::parse(text).ok_or("a user, group:NAME, anonymous or authenticated"))?,
        may: each(part("may")?, str::parse)?,
        place: each(part("where")?, str::parse)?,
        origin: node.origin.clone(),
    };
    if rule.who.contains(&Who::Anonymous) && rule.may.contains(&Action::Manage) {
        let expected = "users, since manage lets its holder remove what is kept; anonymous clients may not have it";
        return Err(Error::value(&AUTH_ACCESS, &rule.origin, "anonymous may manage", expected));
    }
    Ok(rule)
}

fn each<T, E: std::fmt::Display>(node: &Node, parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, Error> {
    let items = node.items(&AUTH_ACCESS)?.into_iter();
    let parsed =
        items.map(|(text, origin)| parse(text).map_err(|expected| Error::value(&AUTH_ACCESS, origin, text, expected)));
    parsed.collect()
}

/// Reads the groups.
pub(super) fn groups(root: &Node) -> Result<Vec<Group>, Error> {
    let Some(node) = root.get(AUTH_GROUPS.path).filter(|node| !node.is_empty()) else { return Ok(Vec::new()) };
    let Value::Map(entries) = &node.value else { return Err(Error::shape(&AUTH_GROUPS, node)) };
    entries.iter().map(|(group, node)| members(group, node)).collect()
}

fn members(group: &str, node: &Node) -> Result<Group, Error> {
    let checked = |text: &str, origin: &Origin| {
        name(text).ok_or_else(|| Error::value(&AUTH_GROUPS, origin, text, "names of users, without a colon"))
    };
    let users = if node.is_empty() { Vec::new() } else { node.items(&AUTH_GROUPS)? };
    let users = users.into_iter().map(|(text, origin)| checked(text, origin)).collect::<Result<_, _>>()?;
    Ok(Group { name: checked(group, &node.origin)?, users })
}

/// The rules as YAML.
pub(super) fn written_rules(rules: &[AccessRule]) -> String {
    let rules = rules.iter().map(|rule| {
        dump::map([
            ("who", dump::list(rule.who.iter().map(Who::written))),
            ("may", dump::list(rule.may.iter().map(|action| action.as_str()))),
            ("where", dump::list(rule.place.iter().map(NamePattern::as_str))),
        ])
    });
    format!("[{}]", rules.collect::<Vec<_>>().join(", "))
}

/// The groups as YAML.
pub(super) fn written_groups(groups: &[Group]) -> String {
    let groups = groups.iter().map(|group| format!("{}: {}", quoted(&group.name), dump::list(&group.users)));
    format!("{{{}}}", groups.collect::<Vec<_>>().join(", "))
}
