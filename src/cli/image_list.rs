//! The images that a command is about: names on the command line, and files that name images. A file is a list of
//! names, a compose file or Kubernetes objects; its content shows which.

mod compose;
mod interpolation;
mod kubernetes;

use std::{
    collections::HashSet,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;

use super::Failure;
use crate::{
    lanes::Blocking,
    oci::{ImageName, InvalidPlatform, Platform, PlatformSelection},
    yaml::{self, YamlDocument, YamlLimits},
};

/// Larger than any file of a deployment.
const LIMITS: YamlLimits = YamlLimits { nodes: 1_000_000, depth: 100 };

/// The arguments that select images and platforms.
#[derive(Debug, Args, PartialEq)]
pub(super) struct ImageArguments {
    /// Images, named as docker takes them: nginx, org/app:1, ghcr.io/org/app@sha256:…
    #[arg(value_name = "IMAGE", required_unless_present = "files")]
    images: Vec<ImageName>,
    /// A file that names images, one a line; or a compose file, or Kubernetes YAML. `-` is stdin.
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The platforms of images for several, such as linux/arm64; `all` for all. Without it, this machine's.
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',', value_parser = platform)]
    platforms: Vec<String>,
}

fn platform(word: &str) -> Result<String, InvalidPlatform> {
    PlatformSelection::parse(&[word]).map(|_| word.to_owned())
}

/// An image that a file names.
#[derive(Debug, PartialEq, Eq)]
struct NamedImage {
    line: usize,
    name: String,
}

/// The reason that a file's images are unknown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {problem}")]
struct ListError {
    line: usize,
    problem: String,
}

impl ImageArguments {
    /// Returns the images, each once.
    ///
    /// # Errors
    /// [`Failure`] with the exit code of a usage error, and the file and line of the problem.
    pub(super) fn images(&self, io: &Blocking) -> Result<Vec<ImageName>, Failure> {
        let mut images = self.images.clone();
        for file in &self.files {
            images.extend(images_of(file, &read(io, file)?).map_err(Failure::usage)?);
        }
        let mut seen = HashSet::new();
        images.retain(|image| seen.insert(image.to_string()));
        Ok(images)
    }

    /// Returns the platforms as words; this machine's, unless others are named.
    pub(super) fn platforms(&self) -> Vec<String> {
        if self.platforms.is_empty() { vec![Platform::host().to_string()] } else { self.platforms.clone() }
    }
}

fn read(_io: &Blocking, file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => io::stdin().read_to_string(&mut text).map(drop),
        false => fs::read_to_string(file).map(|read| text = read),
    };
    read.map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
    Ok(text)
}

fn images_of(file: &Path, text: &str) -> Result<Vec<ImageName>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let named = if is_yaml(text) { in_yaml(text) } else { in_lines(text) };
    let named = named.map_err(|error| format!("{}:{error}", file.display()))?;
    if named.is_empty() {
        return Err(format!("{} names no image", file.display()));
    }
    let parsed = named.iter().map(|NamedImage { line, name }| {
        name.parse().map_err(|error| format!("{}:{line}: {name:?} is no name of an image: {error}", file.display()))
    });
    parsed.collect()
}

/// Returns whether a text is a compose file or Kubernetes objects, also in JSON. Names of images have none of these
/// keys.
fn is_yaml(text: &str) -> bool {
    let is_key = |line: &str| ["services:", "apiVersion:", "kind:"].iter().any(|key| line.starts_with(key));
    text.trim_start().starts_with(['{', '[']) || text.lines().any(is_key)
}

fn in_yaml(text: &str) -> Result<Vec<NamedImage>, ListError> {
    let parsed = yaml::documents(text, LIMITS);
    let parsed = parsed.map_err(|error| ListError { line: error.line(), problem: error.to_string() })?;
    let environment = |name: &str| std::env::var(name).ok();
    let mut named = Vec::new();
    for YamlDocument { root, .. } in &parsed {
        match root.get("services") {
            Some(services) if root.get("kind").is_none() => named.extend(compose::images(services, &environment)?),
            _ => kubernetes::images(root, &mut named),
        }
    }
    Ok(named)
}

/// One name a line. `#` begins a comment.
fn in_lines(text: &str) -> Result<Vec<NamedImage>, ListError> {
    let mut named = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let words = text.split_whitespace().take_while(|word| !word.starts_with('#')).collect::<Vec<_>>();
        match words[..] {
            [] => {}
            [name] => named.push(NamedImage { line, name: name.to_owned() }),
            [_, second, ..] => {
                return Err(ListError { line, problem: format!("expected one image a line, not {second:?} as well") });
            }
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let images = images_of(Path::new("list"), text)?;
        Ok(images.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_list_has_one_image_a_line() {
        let text = "# ours\nnginx:1.27  # the proxy\n\n  ghcr.io/org/app:2\r\nredis#7\n";
        assert_eq!(names(text).unwrap_err(), {
            let error = "redis#7".parse::<ImageName>().unwrap_err();
            format!("list:5: \"redis#7\" is no name of an image: {error}")
        });
        let text = text.replace("redis#7", "redis");
        assert_eq!(names(&text).unwrap(), ["library/nginx:1.27", "ghcr.io/org/app:2", "library/redis:latest"]);
        assert!(names("nginx redis").unwrap_err().starts_with("list:1: expected one image a line"));
        assert_eq!(names("# nothing\n").unwrap_err(), "list names no image");
    }

    #[test]
    fn the_content_shows_the_kind_of_a_file() {
        let compose = "name: x\nservices:\n  web:\n    image: nginx\n";
        let kubernetes = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: nginx\n";
        let json = r#"{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "nginx"}]}}"#;
        for text in [compose, kubernetes, json, "\u{feff}nginx", "nginx"] {
            assert_eq!(names(text).unwrap(), ["library/nginx:latest"], "{text}");
        }
        let error = names("services:\n  web: [\n").unwrap_err();
        assert!(error.starts_with("list:") && error.contains("not valid YAML"), "{error}");
    }

    #[test]
    fn each_image_is_named_once() {
        let images = ["nginx", "library/nginx:latest", "index.docker.io/nginx", "docker.io/library/nginx"];
        let images = images.map(|name| name.parse().unwrap()).to_vec();
        let arguments = ImageArguments { images, files: Vec::new(), platforms: Vec::new() };
        assert_eq!(arguments.images(Blocking::in_test()).unwrap().len(), 2);
        assert_eq!(arguments.platforms(), [Platform::host().to_string()]);
    }
}
