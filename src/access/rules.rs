//! Access rules: permissions by principal, action and repository. Rules only allow; everything else is denied.

use std::collections::{HashMap, HashSet};

use super::{Decision, Principal, Reason};
use crate::{
    config::{self, Group, Origin, Who},
    oci::{Action, NamePattern, Repository, RepositoryName},
};

/// The rules in effect.
#[derive(Clone, Debug)]
pub struct AccessRules(RuleSet);

#[derive(Clone, Debug)]
enum RuleSet {
    /// The only rule of `registry:2`: every authenticated user may do everything.
    Users,
    Listed(Vec<Rule>),
}

#[derive(Clone, Debug)]
struct Rule {
    anonymous: bool,
    authenticated: bool,
    users: HashSet<String>,
    may: Vec<Action>,
    place: Vec<NamePattern>,
    origin: Origin,
}

impl AccessRules {
    /// Returns the rules of a configuration; without any, users may do everything.
    #[must_use]
    pub fn new(users: &config::UsersConfig) -> Self {
        let groups: HashMap<_, _> = users.groups.iter().map(|group: &Group| (group.name.as_str(), group)).collect();
        match &users.access {
            None => Self(RuleSet::Users),
            Some(rules) => Self(RuleSet::Listed(rules.iter().map(|rule| Rule::new(rule, &groups)).collect())),
        }
    }

    /// Returns true if a rule allows anonymous clients something.
    #[must_use]
    pub fn allow_anonymous(&self) -> bool {
        matches!(&self.0, RuleSet::Listed(rules) if rules.iter().any(|rule| rule.anonymous))
    }

    /// Decides about an action.
    #[must_use]
    pub fn decide(&self, who: &Principal, action: Action, repository: &Repository) -> Decision {
        self.find(who, action, |rule| rule.place.iter().any(|pattern| pattern.matches_repository(repository)))
    }

    /// Returns true if a single rule allows this action everywhere.
    #[must_use]
    pub fn allow_everywhere(&self, who: &Principal, action: Action) -> bool {
        self.find(who, action, |rule| rule.place.iter().any(NamePattern::is_everything)).allowed
    }

    /// Returns true if this action is allowed for the repository name in at least one registry.
    #[must_use]
    pub fn allow_somewhere(&self, who: &Principal, action: Action, name: &RepositoryName) -> bool {
        self.find(who, action, |rule| rule.place.iter().any(|pattern| pattern.matches_somewhere(name))).allowed
    }

    fn find(&self, who: &Principal, action: Action, reaches: impl Fn(&Rule) -> bool) -> Decision {
        let rules = match &self.0 {
            RuleSet::Users => return Decision { allowed: who.name().is_some(), by: Reason::NoRules },
            RuleSet::Listed(rules) => rules,
        };
        let allows = |rule: &&Rule| rule.applies_to(who) && rule.may.contains(&action) && reaches(rule);
        match (1..).zip(rules).find(|(_, rule)| allows(rule)) {
            Some((number, rule)) => {
                Decision { allowed: true, by: Reason::Rule { number, origin: rule.origin.clone() } }
            }
            None => Decision { allowed: false, by: Reason::NoRuleMatches },
        }
    }
}

impl Rule {
    fn new(rule: &config::AccessRule, groups: &HashMap<&str, &Group>) -> Self {
        let mut users = HashSet::new();
        for who in &rule.who {
            match who {
                Who::User(user) => users.extend([user.clone()]),
                Who::Group(group) => {
                    users.extend(groups.get(group.as_str()).into_iter().flat_map(|group| group.users.clone()));
                }
                Who::Anonymous | Who::Authenticated => {}
            }
        }
        Self {
            anonymous: rule.who.contains(&Who::Anonymous),
            authenticated: rule.who.contains(&Who::Authenticated),
            users,
            may: rule.may.clone(),
            place: rule.place.clone(),
            origin: rule.origin.clone(),
        }
    }

