//! Authorization: decides if the caller may perform an action on a repository. Every handler gets its repository from
//! `extract`, which calls this module. If no `auth` is configured, everything is allowed and audited as anonymous.

use actix_web::HttpRequest;

use super::{audit, challenge};
use crate::{
    access::{Access, Action, Caller, Decision, Principal, Proof, Reason, Scope},
    http::{context, endpoint::EndpointKind, errors::ApiError},
    oci::{Domain, Repository, RepositoryName},
};

/// Succeeds if the caller may perform the action. Otherwise the error is a 401 if (other) credentials may help, and a
/// 403 for a known user without the permission.
pub(in crate::http) fn permit(request: &HttpRequest, repository: &Repository, action: Action) -> Result<(), ApiError> {
    let Some((access, caller)) = rules_and_caller(request) else {
        if action != Action::Pull || context::settings(request).audit_pulls {
            let anybody = Decision { allowed: true, by: Reason::NoAccessControl };
            audit::note(request, &Caller::anonymous(), action, repository, anybody);
        }
        return Ok(());
    };
    let decision = decide(access, request, &caller, action, repository);
    audit::note(request, &caller, action, repository, decision.clone());
    match &caller.who {
        _ if decision.allowed => Ok(()),
        Principal::User(user) if !matches!(decision.by, Reason::InsufficientScope | Reason::InvalidCredentials) => {
            Err(ApiError::forbidden(user, action, repository))
        }
        _ => Err(ask_again(access, request, &caller, &Scope::for_action(&repository.name, action))),
    }
}

/// Returns the same decision without an error or an audit record, for handlers that have an alternative.
pub(in crate::http) fn may(request: &HttpRequest, repository: &Repository, action: Action) -> bool {
    rules_and_caller(request)
        .is_none_or(|(access, caller)| decide(access, request, &caller, action, repository).allowed)
}

/// Returns a filter for the repositories that the caller may manage.
pub(in crate::http) fn manageable(request: &HttpRequest) -> impl Fn(&Repository) -> bool + Send + use<> {
    let access = context::settings(request).access.clone();
    let caller = Some(context::caller(request)).filter(|caller| !is_over(request, caller));
    move |repository: &Repository| {
        access.iter().zip(&caller).any(|(access, caller)| access.decide(caller, Action::Manage, repository).allowed)
    }
}

/// Returns true if the caller may perform the action in every repository.
pub(in crate::http) fn may_everywhere(request: &HttpRequest, action: Action) -> bool {
    rules_and_caller(request).is_none_or(|(access, caller)| access.allow_everywhere(&caller, action))
}

/// Succeeds if the caller has authenticated; a valid anonymous token counts.
pub(in crate::http) fn identified(request: &HttpRequest) -> Result<(), ApiError> {
    let Some((access, caller)) = rules_and_caller(request) else { return Ok(()) };
    match caller.proof {
        Proof::Password | Proof::Token { is_over: false, .. } => Ok(()),
        _ => Err(ApiError::unauthorized(challenge::write(access, request, None, wrong_with(&caller)))),
    }
}

/// Succeeds if the caller is a user, with or without any permission.
pub(in crate::http) fn is_user(request: &HttpRequest) -> Result<(), ApiError> {
    identified(request)?;
    match rules_and_caller(request) {
        Some((access, caller)) if caller.who.name().is_none() => {
            Err(ApiError::unauthorized(challenge::write(access, request, None, None)))
        }
        _ => Ok(()),
    }
}

/// Returns a filter for the repositories that a list may show the caller; `None` shows all.
///
/// # Errors
/// An [`ApiError`] with 401 if the caller may list nothing at all.
pub(in crate::http) fn visible_repositories(
    request: &HttpRequest,
    home: Option<Domain>,
) -> Result<Option<impl Fn(&RepositoryName) -> bool>, ApiError> {
    let Some((access, caller)) = rules_and_caller(request) else { return Ok(None) };
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
        return Decision { allowed: false, by: Reason::InvalidCredentials };
    }
    access.decide(caller, action, repository)
}

/// Returns true if the caller's token has expired. An upload that began before goes on: only its client knows the
/// session's name, and most clients give up when they are challenged in the middle of an upload.
fn is_over(request: &HttpRequest, caller: &Caller) -> bool {
    matches!(caller.proof, Proof::Token { is_over: true, .. }) && !is_upload(request)
}

fn is_upload(request: &HttpRequest) -> bool {
    context::endpoint(request).is_some_and(|endpoint| endpoint.kind == EndpointKind::Upload)
}

fn ask_again(access: &Access, request: &HttpRequest, caller: &Caller, scope: &str) -> ApiError {
    ApiError::unauthorized(challenge::write(access, request, Some(scope), wrong_with(caller)))
}

/// The `error` attribute of the challenge: RFC 6750, section 3.1.
fn wrong_with(caller: &Caller) -> Option<&'static str> {
    match caller.proof {
        Proof::Invalid | Proof::Token { is_over: true, .. } => Some("invalid_token"),
        Proof::Token { .. } => Some("insufficient_scope"),
        Proof::Nothing | Proof::Password => None,
    }
}

/// Returns the access rules and the caller; `None` if no rules are configured.
fn rules_and_caller(request: &HttpRequest) -> Option<(&Access, Caller)> {
    Some((context::settings(request).access.as_deref()?, context::caller(request)))
}
