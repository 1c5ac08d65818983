//! Liveness and readiness probes (`/healthz`, `/readyz`) and `/debug/health`. Probes need no credentials and are not
//! logged.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::ContentType},
    web,
};

use crate::{
    http::{
        context::{State, parameters},
        errors::advice,
        paths::{ALIVE, READY},
    },
    lanes::{Blocking, Lane},
};

pub(in crate::http) fn configure(service: &mut web::ServiceConfig) {
    let probe = |path| web::resource(path);
    service
        .service(probe(ALIVE).route(web::get().to(alive)).route(web::head().to(alive)))
        .service(probe(READY).route(web::get().to(ready)).route(web::head().to(ready)));
}

/// Answers 200 as long as the process answers requests.
async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::plaintext()).body("alive\n")
}

/// Answers 200 if pulls can be served, or, with `?for=push`, if pushes can be accepted. The log says what is missing.
async fn ready(registry: State, request: HttpRequest) -> HttpResponse {
    let asked = parameters(&request, "for");
    if asked.iter().any(|purpose| !matches!(purpose.as_str(), "pull" | "push")) {
        return plain(StatusCode::BAD_REQUEST, "for is pull or push");
    }
    let for_push = asked.iter().any(|purpose| purpose == "push");
    let looking = State::clone(&registry);
    let look = move |io: &Blocking| (looking.serves_pulls(io), looking.takes_pushes(io));
    let Ok((pulls, pushes)) = registry.lanes().run(Lane::Probe, look).await else { return unready() };
    if let Err(error) = pulls {
        tracing::error!(%error, "not ready");
        return unready();
    }
    match pushes {
        Ok(()) => plain(StatusCode::OK, "ready\npushes are taken"),
        Err(error) => {
            let refused = format!("pushes are refused: {}", advice(&error));
            match for_push {
                true => plain(StatusCode::SERVICE_UNAVAILABLE, &refused),
                false => plain(StatusCode::OK, &format!("ready\n{refused}")),
            }
        }
    }
}

fn unready() -> HttpResponse {
    plain(StatusCode::SERVICE_UNAVAILABLE, "storage cannot be read")
}

fn plain(status: StatusCode, text: &str) -> HttpResponse {
    HttpResponse::build(status).insert_header(ContentType::plaintext()).body(format!("{text}\n"))
}

/// Answers `/debug/health` in the format of `registry:2`: an object of failed checks by name, empty if all pass.
pub(in crate::http) async fn debug(registry: State) -> HttpResponse {
    let found = registry.clone().lanes().run(Lane::Probe, move |io| registry.takes_writes(io)).await;
    match found {
        Ok(Ok(())) => HttpResponse::Ok().json(serde_json::json!({})),
        _ => HttpResponse::ServiceUnavailable().json(serde_json::json!({ "storage": "storage takes no writes" })),
    }
}
