//! Model-local functions, inlined.
//!
//! Each call is replaced by the function's body. Names of the body become
//! `call/name`, made unique; attributes that refer to the function's own get the
//! call's value, or the default, or are left out. Bodies may call other functions,
//! and calls may be in subgraphs.

use crate::onnx::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto,
};
use crate::visit::{initializer_names, subgraphs, subgraphs_mut};
use crate::{GraphError, Model};
use prost::Message as _;
use std::collections::{HashMap, HashSet};

/// Calls within calls beyond this are refused.
const MAX_DEPTH: usize = 64;
/// Bytes of inlined nodes beyond this are refused: functions that call others
/// twice grow as a power of two.
const MAX_BYTES: usize = 128 << 20;
/// What a node takes in memory besides its encoded bytes, about.
const NODE_BYTES: usize = 512;

/// Domain, name and overload.
type Key = (String, String, String);

/// Inlines every call of a local function; the model then has none.
///
/// # Errors
/// When a function is defined twice, calls itself, reads a name that it does not
/// define, needs another version of an operator set than the model imports, or
/// when calls nest too deep or grow too large.
pub(crate) fn inline(mut model: Model) -> Result<Model, GraphError> {
    if model.proto.functions.is_empty() {
        return Ok(model);
    }
    let mut functions = HashMap::new();
    for function in std::mem::take(&mut model.proto.functions) {
        let key = function_key(&function);
        let name = key.1.clone();
        if functions.insert(key, function).is_some() {
            return Err(GraphError::invalid(format!("function `{name}` is defined twice")));
        }
    }
    let Some(mut graph) = model.proto.graph.take() else { return Ok(model) };
    let mut used = HashSet::new();
    collect_names(&graph, &mut used);
    let mut inliner = Inliner {
        functions: &functions,
        names: Names { used, counts: HashMap::new() },
        prefixes: Names::default(),
        stack: Vec::new(),
        called: HashSet::new(),
        bytes: 0,
    };
    inliner.expand_graph(&mut graph)?;
    let called: Vec<&FunctionProto> = {
        let mut keys: Vec<&Key> = inliner.called.into_iter().collect();
        keys.sort();
        keys.into_iter().filter_map(|key| functions.get(key)).collect()
    };
    model.proto.graph = Some(graph);
    merge_imports(&mut model.proto, &called)?;
    drop_function_domains(&mut model.proto, &functions);
    Ok(model)
}

fn standard(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn function_key(function: &FunctionProto) -> Key {
    let domain = standard(function.domain()).to_owned();
    (domain, function.name().to_owned(), function.overload().to_owned())
}

fn call_key(node: &NodeProto) -> Key {
    (standard(node.domain()).to_owned(), node.op_type().to_owned(), node.overload().to_owned())
}

/// Every tensor and node name in use, so that new ones do not clash.
fn collect_names(graph: &GraphProto, names: &mut HashSet<String>) {
    names.extend(graph.input.iter().map(|info| info.name().to_owned()));
    names.extend(initializer_names(graph).map(str::to_owned));
    for node in &graph.node {
        names.insert(node.name().to_owned());
        names.extend(node.output.iter().cloned());
        for subgraph in subgraphs(node) {
            collect_names(subgraph, names);
        }
    }
}

/// Adds the operator sets that called functions need.
fn merge_imports(proto: &mut ModelProto, called: &[&FunctionProto]) -> Result<(), GraphError> {
    for function in called {
        for import in &function.opset_import {
            let domain = standard(import.domain());
            let found = proto.opset_import.iter().find(|own| standard(own.domain()) == domain);
            match found {
                Some(own) if own.version() == import.version() => {}
                Some(own) => {
                    let shown = if domain.is_empty() { "ai.onnx" } else { domain };
                    return Err(GraphError::unsupported(format!(
                        "function `{}` needs version {} of operator set `{shown}`, the model imports {}",
                        function.name(),
                        import.version(),
                        own.version()
                    )));
                }
                None => proto
                    .opset_import
                    .push(OperatorSetIdProto { domain: Some(domain.to_owned()), version: import.version }),
            }
        }
    }
    Ok(())
}

/// Drops imports that only calls needed.
fn drop_function_domains(proto: &mut ModelProto, functions: &HashMap<Key, FunctionProto>) {
    let mut domains: HashSet<&str> = functions.keys().map(|(domain, _, _)| domain.as_str()).collect();
    if let Some(graph) = &proto.graph {
        forget_used_domains(graph, &mut domains);
    }
    domains.remove("");
    proto.opset_import.retain(|import| !domains.contains(import.domain()));
}

fn forget_used_domains(graph: &GraphProto, domains: &mut HashSet<&str>) {
    for node in &graph.node {
        domains.remove(standard(node.domain()));
        for subgraph in subgraphs(node) {
            forget_used_domains(subgraph, domains);
        }
    }
}

/// Names in use, to make others that are not.
#[derive(Default)]
struct Names {
    used: HashSet<String>,
    /// How many were made from a stem.
    counts: HashMap<String, usize>,
}

impl Names {
    fn unique(&mut self, stem: String) -> String {
        if self.used.insert(stem.clone()) {
            return stem;
        }
        let count = self.counts.entry(stem.clone()).or_default();
        loop {
            *count += 1;
            let name = format!("{stem}_{count}");
            if self.used.insert(name.clone()) {
                return name;
            }
        }
    }
}

struct Inliner<'a> {
    functions: &'a HashMap<Key, FunctionProto>,
    /// Of tensors and nodes.
    names: Names,
    /// What the names of a call's body begin with.
    prefixes: Names,
    stack: Vec<&'a Key>,
    called: HashSet<&'a Key>,
    bytes: usize,
}

