//! What a caller may do: every handler gets its repository through `extract`, and `extract` asks here. Where no `auth` is
//! configured, everything is allowed and nothing is looked at.

use actix_web::HttpRequest;

use super::{
    audit,
    door::{self, Caller},
    errors::Refusal,
    extract,
};
use crate::{
    access::{Access, Action, Principal},
    oci::{Domain, Repository, RepositoryName},
};

/// Whether the caller may do this, or the answer that says no: 401 to a stranger, who may turn out to be somebody, and 403 to a
/// user.
pub(super) fn permit(request: &HttpRequest, repository: &Repository, action: Action) -> Result<(), Refusal> {
    let Some((access, caller)) = asked(request) else { return Ok(()) };
    let decision = access.rules.decide(&caller.who, action, repository);
    let allowed = decision.allowed;
    audit::note(request, &caller.who, action, repository, decision);
    match caller.who {
        _ if allowed => Ok(()),
        Principal::Anonymous => Err(Refusal::unauthorized(door::challenge(access))),
        Principal::User(user) => Err(Refusal::forbidden(&user, action, repository)),
    }
}

/// The same as a question, for what goes on in another way where the answer is no.
pub(super) fn may(request: &HttpRequest, repository: &Repository, action: Action) -> bool {
    asked(request).is_none_or(|(access, caller)| access.rules.decide(&caller.who, action, repository).allowed)
}

/// Whether the caller may do this in whatever repository there is.
pub(super) fn may_everywhere(request: &HttpRequest, action: Action) -> bool {
    asked(request).is_none_or(|(access, caller)| access.rules.allow_everywhere(&caller.who, action))
}

/// Which of a registry's repositories a list may show the caller; all, where it is `None`.
pub(super) fn shown(request: &HttpRequest, home: Option<Domain>) -> Option<impl Fn(&RepositoryName) -> bool> {
    let (access, caller) = asked(request)?;
    Some(move |name: &RepositoryName| {
        let repository = Repository { domain: home.clone(), name: name.clone() };
        access.rules.decide(&caller.who, Action::Pull, &repository).allowed
    })
}

/// The rules and who is asking, where there are rules.
fn asked(request: &HttpRequest) -> Option<(&Access, Caller)> {
    Some((extract::settings(request).access.as_deref()?, extract::caller(request)))
}
