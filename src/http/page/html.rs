//! Responses of HTML, with the headers that keep a browser from doing more than to show them.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use askama::Template;

use super::frame::Frame;
use crate::http::headers::NOSNIFF;

/// Nothing is loaded but this server's style sheet, no script runs, forms go to this server alone, and no other page
/// may put this one into a frame: Content Security Policy Level 3.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "not_found.html", config = "src/http/page/askama.toml")]
struct NotFoundPage {
    frame: Frame,
}

/// Returns the page of a template. It is not stored: what is shown depends on the user.
pub(super) fn page(template: &impl Template) -> HttpResponse {
    answer(StatusCode::OK, template)
}

/// Returns the page for what does not exist, or may not be seen.
pub(super) fn not_found(request: &HttpRequest) -> HttpResponse {
    answer(StatusCode::NOT_FOUND, &NotFoundPage { frame: Frame::new(request, "Not found") })
}

fn answer(status: StatusCode, template: &impl Template) -> HttpResponse {
    match template.render() {
        Ok(text) => HttpResponse::build(status)
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::REFERRER_POLICY, "same-origin"))
            .insert_header(NOSNIFF)
            .body(text),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}