impl<'a> Inliner<'a> {
    fn expand_graph(&mut self, graph: &mut GraphProto) -> Result<(), GraphError> {
        let mut types = Vec::new();
        graph.node = self.expand_nodes(std::mem::take(&mut graph.node), &mut types)?;
        graph.value_info.extend(types);
        Ok(())
    }

    fn expand_nodes(
        &mut self,
        nodes: Vec<NodeProto>,
        types: &mut Vec<ValueInfoProto>,
    ) -> Result<Vec<NodeProto>, GraphError> {
        let mut expanded = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            if let Some((key, function)) = self.functions.get_key_value(&call_key(&node)) {
                let label = if node.name().is_empty() { node.op_type() } else { node.name() }.to_owned();
                self.enter(key).map_err(|error| error.at_node(&label))?;
                let body = self
                    .instantiate(function, &node, &label, types)
                    .map_err(|error| error.at_node(&label))?;
                expanded.extend(self.expand_nodes(body, types)?);
                self.stack.pop();
            } else {
                for subgraph in subgraphs_mut(&mut node) {
                    self.expand_graph(subgraph)?;
                }
                expanded.push(node);
            }
        }
        Ok(expanded)
    }

    fn enter(&mut self, key: &'a Key) -> Result<(), GraphError> {
        if self.stack.contains(&key) {
            return Err(GraphError::invalid(format!("function `{}` calls itself", key.1)));
        }
        if self.stack.len() == MAX_DEPTH {
            return Err(GraphError::unsupported(format!("functions call each other {MAX_DEPTH} deep")));
        }
        self.stack.push(key);
        self.called.insert(key);
        Ok(())
    }

    /// The body of `function` as `call` runs it.
    fn instantiate(
        &mut self,
        function: &FunctionProto,
        call: &NodeProto,
        label: &str,
        types: &mut Vec<ValueInfoProto>,
    ) -> Result<Vec<NodeProto>, GraphError> {
        let surplus = |what: &str, given: usize, takes: usize| {
            GraphError::invalid(format!(
                "gives function `{}` {given} {what}, it has {takes}",
                function.name()
            ))
        };
        if call.input.len() > function.input.len() {
            return Err(surplus("inputs", call.input.len(), function.input.len()));
        }
        if call.output.len() > function.output.len() {
            return Err(surplus("outputs", call.output.len(), function.output.len()));
        }
        let prefix = self.prefixes.unique(label.to_owned());
        let mut scope: HashMap<String, String> = function
            .input
            .iter()
            .enumerate()
            .map(|(place, name)| (name.clone(), call.input.get(place).cloned().unwrap_or_default()))
            .collect();
        let mut copies = Vec::new();
        for (place, name) in function.output.iter().enumerate() {
            let Some(outer) = call.output.get(place).filter(|outer| !outer.is_empty()) else { continue };
            if scope.contains_key(name) {
                copies.push((name, outer));
            } else {
                scope.insert(name.clone(), outer.clone());
            }
        }
        let mut body = Body { inliner: self, function, call, prefix: &prefix, scopes: vec![scope] };
        let mut nodes = body.nodes(&function.node)?;
        for (name, outer) in copies {
            let source = body.read(name)?;
            if source.is_empty() {
                return Err(GraphError::invalid(format!(
                    "function `{}` gives out its input `{name}`, which the call leaves out",
                    function.name()
                )));
            }
            nodes.push(NodeProto {
                input: vec![source],
                output: vec![outer.clone()],
                name: Some(format!("{prefix}/copy_{outer}")),
                op_type: Some("Identity".to_owned()),
                ..NodeProto::default()
            });
        }
        let inner: Vec<ValueInfoProto> = function
            .value_info
            .iter()
            .filter(|info| !function.input.iter().chain(&function.output).any(|name| name == info.name()))
            .filter_map(|info| body.renamed(info))
            .collect();
        types.extend(inner);
        Ok(nodes)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), GraphError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(GraphError::unsupported("its functions grow beyond all measure when inlined"));
        }
        Ok(())
    }
}

