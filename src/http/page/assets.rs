//! The files that the page loads. They are part of the program, so that nothing has to be installed beside it.

use actix_web::{HttpResponse, http::header};

use crate::http::headers::NOSNIFF;

const STYLE: &str = include_str!("assets/style.css");

/// Serves the style sheet. It is asked for again after an upgrade at the latest an hour later.
pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/css; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "max-age=3600"))
        .insert_header(NOSNIFF)
        .body(STYLE)
}
