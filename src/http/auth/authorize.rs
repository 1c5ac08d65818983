//! What a caller may do: every handler gets its repository through `extract`, and `extract` asks here. Where no `auth` is
//! configured, everything is allowed to everybody, and written down as anybody's.

use actix_web::HttpRequest;

use super::{audit, challenge};
use crate::{
    access::{Access, Action, Caller, Decision, Principal, Proof, Reason, Scope},
    http::{context, errors::ApiError},
    oci::{Domain, Repository, RepositoryName},
};

/// Whether the caller may do this, or the answer that says no: 401 to who may turn out to be somebody, or somebody else, and 403
/// to a user who may not.
pub(in crate::http) fn permit(request: &HttpRequest, repository: &Repository, action: Action) -> Result<(), ApiError> {
    let Some((access, caller)) = asked(request) else {
        if action != Action::Pull || context::settings(request).audit_pulls {
            let anybody = Decision { allowed: true, by: Reason::Unasked };
            audit::note(request, &Caller::anonymous(), action, repository, anybody);
        }
        return Ok(());
    };
    let decision = decide(access, request, &caller, action, repository);
    audit::note(request, &caller, action, repository, decision.clone());
    match &caller.who {
        _ if decision.allowed => Ok(()),
        Principal::User(user) if !matches!(decision.by, Reason::NarrowToken | Reason::NoProof) => {
            Err(ApiError::forbidden(user, action, repository))
        }
        _ => Err(ask_again(access, request, &caller, &Scope::to_reach(&repository.name, action))),
    }
}

/// The same as a question, for what goes on in another way where the answer is no.
pub(in crate::http) fn may(request: &HttpRequest, repository: &Repository, action: Action) -> bool {
    asked(request).is_none_or(|(access, caller)| decide(access, request, &caller, action, repository).allowed)
}

/// Whether the caller may do this in whatever repository there is.
pub(in crate::http) fn may_everywhere(request: &HttpRequest, action: Action) -> bool {
    asked(request).is_none_or(|(access, caller)| access.allow_everywhere(&caller, action))
}

/// Whether the caller has said who they are, be it that they are nobody in particular.
pub(in crate::http) fn identified(request: &HttpRequest) -> Result<(), ApiError> {
    let Some((access, caller)) = asked(request) else { return Ok(()) };
    match caller.proof {
        Proof::Password | Proof::Token { is_over: false, .. } => Ok(()),
        _ => Err(ApiError::unauthorized(challenge::write(access, request, None, wrong_with(&caller)))),
    }
}

/// Whether the caller is a user, who need not be one that may do anything.
pub(in crate::http) fn is_user(request: &HttpRequest) -> Result<(), ApiError> {
    identified(request)?;
    match asked(request) {
        Some((access, caller)) if caller.who.name().is_none() => {
            Err(ApiError::unauthorized(challenge::write(access, request, None, None)))
        }
        _ => Ok(()),
    }
}

/// Which of a registry's repositories a list may show the caller; all, where it is `None`.
///
/// # Errors
/// When the caller may list nothing at all.
pub(in crate::http) fn shown(
    request: &HttpRequest,
    home: Option<Domain>,
) -> Result<Option<impl Fn(&RepositoryName) -> bool>, ApiError> {
    let Some((access, caller)) = asked(request) else { return Ok(None) };
    if is_over(request, &caller) || !access.allow_catalog(&caller) {
        return Err(ask_again(access, request, &caller, "registry:catalog:*"));
    }
    Ok(Some(move |name: &RepositoryName| {
        access.shows(&caller.who, &Repository { domain: home.clone(), name: name.clone() })
    }))
}

fn decide(
    access: &Access,
    request: &HttpRequest,
    caller: &Caller,
    action: Action,
    repository: &Repository,
) -> Decision {
    if is_over(request, caller) {
        return Decision { allowed: false, by: Reason::NoProof };
    }
    access.decide(caller, action, repository)
}

/// Whether a token's time is over. An upload that began in time goes on: its session's name is known to nobody else, and most
/// clients give up when they are asked who they are in the middle of it.
fn is_over(request: &HttpRequest, caller: &Caller) -> bool {
    matches!(caller.proof, Proof::Token { is_over: true, .. }) && request.match_info().get("session").is_none()
}

fn ask_again(access: &Access, request: &HttpRequest, caller: &Caller, scope: &str) -> ApiError {
    ApiError::unauthorized(challenge::write(access, request, Some(scope), wrong_with(caller)))
}

/// RFC 6750, section 3.1.
fn wrong_with(caller: &Caller) -> Option<&'static str> {
    match caller.proof {
        Proof::Invalid | Proof::Token { is_over: true, .. } => Some("invalid_token"),
        Proof::Token { .. } => Some("insufficient_scope"),
        Proof::Nothing | Proof::Password => None,
    }
}

/// The rules and who is asking, where there are rules.
fn asked(request: &HttpRequest) -> Option<(&Access, Caller)> {
    Some((context::settings(request).access.as_deref()?, context::caller(request)))
}