    /// Returns true if the rule applies. Rules for anonymous clients also apply to users.
    fn applies_to(&self, who: &Principal) -> bool {
        self.anonymous || who.name().is_some_and(|name| self.authenticated || self.users.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rule(who: &[Who], may: &[Action], place: &[&str]) -> config::AccessRule {
        let place = place.iter().map(|pattern| pattern.parse().unwrap()).collect();
        config::AccessRule { who: who.to_vec(), may: may.to_vec(), place, origin: Origin::Default }
    }

    fn rules(access: Option<Vec<config::AccessRule>>) -> AccessRules {
        let groups = vec![Group { name: "devs".into(), users: vec!["ann".into(), "bob".into()] }];
        AccessRules::new(&config::UsersConfig {
            realm: "r".into(),
            path: "/x".into(),
            access,
            groups,
            token_lifetime: Duration::ZERO,
        })
    }

    fn own(name: &str) -> Repository {
        Repository { domain: None, name: name.parse().unwrap() }
    }

    #[test]
    fn without_rules_users_may_do_everything() {
        let rules = rules(None);
        for action in Action::ALL {
            assert!(rules.decide(&Principal::user("ann"), action, &own("a/b")).allowed);
            assert!(!rules.decide(&Principal::Anonymous, action, &own("a/b")).allowed);
        }
        assert!(!rules.allow_anonymous());
    }

    #[test]
    fn the_first_rule_that_allows_is_named() {
        let devs = Who::Group("devs".into());
        let rules = rules(Some(vec![
            rule(&[Who::Anonymous], &[Action::Pull], &["public/**"]),
            rule(&[devs], &[Action::Pull, Action::Push], &["team/*", "public/**"]),
            rule(&[Who::User("root".into())], &Action::ALL, &["**"]),
            rule(&[Who::Authenticated], &[Action::Pull], &["docker.io/**"]),
        ]));
        let (ann, eve, root) = (Principal::user("ann"), Principal::user("eve"), Principal::user("root"));
        let number = |who: &Principal, action, repository: &Repository| {
            let decision = rules.decide(who, action, repository);
            match decision.by {
                Reason::Rule { number, .. } if decision.allowed => number,
                _ => 0,
            }
        };
        let hub = Repository { domain: Some("docker.io".parse().unwrap()), name: "library/ubuntu".parse().unwrap() };
        for (who, action, repository, by) in [
            (&Principal::Anonymous, Action::Pull, own("public/a"), 1),
            (&Principal::Anonymous, Action::Push, own("public/a"), 0),
            (&Principal::Anonymous, Action::Pull, own("team/a"), 0),
            (&eve, Action::Pull, own("public/a/b"), 1),
            (&eve, Action::Pull, own("team/a"), 0),
            (&eve, Action::Pull, hub.clone(), 4),
            (&Principal::Anonymous, Action::Pull, hub, 0),
            (&ann, Action::Push, own("public/a"), 2),
            (&ann, Action::Delete, own("team/a"), 0),
            (&ann, Action::Push, own("team/a/b"), 0),
            (&root, Action::Delete, own("x"), 3),
        ] {
            assert_eq!(number(who, action, &repository), by, "{who} {action} {repository}");
        }
        assert!(rules.allow_anonymous());
        assert!(rules.allow_everywhere(&root, Action::Pull) && !rules.allow_everywhere(&ann, Action::Pull));
    }

    /// A user with the name of a group does not become that group.
    #[test]
    fn a_user_is_not_the_group_of_its_name() {
        let rules = rules(Some(vec![rule(&[Who::User("devs".into())], &[Action::Pull], &["**"])]));
        assert!(!rules.decide(&Principal::user("ann"), Action::Pull, &own("a")).allowed);
        assert!(rules.decide(&Principal::user("devs"), Action::Pull, &own("a")).allowed);
    }
}
