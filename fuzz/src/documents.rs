//! Documents: manifests, the configuration, htpasswd files, links, traces.

use std::{collections::HashSet, path::Path, str};

use entrepot::{
    access::Htpasswd,
    config::{Config, Error, Flags, LoadedConfig},
    lanes::Blocking,
    oci::{Digest, Manifest},
    simulator, storage,
};
use serde_json::Value;

/// Manifests: one that the strict parser accepts is accepted in any layout of the JSON, and has the same references.
pub(super) fn manifest(data: &[u8]) {
    let strictly = Manifest::parse_strictly(data);
    let Ok(manifest) = Manifest::parse(data) else {
        assert!(strictly.is_err(), "taken strictly alone");
        return;
    };
    if let Ok(strict) = strictly {
        assert_eq!(strict, manifest);
    }
    assert!(manifest.children().count() <= data.len() / "{\"digest\":\"sha256:\"}".len());
    assert!(!(manifest.is_image() && manifest.children().next().is_none()));
    if !data.contains(&b'\\') {
        let text = String::from_utf8_lossy(data);
        for named in manifest.children().map(|child| child.digest).chain(manifest.subject) {
            assert!(text.contains(&named.to_string()), "{named} is not there");
        }
    }
    // Not every JSON document can be written again: one parser accepts numbers that are too large for the other.
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let again = serde_json::to_vec_pretty(&value).expect("what was read");
    let named: HashSet<Digest> = manifest.children().map(|child| child.digest).collect();
    // Of repeated keys the last one is written, as Go reads it: its references were found before.
    let read = Manifest::parse(&again);
    assert!(read.iter().flat_map(Manifest::children).all(|child| named.contains(&child.digest)));
    let recased = recased(value.clone());
    if written_keys(data) == keys(&recased) {
        let again = [again, serde_json::to_vec(&recased).expect("what was read")];
        for again in again {
            assert_eq!(Manifest::parse(&again).map(comparable).ok(), Some(comparable(manifest.clone())));
        }
    }
}

/// A manifest without the name of its first malformed field.
fn comparable(manifest: Manifest) -> Manifest {
    Manifest { malformed: manifest.malformed.map(|_| ""), ..manifest }
}

/// The number of keys in all objects of a document, as it is written.
fn written_keys(json: &[u8]) -> usize {
    let (mut keys, mut inside, mut escaped, mut after_string) = (0, false, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => {
                inside = !inside;
                after_string = !inside;
            }
            _ if inside => {}
            b':' => keys += usize::from(after_string),
            byte => after_string &= byte.is_ascii_whitespace(),
        }
    }
    keys
}

fn keys(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().map(|value| 1 + keys(value)).sum(),
        Value::Array(list) => list.iter().map(keys).sum(),
        _ => 0,
    }
}

/// The same document with every key in upper case.
fn recased(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key.to_uppercase(), recased(value))).collect(),
        Value::Array(list) => list.into_iter().map(recased).collect(),
        other => other,
    }
}

/// A file, and variables after zero bytes: an error is one line, and an accepted configuration can be printed and
/// loaded again.
pub(super) fn config(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let file = parts.next().filter(|file| !file.is_empty());
    let variables = parts.filter_map(|part| {
        let (name, value) = str::from_utf8(part).ok()?.split_once('=')?;
        Some((format!("REGISTRY_{name}"), value.to_owned()))
    });
    let steers = |text: &str| text.contains(['\n', '\r', '\u{1b}']);
    match load(file, variables) {
        Err(error) => assert!(!steers(&error.to_string()), "{error}"),
        Ok(LoadedConfig { config, warnings }) => {
            assert!(!warnings.iter().any(|warning| steers(&warning.to_string())));
            let yaml = config.to_yaml();
            let again = load(Some(yaml.as_bytes()), []).unwrap_or_else(|error| panic!("{error}\n{yaml}")).config;
            assert_eq!(again.to_yaml(), yaml);
            assert_eq!(*again.storage.rootdirectory, *config.storage.rootdirectory);
            assert_eq!(again.proxy.push_allowed(), config.proxy.push_allowed());
        }
    }
}

fn load(file: Option<&[u8]>, variables: impl IntoIterator<Item = (String, String)>) -> Result<LoadedConfig, Error> {
    Config::parse(
        &Blocking::of_main_thread(),
        file.map(|bytes| (Path::new("config.yml"), bytes)),
        variables,
        Flags::default(),
    )
}

/// A hash as Apache's `htpasswd -B` writes it.
const APACHES: &str = "$2y$05$KQqOVKOCKXSdQ2fUYEAzkuUnV3K6A2IP2Z.xVAMSWsULWPUPCq4U.";

/// An htpasswd file: every line is a user, a flaw or blank, and the message about a flaw does not depend on the
/// possible password.
pub(super) fn htpasswd(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (users, flaws) = Htpasswd::parse(&text);
    let said = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let names: HashSet<&str> = said.clone().map(|line| line.split(':').next().unwrap_or_default()).collect();
    assert!(users.len() + flaws.len() <= said.clone().count());
    // Of lines for the same user the last counts.
    assert!(users.len() + flaws.len() >= names.len(), "a line is passed over");
    for line in said {
        if let Some((user, APACHES)) = line.split_once(':') {
            assert!(user.is_empty() || users.has(user), "{user:?} is nobody");
        }
    }
    assert!(!flaws.iter().any(|flaw| flaw.contains(|char: char| char.is_control())));
    let masked: Vec<String> = text.lines().map(mask).collect();
    let (nobody, of_masked) = Htpasswd::parse(&masked.join("\n"));
    assert!(nobody.is_empty());
    assert!(flaws.iter().all(|flaw| of_masked.contains(flaw)), "{flaws:?} {of_masked:?}");
}

/// The line with another text after its separator.
fn mask(line: &str) -> String {
    let line = line.trim();
    match line.find(|char: char| char == ':' || char.is_whitespace()) {
        Some(end) if !line.starts_with('#') => line[..end].to_owned() + ":another",
        _ => line.to_owned(),
    }
}

/// Link files.
pub(super) fn link(data: &[u8]) {
    let written =
        str::from_utf8(data).ok().and_then(|text| text.strip_suffix('\n').unwrap_or(text).parse::<Digest>().ok());
    let Some(digest) = storage::named_by(data) else {
        assert_eq!(written, None, "what registry:2 writes is not read");
        return;
    };
    assert_eq!(str::from_utf8(data).map(str::trim), Ok(digest.to_string().as_str()));
    assert_eq!(storage::named_by(digest.to_string().as_bytes()), Some(digest));
    assert_eq!(storage::named_by(format!("{digest}\n").as_bytes()), Some::<Digest>(digest));
}

/// Logs of pulls, for `entrepot simulate`.
pub(super) fn trace(data: &[u8]) {
    if let Err(error) = simulator::read(data, |_| {}) {
        assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error}");
    }
}
