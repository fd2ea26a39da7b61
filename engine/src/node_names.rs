#[cfg(feature = "tract")]
use std::collections::HashMap;
use std::collections::HashSet;

/// Unique names of a graph's nodes, given in order as (name, operator): the file's
/// own, or `Operator_index` where the file has none or repeats it.
pub(crate) fn unique_node_names<'a>(nodes: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut taken = HashSet::new();
    nodes
        .enumerate()
        .map(|(index, (name, operator))| {
            let mut unique = if name.is_empty() || taken.contains(name) {
                format!("{operator}_{index}")
            } else {
                name.to_owned()
            };
            while !taken.insert(unique.clone()) {
                unique.push('_');
            }
            unique
        })
        .collect()
}

/// Finds the ONNX node that a node of an engine came from.
///
/// Engines name what they make out of a node by appending to its name, as in
/// `conv1.einsum`: the longest ONNX name that the engine's name starts with, ending
/// at a word's end, wins.
#[cfg(feature = "tract")]
pub(crate) struct NodeIndex {
    by_name: HashMap<String, usize>,
}

#[cfg(feature = "tract")]
impl NodeIndex {
    pub(crate) fn new(names: &[String]) -> Self {
        Self { by_name: names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect() }
    }

    pub(crate) fn find(&self, engine_name: &str) -> Option<usize> {
        let ends = engine_name.char_indices().rev().filter(|(_, character)| !character.is_alphanumeric());
        let candidates = std::iter::once(engine_name.len()).chain(ends.map(|(end, _)| end));
        candidates.into_iter().find_map(|end| self.by_name.get(engine_name.get(..end)?).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let nodes = [("a", "Conv"), ("", "Relu"), ("a", "Conv"), ("Relu_1", "Relu")];
        assert_eq!(unique_node_names(nodes.into_iter()), ["a", "Relu_1", "Conv_2", "Relu_3"]);
    }

    #[cfg(feature = "tract")]
    #[test]
    fn longest_name_wins() {
        let index = NodeIndex::new(&["/b/Conv".into(), "/b/Conv_1".into(), "r".into()]);
        assert_eq!(index.find("/b/Conv_1.einsum"), Some(1));
        assert_eq!(index.find("/b/Conv"), Some(0));
        assert_eq!(index.find("/b/Conv_2"), Some(0));
        assert_eq!(index.find("relu"), None);
    }
}
