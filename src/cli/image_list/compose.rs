//! The images of a compose file: `services.*.image`, with variables of the environment.

use super::{ListError, NamedImage, interpolation::interpolate};
use crate::yaml::YamlNode;

/// Returns the images of the section `services`.
///
/// # Errors
/// [`ListError`] for a variable that is malformed or required.
pub(super) fn images(
    services: &YamlNode,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<NamedImage>, ListError> {
    let mut named = Vec::new();
    for (_, service) in services.entries() {
        let Some((line, image)) = merged(service, "image").and_then(|node| Some((node.line, node.text()?))) else {
            continue;
        };
        let name = interpolate(image, environment)
            .map_err(|error| ListError { line, problem: format!("image {image:?}: {error}") })?;
        named.push(NamedImage { line, name });
    }
    Ok(named)
}

/// Returns the value of a key, or the one that a YAML merge key (`<<`) adds.
fn merged<'a>(node: &'a YamlNode, key: &str) -> Option<&'a YamlNode> {
    node.get(key).or_else(|| {
        let merge = node.get("<<")?;
        std::iter::once(merge).chain(merge.items()).find_map(|other| merged(other, key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::image_list::LIMITS;

    #[test]
    fn services_have_images_of_their_own_or_merged_ones() {
        let text = "\
x-base: &base
  image: ${REGISTRY:-docker.io}/org/base:$TAG
services:
  web:
    image: nginx
  one: *base
  two:
    <<: *base
    restart: always
  three:
    <<: [{restart: always}, *base]
    image: own
  built:
    build: .
  empty:
";
        let root = &crate::yaml::documents(text, LIMITS).unwrap()[0].root;
        let environment = |name: &str| (name == "TAG").then(|| "7".to_owned());
        let named = images(root.get("services").unwrap(), &environment).unwrap();
        let named: Vec<_> = named.iter().map(|image| (image.line, image.name.as_str())).collect();
        assert_eq!(named, [(5, "nginx"), (2, "docker.io/org/base:7"), (2, "docker.io/org/base:7"), (12, "own")]);
    }
}
