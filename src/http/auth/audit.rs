//! The audit log: who did what to which repository, from where, and by which rule they could or could not. One JSON line
//! each, to the log's target `audit`: pushes, deletes, what was denied, logins that failed; pulls where `log.audit.pulls` asks
//! for them.

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
        headers::{DOCKER_CONTENT_DIGEST, OCI_TAG},
        transport::forwarded::client_address,
    },
    oci::Repository,
};

/// What was decided about a request.
#[derive(Clone, Debug)]
struct AuditedRequest {
    caller: Caller,
    action: Action,
    repository: Repository,
    /// Where a blob is mounted from.
    from: Option<Repository>,
    decision: Decision,
}

/// Remembers a decision until it is known what came of it.
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

/// Remembers what a blob is mounted from.
pub(in crate::http) fn note_source(request: &HttpRequest, from: &Repository) {
    if let Some(decided) = request.extensions_mut().get_mut::<AuditedRequest>() {
        decided.from = Some(from.clone());
    }
}

/// Writes the line that a request is worth, if it is, once it is answered.
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
    let named = ["reference", "digest"].into_iter().find_map(|part| request.match_info().get(part));
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

/// A push is worth one when something was added: neither its chunks nor its sessions are.
fn is_worth_a_line(request: &HttpRequest, decided: &AuditedRequest, status: StatusCode) -> bool {
    match decided.action {
        // Every client asks once without saying who it is, and hears how to; to write, few do.
        _ if !decided.decision.allowed => {
            decided.action != Action::Pull || !matches!(decided.caller.proof, Proof::Nothing)
        }
        Action::Pull => context::settings(request).audit_pulls && status.is_success(),
        Action::Push => status == StatusCode::CREATED,
        Action::Delete => true,
    }
}

/// Writes the line of a login that failed.
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
