//! The images of Kubernetes objects: of all containers and image volumes, wherever in the tree they are, since a Pod's
//! template is at another place in each kind.

use super::NamedImage;
use crate::yaml::YamlNode;

/// The keys of lists of containers in a Pod.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Adds the images of a node and of all below it.
pub(super) fn images(node: &YamlNode, named: &mut Vec<NamedImage>) {
    for (key, value) in node.entries() {
        let image: fn(&YamlNode) -> Option<&YamlNode> = match key.as_str() {
            key if CONTAINERS.contains(&key) => |container| container.get("image"),
            "volumes" => |volume| volume.get("image")?.get("reference"),
            _ => continue,
        };
        let found = value.items().iter().filter_map(image);
        let found = found.filter_map(|image| Some((image.line, image.text().filter(|name| !name.is_empty())?)));
        named.extend(found.map(|(line, name)| NamedImage { line, name: name.to_owned() }));
    }
    node.children().for_each(|child| images(child, named));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::image_list::LIMITS;

    #[test]
    fn containers_are_found_wherever_they_are() {
        let text = "\
apiVersion: batch/v1
kind: CronJob
spec:
  jobTemplate:
    spec:
      template:
        spec:
          initContainers: [{name: a, image: one}]
          containers:
          - name: b
            image: two
          - name: without
          volumes:
          - name: c
            image: {reference: three, pullPolicy: Always}
          - name: d
            configMap: {name: e}
---
kind: List
items:
- kind: Pod
  metadata: {annotations: {image: no}}
  spec: {ephemeralContainers: [{image: four}]}
";
        let mut named = Vec::new();
        crate::yaml::documents(text, LIMITS).unwrap().iter().for_each(|document| images(&document.root, &mut named));
        let named: Vec<_> = named.iter().map(|image| (image.line, image.name.as_str())).collect();
        assert_eq!(named, [(8, "one"), (11, "two"), (15, "three"), (23, "four")]);
    }
}
