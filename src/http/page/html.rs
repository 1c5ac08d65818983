//! Responses of HTML, with the headers that keep a browser from doing more than to show them.

use actix_web::{HttpResponse, http::header};
use askama::Template;

use crate::http::headers::NOSNIFF;

/// Nothing is loaded but this server's style sheet, no script runs, forms go to this server alone, and no other page may
/// put this one into a frame: Content Security Policy Level 3.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Returns the page of a template. It is not stored: what is shown depends on the user.
pub(super) fn page(template: &impl Template) -> HttpResponse {
    match template.render() {
        Ok(text) => HttpResponse::Ok()
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
