//! The audit log: for each event the user, the action, the repository, the client's address, and the rule that decided.
//! It writes one line an event to the log target `audit`: pushes, deletes, denied requests, failed logins, and pulls if
//! `log.audit.pulls` is set.

use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header::HeaderValue},
    middleware::Next,
};

use crate::{
    access::{Action, Caller, Decision, Proof},
    http::{
        context,
        endpoint::EndpointKind,
        headers::{DOCKER_CONTENT_DIGEST, OCI_TAG},
        transport::forwarded::client_address,
    },
    oci::Repository,
};

/// The decision about a request.
#[derive(Clone, Debug)]
struct AuditedRequest {
    caller: Caller,
    action: Action,
    repository: Repository,
    /// The repository that a blob is mounted from.
    from: Option<Repository>,
    decision: Decision,
}

/// Attaches a decision to the request, until the response's status is known.
pub(in crate::http) fn note(
    request: &HttpRequest,
    caller: &Caller,
    action: Action,
    repository: &Repository,
    decision: Decision,
) {
    let decided =
        AuditedRequest { caller: caller.clone(), action, repository: repository.clone(), from: None, decision };
    request.extensions_mut().insert(decided);
}

/// Adds the repository that a blob is mounted from.
pub(in crate::http) fn note_source(request: &HttpRequest, from: &Repository) {
    if let Some(decided) = request.extensions_mut().get_mut::<AuditedRequest>() {
        decided.from = Some(from.clone());
    }
}

/// Middleware that writes the audit record, if the request needs one, after the response is known.
pub(in crate::http) async fn record(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let response = next.call(request).await?;
    write(&response);
    Ok(response)
}

fn write(response: &ServiceResponse<impl MessageBody>) {
    let request = response.request();
    let Some(decided) = request.extensions().get::<AuditedRequest>().cloned() else { return };
    if !is_worth_a_line(request, &decided, response.status()) {
        return;
    }
    let named = context::endpoint(request).filter(|endpoint| endpoint.kind != EndpointKind::Upload);
    let named = named.map(|endpoint| endpoint.object).filter(|object| !object.is_empty());
    let answered = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    tracing::info!(
        target: "audit",
        who = %decided.caller.who,
        action = decided.action.as_str(),
        repository = %decided.repository,
        reference = named,
        tags = answered(OCI_TAG),
        digest = answered(DOCKER_CONTENT_DIGEST),
        from = decided.from.as_ref().map(tracing::field::display),
        address = %client_address(request),
        decision = if decided.decision.allowed { "allowed" } else { "denied" },
        rule = %decided.decision.by,
        status = response.status().as_u16(),
    );
}

/// Pushes are recorded for the request that completes a blob or manifest, not for upload sessions and chunks.
fn is_worth_a_line(request: &HttpRequest, decided: &AuditedRequest, status: StatusCode) -> bool {
    match decided.action {
        // Every client first requests without credentials to get the challenge; for writes, few do.
        _ if !decided.decision.allowed => {
            decided.action != Action::Pull || !matches!(decided.caller.proof, Proof::Nothing)
        }
        Action::Pull => context::settings(request).audit_pulls && status.is_success(),
        Action::Push => status == StatusCode::CREATED,
        Action::Delete | Action::Manage => true,
    }
}

/// Writes the record of a failed login.
pub(in crate::http) fn login_failed(request: &HttpRequest, user: &str) {
    let shown: String = user.chars().take(100).collect();
    tracing::info!(
        target: "audit",
        who = shown,
        action = "login",
        address = %client_address(request),
        decision = "denied",
        rule = "wrong user or password",
    );
}
