//! One node as a rule sees it when it writes a part's share of it.

use super::{Need, Ranges, Refusal};
use crate::onnx::AttributeProto;
use crate::shapes::TensorFacts;
use crate::{Graph, Node, TensorId};
use std::collections::BTreeMap;
use tranche_schema::{AttributeValue, ElementType};

/// One node, for one part of a split: what is wanted of its outputs, and what is known.
pub struct Part<'a> {
    /// The graph.
    pub(super) graph: &'a Graph,
    /// Shapes of its tensors.
    pub(super) facts: &'a TensorFacts,
    /// The node.
    pub(super) node: &'a Node,
    /// What is wanted of each output; `None` where nothing is.
    pub(super) wanted: &'a [Option<Need>],
    /// Which part, from 0.
    pub(super) index: usize,
    /// Of how many.
    pub(super) count: usize,
    /// Contracted axes are divided into multiples of this many places.
    pub(super) grain: u64,
    /// Whether a tensor is made in the region by sums that parts can share ([`Rewrite::summand_of`]).
    pub(super) can_sum: &'a dyn Fn(TensorId) -> bool,
}

/// A part's share of a node.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// What it needs of each input of the node; `None` for one that it does not read.
    pub needs: Vec<Option<Need>>,
    /// What it does, in order.
    pub operations: Vec<Operation>,
    /// Its share of the node's work, 0 to 1.
    pub work: f64,
}

/// One node of a [`Rewrite`].
#[derive(Clone, Debug)]
pub struct Operation {
    /// Operator of the standard set; `None` for that of the node, with its domain and attributes.
    pub operator: Option<&'static str>,
    /// What it reads.
    pub inputs: Vec<Argument>,
    /// What it writes.
    pub outputs: Vec<Argument>,
    /// Attributes set.
    pub attributes: BTreeMap<String, AttributeValue>,
    /// Attributes of the node that are left out.
    pub without: Vec<String>,
}

/// A tensor that an [`Operation`] reads or writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// What was asked for of the node's input at this place.
    Input(usize),
    /// What was wanted of the node's output at this place.
    Output(usize),
    /// A tensor within the rewrite, by any name that is unique there.
    Local(&'static str),
    /// A constant.
    Constant(Constant),
    /// None: an optional one left out.
    Absent,
}

/// A small constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Type of each element.
    pub element_type: ElementType,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its elements, or a single one for all.
    pub values: Vec<f64>,
}

impl Constant {
    /// 64-bit integers in a row.
    #[must_use]
    pub fn integers(values: &[i64]) -> Argument {
        Argument::Constant(Self {
            element_type: ElementType::Int64,
            shape: vec![values.len() as u64],
            values: values.iter().map(|&value| value as f64).collect(),
        })
    }

    /// A tensor of zeros.
    #[must_use]
    pub fn zeros(element_type: ElementType, shape: &[u64]) -> Argument {
        Argument::Constant(Self { element_type, shape: shape.to_vec(), values: vec![0.0] })
    }
}

impl Operation {
    /// The node's own operator over all its inputs and outputs, those not read left out.
    #[must_use]
    pub fn same(part: &Part<'_>, needs: &[Option<Need>]) -> Self {
        let mut inputs: Vec<Argument> = needs
            .iter()
            .enumerate()
            .map(|(place, need)| if need.is_some() { Argument::Input(place) } else { Argument::Absent })
            .collect();
        while inputs.last() == Some(&Argument::Absent) {
            inputs.pop();
        }
        let outputs = part
            .wanted
            .iter()
            .enumerate()
            .map(|(place, wanted)| match wanted {
                Some(_) => Argument::Output(place),
                None => part.unread(place),
            })
            .collect();
        Self { operator: None, inputs, outputs, attributes: BTreeMap::new(), without: Vec::new() }
    }

    /// Another operator.
    #[must_use]
    pub fn of(operator: &'static str, inputs: Vec<Argument>, output: Argument) -> Self {
        Self {
            operator: Some(operator),
            inputs,
            outputs: vec![output],
            attributes: BTreeMap::new(),
            without: Vec::new(),
        }
    }

