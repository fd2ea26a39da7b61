//! The nodes of parts, of what cuts their pieces and of what joins what they make.

use super::divide::Division;
use super::part::{Argument, Constant};
use super::{Need, Ranges};
use crate::shapes::TensorFacts;
use crate::{Graph, TensorId};
use std::collections::{BTreeMap, HashMap};
use tranche_schema::{
    AttributeValue, ElementType, Join, PartialWeight, Patch, PatchConstant, PatchNode, TensorSpec,
};

/// Names of what belongs to a split.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Name of the split.
    pub split: &'a str,
}

impl Names<'_> {
    /// What part `part` makes, or is sent, of a tensor.
    #[must_use]
    pub fn of_part(&self, tensor: &str, part: usize) -> String {
        format!("{tensor}#{}.{part}", self.split)
    }

    /// What part `part` gives out of a tensor.
    #[must_use]
    pub fn output(&self, tensor: &str, part: usize) -> String {
        format!("{tensor}#{}.{part}.out", self.split)
    }
}

/// Places of an axis as part of a name.
fn places(axis: usize, ranges: &Ranges) -> String {
    let ranges: Vec<String> = ranges.as_slice().iter().map(|(start, end)| format!("{start}-{end}")).collect();
    format!("@{axis}:{}", ranges.join("+"))
}

/// Adds to `patch` the nodes of part `index`; `outside` names the tensor that holds what the part
/// reads of one made outside of the region.
pub fn emit_part(
    graph: &Graph,
    facts: &TensorFacts,
    division: &Division,
    index: usize,
    names: Names<'_>,
    outside: &dyn Fn(TensorId, &Need) -> String,
    patch: &mut Patch,
) {
    let Some(part) = division.parts.get(index) else { return };
    let mut writer = Writer { graph, facts, names, index, patch, cropped: HashMap::new() };
    let held = |tensor: TensorId| -> (String, Need) {
        match part.pieces.get(&tensor) {
            Some(need) => (outside(tensor, need), need.clone()),
            None => {
                let need = part.made.get(&tensor).cloned().unwrap_or(Need::Whole);
                (names.of_part(&graph.tensor(tensor).name, index), need)
            }
        }
    };
    for (id, rewrite, wanted) in &part.rewrites {
        let node = graph.node(*id);
        let inputs: Vec<Option<String>> = node
            .inputs
            .iter()
            .zip(&rewrite.needs)
            .map(|(tensor, need)| {
                let (tensor, need) = ((*tensor)?, need.as_ref()?);
                if graph.is_initializer(tensor) {
                    return Some(writer.weight(tensor, need));
                }
                let (name, has) = held(tensor);
                Some(writer.cropped(tensor, &name, &has, need))
            })
            .collect();
        let outputs: Vec<Option<String>> = node
            .outputs
            .iter()
            .zip(wanted)
            .map(|(tensor, wanted)| {
                wanted.as_ref()?;
                Some(names.of_part(&graph.tensor((*tensor)?).name, index))
            })
            .collect();
        for (tensor, need) in node.outputs.iter().zip(wanted) {
            if let (Some(tensor), Some(need)) = (tensor, need) {
                writer.declare(*tensor, need, &names.of_part(&graph.tensor(*tensor).name, index));
            }
        }
        for (place, operation) in rewrite.operations.iter().enumerate() {
            // Engines name what they make of a node after it, with a number: none of them is met here.
            let operator = operation.operator.unwrap_or_else(|| node.operator()).to_lowercase();
            let suffix = if place == 0 { String::new() } else { format!(".{operator}{place}") };
            let name = format!("{}{suffix}", names.of_part(&node.name, index));
            let mut argument = |argument: &Argument| match argument {
                Argument::Input(place) => inputs.get(*place).cloned().flatten().unwrap_or_default(),
                Argument::Output(place) => outputs.get(*place).cloned().flatten().unwrap_or_default(),
                Argument::Local(local) => format!("{}.{local}", names.of_part(&node.name, index)),
                Argument::Constant(constant) => writer.constant(&name, constant),
                Argument::Absent => String::new(),
            };
            let inputs: Vec<String> = operation.inputs.iter().map(&mut argument).collect();
            let mut outputs: Vec<String> = operation.outputs.iter().map(&mut argument).collect();
            while outputs.last().is_some_and(String::is_empty) {
                outputs.pop();
            }
            writer.patch.nodes.push(PatchNode {
                name,
                like: operation.operator.is_none().then(|| node.name.clone()),
                operator: operation.operator.map(str::to_owned),
                inputs,
                outputs,
                attributes: operation.attributes.clone(),
                without: operation.without.clone(),
            });
        }
    }
    for (&tensor, need) in &part.outputs {
        let (name, has) = held(tensor);
        let output = names.output(&graph.tensor(tensor).name, index);
        writer.output(tensor, &name, &has, need, &output);
    }
}

