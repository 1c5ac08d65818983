//! The page for browsers: what the registry stores, does and did, rendered on the server. It needs no script, loads
//! nothing from another host, and takes whatever comes from images and upstreams for text.
//!
//! `routes` has its paths; each view has a file, and `address` reads what it is about. `html` makes responses of
//! templates, which `frame` gives what all have in common; `chart` and `text` turn numbers into what people read.

mod address;
mod assets;
mod chart;
mod frame;
mod html;
mod image;
mod image_config;
mod overview;
mod repositories;
mod repository;
mod root;
pub(super) mod routes;
mod text;
