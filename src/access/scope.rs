//! Scopes and grants of tokens (distribution's token specification, "Resource scope grammar" and "Access claims").

use serde::{Deserialize, Serialize};

use crate::oci::{Action, RepositoryName};

/// The scope that a client requests a token for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `repository:<name>:<action>,<action>`
    Repository {
        /// The repository's name, as in its path.
        name: RepositoryName,
        /// The requested actions.
        actions: Vec<Action>,
    },
    /// `registry:catalog:*`: listing the repositories.
    Catalog,
}

impl Scope {
    /// Returns `None` for a scope that is never granted: another resource type, or an invalid name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        match kind {
            "registry" if (name, actions) == ("catalog", "*") => Some(Self::Catalog),
            "repository" => Some(Self::Repository { name: name.parse().ok()?, actions: parse_actions(actions) }),
            _ => None,
        }
    }

    /// Returns the scope for a challenge. The token specification requires pull together with push.
    #[must_use]
    pub fn for_action(name: &RepositoryName, action: Action) -> String {
        let actions = if action == Action::Push { "pull,push" } else { action.as_str() };
        format!("repository:{name}:{actions}")
    }
}

fn parse_actions(text: &str) -> Vec<Action> {
    if text.split(',').any(|action| action == "*") {
        return Action::ALL.to_vec();
    }
    text.split(',').filter_map(|action| action.parse().ok()).collect()
}

/// The permissions in a token: the claim `access`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(Vec<Grant>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Grants {
    /// Adds permissions for a repository.
    pub(super) fn allow(&mut self, name: &RepositoryName, actions: &[Action]) {
        let actions = actions.iter().map(ToString::to_string).collect();
        self.0.push(Grant { kind: "repository".into(), name: name.to_string(), actions });
    }

    /// Adds the permission to list.
    pub(super) fn allow_catalog(&mut self) {
        self.0.push(Grant { kind: "registry".into(), name: "catalog".into(), actions: vec!["*".into()] });
    }

    /// Returns the approximate memory use of a token with these grants, in bytes.
    pub(super) fn weight(&self) -> u32 {
        let each = |grant: &Grant| 128 + grant.name.len() + 32 * grant.actions.len();
        u32::try_from(512 + self.0.iter().map(each).sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Returns true if the grants include this action in the repository of that name.
    #[must_use]
    pub fn cover(&self, name: &RepositoryName, action: Action) -> bool {
        self.has("repository", name.as_str(), action.as_str())
    }

    /// Returns true if the grants include listing repositories.
    #[must_use]
    pub fn cover_catalog(&self) -> bool {
        self.has("registry", "catalog", "*")
    }

    fn has(&self, kind: &str, name: &str, action: &str) -> bool {
        let about = |grant: &&Grant| grant.kind == kind && grant.name == name;
        self.0.iter().filter(about).any(|grant| grant.actions.iter().any(|own| own == action || own == "*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_ask() {
        let repository = |name: &str, actions: &[Action]| {
            Some(Scope::Repository { name: name.parse().unwrap(), actions: actions.to_vec() })
        };
        for (text, wanted) in [
            ("repository:team/app:pull,push", repository("team/app", &[Action::Pull, Action::Push])),
            ("repository:app:*", repository("app", &Action::ALL)),
            ("repository:app:pull,fly", repository("app", &[Action::Pull])),
            ("repository:app:", repository("app", &[])),
            ("registry:catalog:*", Some(Scope::Catalog)),
            ("registry:catalog:pull", None),
            ("repository:App:pull", None),
            ("repository:a//b:pull", None),
            ("repository:a/../b:pull", None),
            ("repository(plugin):app:pull", None),
            ("repository:app", None),
            ("", None),
        ] {
            assert_eq!(Scope::parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_grant_covers_its_actions() {
        let (app, other) = ("team/app".parse().unwrap(), "team/app2".parse().unwrap());
        let mut grants = Grants::default();
        grants.allow(&app, &[Action::Pull]);
        assert!(grants.cover(&app, Action::Pull) && !grants.cover(&app, Action::Push));
        assert!(!grants.cover(&other, Action::Pull) && !grants.cover_catalog());
        grants.allow_catalog();
        assert!(grants.cover_catalog());
        let written = serde_json::to_string(&grants).unwrap();
        assert_eq!(
            written,
            r#"[{"type":"repository","name":"team/app","actions":["pull"]},{"type":"registry","name":"catalog","actions":["*"]}]"#
        );
        let all: Grants = serde_json::from_str(r#"[{"type":"repository","name":"team/app","actions":["*"]}]"#).unwrap();
        assert!(Action::ALL.iter().all(|action| all.cover(&app, *action)));
    }
}
