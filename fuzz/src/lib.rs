//! Properties of every parser of external input: a function for each parser, which panics if the property fails.
//!
//! `fuzz/run` has libFuzzer search for an input that makes one panic; `tests/parsers.rs` compiles the same functions,
//! and tries the seeds and some thousand mutations of them in every `cargo test`.

mod documents;
mod headers;
mod nouns;
mod tokens;

/// A parser's name, and the function with its properties.
pub type Target = (&'static str, fn(&[u8]));

/// All parsers. The names are those of their folders in `seeds/` and their files in `fuzz_targets/`.
pub const TARGETS: [Target; 19] = [
    ("challenge", headers::challenge),
    ("config", documents::config),
    ("content_range", headers::content_range),
    ("digest", nouns::digest),
    ("domain", nouns::domain),
    ("forwarded", headers::forwarded),
    ("htpasswd", documents::htpasswd),
    ("image_name", nouns::image_name),
    ("link", documents::link),
    ("manifest", documents::manifest),
    ("media_type", nouns::media_type),
    ("name", nouns::name),
    ("pattern", nouns::pattern),
    ("range", headers::range),
    ("reference", nouns::reference),
    ("scope", tokens::scope),
    ("token", tokens::token),
    ("trace", documents::trace),
    ("upload", nouns::upload),
];

/// Tries one input on the parser of that name.
pub fn try_on(name: &str, data: &[u8]) {
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, holds)) => holds(data),
        None => panic!("{name} is no target"),
    }
}
