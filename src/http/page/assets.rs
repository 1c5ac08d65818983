//! The files that the page loads. They are part of the program, so that nothing has to be installed beside it.

use actix_web::{HttpResponse, http::header};

use crate::http::headers::NOSNIFF;

const STYLE: &str = include_str!("assets/style.css");
const ICON: &str = include_str!("assets/icon.svg");

/// Serves the style sheet.
pub(super) async fn style() -> HttpResponse {
    asset("text/css; charset=utf-8", STYLE)
}

/// Serves the icon.
pub(super) async fn icon() -> HttpResponse {
    asset("image/svg+xml", ICON)
}

/// Returns a file, which is asked for again an hour later at most: an upgrade may change it.
fn asset(media_type: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CACHE_CONTROL, "max-age=3600"))
        .insert_header(NOSNIFF)
        .body(text)
}
