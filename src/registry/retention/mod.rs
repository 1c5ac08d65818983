//! Retention: removes tags that were pushed and that the operator's rules do not keep, with the manifests that nothing
//! else needs. `rules` decides about tags, `needs` finds what goes with them, `plan` puts both together for a
//! repository, and `run` removes it.

mod needs;
mod plan;
mod rules;
pub(super) mod run;
