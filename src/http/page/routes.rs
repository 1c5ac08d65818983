//! The paths of the page: `/` for browsers, and `ui` below the API's prefix.

use actix_web::web;

use super::{assets, image, overview, repositories, repository, root};
use crate::http::paths::ROOT;

/// Adds the page's paths. The mirror listener does not have them.
pub(in crate::http) fn configure(service: &mut web::ServiceConfig, prefix: &str) {
    let path = |path: &str| web::resource(format!("{prefix}ui{path}"));
    service
        .service(web::resource(ROOT).route(web::get().to(root::get)).route(web::head().to(root::get)))
        .service(path("").route(web::get().to(overview::get)))
        .service(path("/repositories").route(web::get().to(repositories::get)))
        .service(path("/image").route(web::get().to(image::get)))
        .service(path("/repository").route(web::get().to(repository::get)))
        .service(path("/style.css").route(web::get().to(assets::style)))
        .service(path("/icon.svg").route(web::get().to(assets::icon)));
}