    /// Cuts the places from `start` to before `end` out of each axis given, as `(axis, start, end)`.
    #[must_use]
    pub fn crop(part: &Part<'_>, from: Argument, to: Argument, cuts: &[(usize, u64, u64)]) -> Self {
        let axes: Vec<i64> = cuts.iter().map(|cut| cut.0 as i64).collect();
        let starts: Vec<i64> = cuts.iter().map(|cut| cut.1 as i64).collect();
        let ends: Vec<i64> = cuts.iter().map(|cut| cut.2 as i64).collect();
        if part.opset() < 10 {
            return Self::of("Slice", vec![from], to)
                .with("axes", AttributeValue::Integers(axes))
                .with("starts", AttributeValue::Integers(starts))
                .with("ends", AttributeValue::Integers(ends));
        }
        let list = |values: &[i64]| Constant::integers(values);
        Self::of("Slice", vec![from, list(&starts), list(&ends), list(&axes)], to)
    }

    /// With an attribute set.
    #[must_use]
    pub fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.attributes.insert(name.to_owned(), value);
        self
    }

    /// Fills `output` with zeros.
    #[must_use]
    pub fn zeros(shape: &[u64], element_type: ElementType, output: Argument) -> Vec<Self> {
        let extents: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
        let fill = |output| Self::of("ConstantOfShape", vec![Constant::integers(&extents)], output);
        if element_type == ElementType::Float32 {
            return vec![fill(output)];
        }
        let to = AttributeValue::Integer(element_type.to_onnx().into());
        let single = Argument::Local("single_zeros");
        vec![fill(single.clone()), Self::of("Cast", vec![single], output).with("to", to)]
    }

    /// Without an attribute.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.without.push(name.to_owned());
        self
    }
}

impl Rewrite {
    /// The node's operator as it is, over what is needed of its inputs.
    #[must_use]
    pub fn same(part: &Part<'_>, needs: Vec<Option<Need>>, work: f64) -> Self {
        let operations = vec![Operation::same(part, &needs)];
        Self { needs, operations, work }
    }

    /// The node as it is, over a summand of its first input, in which it is linear.
    #[must_use]
    pub fn linear(part: &Part<'_>) -> Self {
        let need = |place| if place == 0 { Need::Summand } else { Need::Whole };
        let needs = part.node.inputs.iter().enumerate().map(|(place, input)| input.map(|_| need(place)));
        Self::same(part, needs.collect(), 1.0)
    }

    /// The node as it is, all of it.
    #[must_use]
    pub fn whole(part: &Part<'_>) -> Self {
        let needs = part.node.inputs.iter().map(|input| input.map(|_| Need::Whole)).collect();
        Self::same(part, needs, 1.0)
    }
}

impl<'a> Part<'a> {
    /// A refusal of the node, for this reason.
    pub fn refuse(&self, reason: impl Into<String>) -> Refusal {
        Refusal {
            node: self.node.name.clone(),
            operator: self.node.operator().to_owned(),
            reason: reason.into(),
            grain: None,
        }
    }

    /// A refusal because groups of this many places would be cut through.
    pub fn cuts_through(&self, what: &str, grain: u64) -> Refusal {
        Refusal {
            grain: Some(grain),
            ..self.refuse(format!("the border of a part cuts through {what} of {grain} places"))
        }
    }

    /// Which part this is, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// What the node writes where an output of it is not wanted: nothing, but where it must be there.
    fn unread(&self, place: usize) -> Argument {
        const NAMES: [&str; 4] = ["unread0", "unread1", "unread2", "unread3"];
        // TopK has two outputs. Of ONNX Runtime's own, attention wants those of its past and present.
        let must = !self.node.domain().is_empty() || self.node.operator() == "TopK";
        let is_there = self.node.outputs.get(place).copied().flatten().is_some();
        NAMES.get(place).filter(|_| must && is_there).map_or(Argument::Absent, |name| Argument::Local(name))
    }