/// Adds to `patch` the node that cuts a piece, named `piece`, out of a tensor that is whole under
/// the name `source`.
pub fn emit_piece(
    graph: &Graph,
    facts: &TensorFacts,
    tensor: TensorId,
    need: &Need,
    source: &str,
    piece: &str,
    patch: &mut Patch,
) {
    let names = Names { split: "" };
    let mut writer = Writer { graph, facts, names, index: 0, patch, cropped: HashMap::new() };
    writer.output(tensor, source, &Need::Whole, need, piece);
}

/// Adds to `patch` the node that makes a tensor, under the name `whole`, of what the parts give out.
pub fn emit_join(
    graph: &Graph,
    facts: &TensorFacts,
    tensor: TensorId,
    join: &Join,
    parts: &[String],
    whole: &str,
    patch: &mut Patch,
) {
    let node = |operator: &str, inputs: &[String], attributes| PatchNode {
        name: format!("{whole}#join"),
        like: None,
        operator: Some(operator.to_owned()),
        inputs: inputs.to_vec(),
        outputs: vec![whole.to_owned()],
        attributes,
        without: Vec::new(),
    };
    patch.nodes.push(match join {
        Join::Concat { axis, .. } => {
            let axis = AttributeValue::Integer(i64::from(*axis));
            node("Concat", parts, BTreeMap::from([("axis".to_owned(), axis)]))
        }
        Join::Sum => node("Sum", parts, BTreeMap::new()),
        Join::First => node("Identity", parts.get(..1).unwrap_or_default(), BTreeMap::new()),
    });
    let names = Names { split: "" };
    Writer { graph, facts, names, index: 0, patch, cropped: HashMap::new() }.declare(
        tensor,
        &Need::Whole,
        whole,
    );
}

struct Writer<'a> {
    graph: &'a Graph,
    facts: &'a TensorFacts,
    names: Names<'a>,
    index: usize,
    patch: &'a mut Patch,
    /// Names of what was cut out of tensors already.
    cropped: HashMap<(String, Need), String>,
}