/// A function's body while it is copied for one call.
struct Body<'s, 'a, 'f> {
    inliner: &'s mut Inliner<'a>,
    function: &'f FunctionProto,
    call: &'f NodeProto,
    prefix: &'f str,
    /// New names by those of the body, outermost first.
    scopes: Vec<HashMap<String, String>>,
}

impl Body<'_, '_, '_> {
    fn nodes(&mut self, nodes: &[NodeProto]) -> Result<Vec<NodeProto>, GraphError> {
        nodes.iter().map(|node| self.node(node)).collect()
    }

    fn node(&mut self, source: &NodeProto) -> Result<NodeProto, GraphError> {
        let names = source.input.len() + source.output.len() + 1;
        let bytes = NODE_BYTES + self.prefix.len().saturating_mul(names);
        self.inliner.charge(source.encoded_len().saturating_add(bytes))?;
        let mut node = source.clone();
        for name in &mut node.input {
            *name = self.read(name)?;
        }
        node.attribute = source
            .attribute
            .iter()
            .filter_map(|attribute| self.attribute(attribute).transpose())
            .collect::<Result<_, _>>()?;
        for name in &mut node.output {
            *name = self.define(name);
        }
        let label = if source.name().is_empty() { source.op_type() } else { source.name() };
        node.name = Some(self.inliner.names.unique(format!("{}/{label}", self.prefix)));
        Ok(node)
    }

    fn read(&self, name: &str) -> Result<String, GraphError> {
        if name.is_empty() {
            return Ok(String::new());
        }
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).cloned().ok_or_else(|| {
            GraphError::invalid(format!(
                "function `{}` reads `{name}`, which nothing in it defines before",
                self.function.name()
            ))
        })
    }

    /// The new name of something that the body defines; an output of the function
    /// has one from the start.
    fn define(&mut self, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        if let [scope] = self.scopes.as_slice()
            && let Some(known) = scope.get(name)
        {
            return known.clone();
        }
        let fresh = self.inliner.names.unique(format!("{}/{name}", self.prefix));
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), fresh.clone());
        }
        fresh
    }

    /// An attribute with references replaced; `None` when it refers to one that
    /// neither the call nor a default gives.
    fn attribute(&mut self, source: &AttributeProto) -> Result<Option<AttributeProto>, GraphError> {
        let mut attribute = if source.ref_attr_name().is_empty() {
            source.clone()
        } else {
            let wanted = source.ref_attr_name();
            let given = self.call.attribute.iter().chain(&self.function.attribute_proto);
            let Some(given) = given.into_iter().find(|given| given.name() == wanted) else {
                return Ok(None);
            };
            if source.r#type() != given.r#type() && source.r#type.is_some_and(|code| code != 0) {
                return Err(GraphError::invalid(format!(
                    "gives function `{}` attribute `{wanted}` of type {}, it needs {}",
                    self.function.name(),
                    given.r#type().as_str_name(),
                    source.r#type().as_str_name()
                )));
            }
            // Its subgraphs are of the caller's scope, with nothing to rename.
            let name = source.name.clone();
            return Ok(Some(AttributeProto { name, ref_attr_name: None, ..given.clone() }));
        };
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            self.graph(graph)?;
        }
        Ok(Some(attribute))
    }

    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), GraphError> {
        self.scopes.push(HashMap::new());
        let mut listed = HashMap::new();
        for input in &mut graph.input {
            let fresh = self.define(input.name());
            listed.insert(input.name().to_owned(), fresh.clone());
            input.name = Some(fresh);
        }
        let values = graph.sparse_initializer.iter_mut().filter_map(|sparse| sparse.values.as_mut());
        for tensor in graph.initializer.iter_mut().chain(values) {
            // An initialiser may be listed as an input too.
            let fresh = match listed.get(tensor.name()) {
                Some(known) => known.clone(),
                None => self.define(tensor.name()),
            };
            tensor.name = Some(fresh);
        }
        graph.node = self.nodes(&graph.node)?;
        for output in &mut graph.output {
            output.name = Some(self.read(output.name())?);
        }
        graph.value_info = graph.value_info.iter().filter_map(|info| self.renamed(info)).collect();
        for annotation in &mut graph.quantization_annotation {
            for name in annotation.tensor_name.iter_mut().chain(
                annotation.quant_parameter_tensor_names.iter_mut().filter_map(|entry| entry.value.as_mut()),
            ) {
                if let Ok(known) = self.read(name) {
                    *name = known;
                }
            }
        }
        self.scopes.pop();
        Ok(())
    }

    /// A declaration under its new name; `None` for what the body does not define.
    fn renamed(&self, info: &ValueInfoProto) -> Option<ValueInfoProto> {
        let name = self.read(info.name()).ok().filter(|name| !name.is_empty())?;
        Some(ValueInfoProto { name: Some(name), ..info.clone() })
    }
}