    /// The node's input at a place.
    #[must_use]
    pub fn input(&self, place: usize) -> Option<TensorId> {
        self.node.inputs.get(place).copied().flatten()
    }

    /// Shape of the input at a place.
    ///
    /// # Errors
    /// When it is left out or its shape is not known.
    pub fn shape(&self, place: usize) -> Result<&'a [u64], Refusal> {
        let tensor = self.input(place).ok_or_else(|| self.refuse(format!("input {place} is left out")))?;
        self.shape_of(tensor)
    }

    /// Shape of the output at a place.
    ///
    /// # Errors
    /// When it is left out or its shape is not known.
    pub fn output_shape(&self, place: usize) -> Result<&'a [u64], Refusal> {
        let tensor = self.node.outputs.get(place).copied().flatten();
        let tensor = tensor.ok_or_else(|| self.refuse(format!("output {place} is left out")))?;
        self.shape_of(tensor)
    }

    fn shape_of(&self, tensor: TensorId) -> Result<&'a [u64], Refusal> {
        super::shape_of(self.facts, tensor).ok_or_else(|| {
            self.refuse(format!("the shape of tensor `{}` is not known", self.graph.tensor(tensor).name))
        })
    }

    /// How many of the places of an axis of the first output these are, 0 to 1.
    ///
    /// # Errors
    /// When its shape is not known.
    pub fn share(&self, axis: usize, ranges: &Ranges) -> Result<f64, Refusal> {
        let extent = self.output_shape(0)?.get(axis).copied().unwrap_or(1);
        Ok(ranges.count() as f64 / extent.max(1) as f64)
    }

    /// Element type of the output at a place.
    ///
    /// # Errors
    /// When it is not known.
    pub fn output_type(&self, place: usize) -> Result<ElementType, Refusal> {
        let tensor = self.node.outputs.get(place).copied().flatten();
        tensor
            .and_then(|tensor| self.element_type(tensor))
            .ok_or_else(|| self.refuse(format!("the element type of output {place} is not known")))
    }

    /// Element type of the input at a place.
    ///
    /// # Errors
    /// When it is left out or not known.
    pub fn input_type(&self, place: usize) -> Result<ElementType, Refusal> {
        self.input(place)
            .and_then(|tensor| self.element_type(tensor))
            .ok_or_else(|| self.refuse(format!("the element type of input {place} is not known")))
    }

    fn element_type(&self, tensor: TensorId) -> Option<ElementType> {
        let known = self.facts.spec(tensor).map(|spec| spec.element_type);
        known.or(self.graph.tensor(tensor).element_type)
    }

    /// What is wanted, of a node with one output.
    ///
    /// # Errors
    /// When more outputs than the first are wanted, or not that.
    pub fn only(&self) -> Result<&'a Need, Refusal> {
        match self.wanted {
            [Some(need), rest @ ..] if rest.iter().all(Option::is_none) => Ok(need),
            _ => Err(self.refuse("more is read of it than its first output")),
        }
    }

    /// What is wanted of every output that is wanted at all, where it is the same of each.
    ///
    /// # Errors
    /// When it differs.
    pub fn agreed(&self) -> Result<&'a Need, Refusal> {
        let mut wanted = self.wanted.iter().flatten();
        let first = wanted.next().ok_or_else(|| self.refuse("nothing of it is wanted"))?;
        match wanted.all(|need| need == first) {
            true => Ok(first),
            false => Err(self.refuse("different places of its outputs are wanted")),
        }
    }

    /// What places of an axis of a tensor of this rank are made of in an input that is broadcast to
    /// it (ONNX, "Broadcasting"): the same places where it has more than one, else all of it.
    ///
    /// # Errors
    /// When its shape is not known.
    pub fn broadcast(
        &self,
        place: usize,
        axis: usize,
        rank: usize,
        ranges: &Ranges,
    ) -> Result<Need, Refusal> {
        let shape = self.shape(place)?;
        let own = (axis + shape.len()).checked_sub(rank);
        let follows = own.filter(|&own| shape.get(own).is_some_and(|&extent| extent > 1));
        Ok(follows.map_or(Need::Whole, |own| Need::along(own, ranges)))
    }

    /// Whether the input at a place is a stored weight.
    #[must_use]
    pub fn is_weight(&self, place: usize) -> bool {
        self.input(place).is_some_and(|tensor| self.graph.is_initializer(tensor))
    }

    /// Whether the input at a place is made in the region by sums that parts can share.
    #[must_use]
    pub fn can_sum(&self, place: usize) -> bool {
        self.input(place).is_some_and(self.can_sum)
    }

    /// The integers of a stored input (64 or 32 bits wide).
    ///
    /// # Errors
    /// When the input is computed, or something else.
    pub fn integers(&self, place: usize) -> Result<Vec<i64>, Refusal> {
        let broken = || self.refuse(format!("input {place} is not stored integers"));
        let tensor = self.input(place).ok_or_else(broken)?;
        let stored = self.graph.initializer(tensor).ok_or_else(broken)?;
        let bytes = self.graph.model().tensor_bytes(stored).map_err(|_| broken())?;
        match ElementType::from_onnx(stored.data_type()) {
            Some(ElementType::Int64) => {
                Ok(bytes.as_chunks::<8>().0.iter().map(|chunk| i64::from_le_bytes(*chunk)).collect())
            }
            Some(ElementType::Int32) => {
                Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| i32::from_le_bytes(*chunk).into()).collect())
            }
            _ => Err(broken()),
        }
    }

    /// The single-precision numbers of a stored input.
    ///
    /// # Errors
    /// When the input is computed, or something else.
    pub fn reals(&self, place: usize) -> Result<Vec<f32>, Refusal> {
        let broken = || self.refuse(format!("input {place} is not stored numbers"));
        let tensor = self.input(place).ok_or_else(broken)?;
        let stored = self.graph.initializer(tensor).ok_or_else(broken)?;
        let bytes = self.graph.model().tensor_bytes(stored).map_err(|_| broken())?;
        match ElementType::from_onnx(stored.data_type()) {
            Some(ElementType::Float32) => {
                Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
            }
            _ => Err(broken()),
        }
    }

    /// An integer attribute.
    #[must_use]
    pub fn integer(&self, name: &str, default: i64) -> i64 {
        self.node.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    /// An attribute of integers; `None` where the node has none.
    #[must_use]
    pub fn integer_list(&self, name: &str) -> Option<&'a [i64]> {
        self.node.attribute(name).map(|attribute: &AttributeProto| attribute.ints.as_slice())
    }

    /// A text attribute.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let attribute = self.node.attribute(name)?;
        Some(String::from_utf8_lossy(attribute.s()).into_owned())
    }

    /// Version of the standard operator set.
    #[must_use]
    pub fn opset(&self) -> i64 {
        let imports = &self.graph.proto().opset_import;
        imports
            .iter()
            .find(|import| matches!(import.domain(), "" | "ai.onnx"))
            .map_or(0, |import| import.version())
    }

    /// An axis as ONNX counts it, from the front.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Refusal> {
        let place = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(place)
            .ok()
            .filter(|&place| place < rank)
            .ok_or_else(|| self.refuse(format!("axis {axis} of a tensor with {rank}")))
    }

    /// This part's places of a contracted axis of this extent: as even as multiples of the grain
    /// allow, the earlier parts longer.
    ///
    /// # Errors
    /// When there are fewer multiples than parts, or the grain does not divide the extent.
    pub fn contraction(&self, extent: u64) -> Result<Ranges, Refusal> {
        let grain = self.grain.max(1);
        if !extent.is_multiple_of(grain) {
            return Err(self.refuse(format!("an axis of {extent} is not made of groups of {grain}")));
        }
        let bounds = super::even_bounds(extent / grain, self.count);
        let range = bounds.get(self.index).zip(bounds.get(self.index + 1));
        range.and_then(|(&start, &end)| Ranges::new(start * grain, end * grain)).ok_or_else(|| {
            self.refuse(format!("an axis of {extent} has too few groups of {grain} for {} parts", self.count))
        })
    }
}
