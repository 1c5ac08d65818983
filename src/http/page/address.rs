//! The repository and the image that a view's query names: `domain` (absent for what was pushed here), `name` and
//! `reference`.

use actix_web::HttpRequest;

use crate::{
    http::{auth::authorize, context},
    oci::{Action, Reference, Repository},
};

/// Returns the repository that the query names, if its viewer may pull from it.
pub(super) fn repository(request: &HttpRequest) -> Option<Repository> {
    let domain = context::parameter(request, "domain").filter(|domain| !domain.is_empty());
    let domain = domain.map(|domain| domain.parse()).transpose().ok()?;
    let repository = Repository { domain, name: context::parameter(request, "name")?.parse().ok()? };
    authorize::may(request, &repository, Action::Pull).then_some(repository)
}

/// Returns the reference that the query names.
pub(super) fn reference(request: &HttpRequest) -> Option<Reference> {
    context::parameter(request, "reference")?.parse().ok()
}

/// Returns the query that [`repository`] reads.
pub(super) fn query(repository: &Repository) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(domain) = &repository.domain {
        query.append_pair("domain", domain.as_str());
    }
    query.append_pair("name", repository.name.as_str()).finish()
}
