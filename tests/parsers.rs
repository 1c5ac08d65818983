//! The parsers of external input: the properties in `fuzz/src`, tested on the seeds and on mutations of them, the same
//! in every run. `fuzz/run` searches further.

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a crate of its own, for libFuzzer")]
mod targets;

use std::{
    collections::BTreeSet,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use targets::TARGETS;

use crate::support::{
    http,
    images::{Format, Image},
    rng::Rng,
    rounds,
    server::{Server, Setup},
};

/// Pieces for mutations: syntax that parsers look for, and known pitfalls.
const PIECES: [&str; 32] = [
    "/",
    ":",
    "..",
    "-",
    "_",
    "=",
    "\"",
    "\\",
    ",",
    ";",
    "\n",
    "\0",
    " ",
    "%2f",
    "*",
    "**",
    "{",
    "}",
    "[",
    "]",
    "null",
    "ä",
    "\u{2028}",
    "\u{1b}[",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "0",
    "sha256:",
    "sha512:",
    "&a *a",
    "~",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder("seeds").join(target))
        .unwrap_or_else(|error| panic!("fuzz/seeds/{target}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// One seed, changed in a few places, or combined with another.
fn mutation(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut data = seeds[rng.throw(seeds.len())].clone();
    for _ in 0..=rng.throw(4) {
        let at = rng.throw(data.len() + 1);
        let end = data.len().min(at + rng.throw(9));
        match rng.throw(6) {
            0 => data.insert(at, rng.throw(256) as u8),
            1 => drop(data.drain(at..end)),
            2 => data.extend_from_within(at..end),
            3 => drop(data.splice(at..at, PIECES[rng.throw(PIECES.len())].bytes())),
            4 => {
                let other = &seeds[rng.throw(seeds.len())];
                data.splice(at.., other[rng.throw(other.len() + 1)..].iter().copied());
            }
            _ if at < data.len() => data[at] ^= 1 << rng.throw(8),
            _ => {}
        }
    }
    data
}

/// Returns the property that fails, if any.
fn try_on(name: &str, data: &[u8]) -> Option<String> {
    let broken = catch_unwind(|| targets::try_on(name, data)).is_err();
    broken.then(|| format!("{name} does not hold for b\"{}\"", data.escape_ascii()))
}

fn try_all(name: &str) -> Option<String> {
    let (seeds, mut rng) = (seeds(name), Rng::new(5));
    assert!(seeds.len() > 1, "{name} has seeds");
    let mutations = std::iter::repeat_with(|| mutation(&seeds, &mut rng)).take(rounds(30_000));
    seeds.iter().cloned().chain(mutations).find_map(|data| try_on(name, &data))
}

#[test]
fn nothing_upsets_a_parser() {
    let broken: Vec<String> = TARGETS.iter().filter_map(|(name, _)| try_all(name)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_target_is_fuzzed() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let files = |name: &str| -> BTreeSet<String> {
        fs::read_dir(folder(name)).unwrap().map(|entry| stem(entry.unwrap().path())).collect()
    };
    let seeded: BTreeSet<String> = files("seeds").into_iter().filter(|name| name != "accept").collect();
    assert_eq!((files("fuzz_targets"), seeded), (known.clone(), known.clone()));
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &known {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let target = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(target.contains(&format!("try_on(\"{name}\", data)")), "{name}");
    }
}

/// `Accept` is ignored: for any value, a manifest is returned as it was pushed. (containerd and others rely on it.)
#[test]
fn accept_changes_nothing() {
    let server: Server = Setup::hosting().start();
    let image = Image::single(Format::Oci, 605);
    server.target().image("team/app", "1", &image);
    let (seeds, mut rng) = (seeds("accept"), Rng::new(6));
    let mut answered = 0;
    for number in 0..rounds(2000) {
        let said = seeds.get(number).cloned().unwrap_or_else(|| mutation(&seeds, &mut rng));
        let Ok(said) = String::from_utf8(said) else { continue };
        // A header value cannot contain a line break.
        if said.contains(|char: char| char.is_control()) {
            continue;
        }
        let response = http::get(&server.v2("team/app/manifests/1")).header("Accept", &said).send();
        assert_eq!(response.status, 200, "{said}");
        assert_eq!(response.header("content-type"), Some(Format::Oci.manifest()), "{said}");
        assert_eq!(response.summary().digest, image.digest(), "{said}");
        answered += 1;
    }
    assert!(answered > seeds.len(), "{answered}");
}
