//! The parts that all views have in common: where their links lead, and who looks.

use actix_web::HttpRequest;

use crate::http::context;

/// The frame around a view.
pub(super) struct Frame {
    /// The path of the overview. Other views are below it.
    pub(super) root: String,
    /// The view's own title.
    pub(super) title: String,
    /// The user who is logged in.
    pub(super) user: Option<String>,
    /// The program's version.
    pub(super) version: &'static str,
}

impl Frame {
    pub(super) fn new(request: &HttpRequest, title: impl Into<String>) -> Self {
        Self {
            root: format!("{}ui", context::settings(request).prefix),
            title: title.into(),
            user: context::caller(request).who.name().map(ToOwned::to_owned),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}