impl Writer<'_> {
    fn declare(&mut self, tensor: TensorId, need: &Need, name: &str) {
        let Some(spec) = self.facts.spec(tensor) else { return };
        self.patch.tensors.push(TensorSpec {
            name: name.to_owned(),
            element_type: spec.element_type,
            shape: need.shape(&spec.shape),
        });
    }

    /// A weight, or a part of it, of which every split has the same one.
    fn weight(&mut self, tensor: TensorId, need: &Need) -> String {
        let of = self.graph.tensor(tensor).name.clone();
        let Need::Along { axis, ranges } = need else { return of };
        let name = format!("{of}{}", places(*axis, ranges));
        if !self.patch.weights.iter().any(|weight| weight.name == name) {
            let shape = self.facts.spec(tensor).map(|spec| need.shape(&spec.shape)).unwrap_or_default();
            let ranges = ranges.as_slice().to_vec();
            self.patch.weights.push(PartialWeight {
                name: name.clone(),
                of,
                axis: *axis as u32,
                ranges,
                shape,
            });
        }
        name
    }

    fn constant(&mut self, node: &str, constant: &Constant) -> String {
        let count = self.patch.constants.iter().filter(|known| known.name.starts_with(node)).count();
        let name = format!("{node}.constant{count}");
        self.patch.constants.push(PatchConstant {
            name: name.clone(),
            element_type: constant.element_type,
            shape: constant.shape.clone(),
            values: constant.values.clone(),
        });
        name
    }

    /// What is needed of a tensor, out of what is held of it.
    fn cropped(&mut self, tensor: TensorId, name: &str, has: &Need, need: &Need) -> String {
        if has == need {
            return name.to_owned();
        }
        let key = (name.to_owned(), need.clone());
        if let Some(known) = self.cropped.get(&key) {
            return known.clone();
        }
        let Need::Along { axis, ranges } = need else { return name.to_owned() };
        let base = self.names.of_part(&self.graph.tensor(tensor).name, self.index);
        let cut = format!("{base}{}", places(*axis, ranges));
        self.cut(tensor, name, has, need, &cut);
        self.cropped.insert(key, cut.clone());
        cut
    }

    /// The same under a name that is given.
    fn output(&mut self, tensor: TensorId, name: &str, has: &Need, need: &Need, output: &str) {
        if has == need || !matches!(need, Need::Along { .. }) {
            self.push("Identity", vec![name.to_owned()], output, BTreeMap::new());
            self.declare(tensor, need, output);
            return;
        }
        self.cut(tensor, name, has, need, output);
    }

    fn cut(&mut self, tensor: TensorId, name: &str, has: &Need, need: &Need, output: &str) {
        let Need::Along { axis, ranges } = need else { return };
        let places = match has {
            Need::Along { axis: same, ranges: held } if same == axis => {
                ranges.places_in(held).unwrap_or_else(|| ranges.clone())
            }
            _ => ranges.clone(),
        };
        let axis = *axis as i64;
        match places.single() {
            Some((start, end)) => self.slice(name, axis, start as i64, end as i64, output),
            None => {
                let every: Vec<i64> =
                    places.as_slice().iter().flat_map(|&(start, end)| start as i64..end as i64).collect();
                let indices = self.integers(output, "places", &every);
                let axis = BTreeMap::from([("axis".to_owned(), AttributeValue::Integer(axis))]);
                self.push("Gather", vec![name.to_owned(), indices], output, axis);
            }
        }
        self.declare(tensor, need, output);
    }

    fn slice(&mut self, name: &str, axis: i64, start: i64, end: i64, output: &str) {
        let imports = &self.graph.proto().opset_import;
        let opset = imports
            .iter()
            .find(|import| matches!(import.domain(), "" | "ai.onnx"))
            .map_or(0, |import| import.version());
        if opset < 10 {
            let list = |value| AttributeValue::Integers(vec![value]);
            let attributes = [("axes", axis), ("starts", start), ("ends", end)];
            let attributes =
                attributes.into_iter().map(|(key, value)| (key.to_owned(), list(value))).collect();
            self.push("Slice", vec![name.to_owned()], output, attributes);
            return;
        }
        let starts = self.integers(output, "start", &[start]);
        let ends = self.integers(output, "end", &[end]);
        let axes = self.integers(output, "axis", &[axis]);
        self.push("Slice", vec![name.to_owned(), starts, ends, axes], output, BTreeMap::new());
    }

    fn integers(&mut self, of: &str, what: &str, values: &[i64]) -> String {
        let name = format!("{of}.{what}");
        self.patch.constants.push(PatchConstant {
            name: name.clone(),
            element_type: ElementType::Int64,
            shape: vec![values.len() as u64],
            values: values.iter().map(|&value| value as f64).collect(),
        });
        name
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: Vec<String>,
        output: &str,
        attributes: BTreeMap<String, AttributeValue>,
    ) {
        self.patch.nodes.push(PatchNode {
            name: format!("{output}#{}", operator.to_lowercase()),
            like: None,
            operator: Some(operator.to_owned()),
            inputs,
            outputs: vec![output.to_owned()],
            attributes,
            without: Vec::new(),
        });
    }
}

/// Writes a split out as one patch of a graph that is not cut: what cuts pieces, the parts, and what
/// joins what they make.
#[must_use]
pub fn write(graph: &Graph, facts: &TensorFacts, division: &Division, names: Names<'_>) -> Patch {
    let removed = division.nodes.iter().map(|&id| graph.node(id).name.clone()).collect();
    let mut patch = Patch { removed, ..Patch::default() };
    for (index, part) in division.parts.iter().enumerate() {
        let mut named = BTreeMap::new();
        for (&tensor, need) in &part.pieces {
            let source = graph.tensor(tensor).name.clone();
            if *need == Need::Whole {
                named.insert(tensor, source);
                continue;
            }
            let name = names.of_part(&source, index);
            emit_piece(graph, facts, tensor, need, &source, &name, &mut patch);
            named.insert(tensor, name);
        }
        let outside = |tensor: TensorId, _: &Need| named.get(&tensor).cloned().unwrap_or_default();
        emit_part(graph, facts, division, index, names, &outside, &mut patch);
    }
    for (&tensor, join) in &division.joins {
        let name = &graph.tensor(tensor).name;
        let parts: Vec<String> = division
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| part.outputs.contains_key(&tensor))
            .map(|(index, _)| names.output(name, index))
            .collect();
        emit_join(graph, facts, tensor, join, &parts, name, &mut patch);
    }
    patch
}
