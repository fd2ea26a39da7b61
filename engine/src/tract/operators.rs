//! Operators whose defaults tract 0.23 reads otherwise than ONNX says.

use std::sync::LazyLock;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, attribute_proto, tensor_proto};
use tract_onnx::prelude::TractResult;
use tract_onnx::tract_core::internal::format_err;
use tract_onnx::tract_hir::infer::InferenceOp;

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

static ORIGINAL: LazyLock<Onnx> = LazyLock::new(tract_onnx::onnx);

/// tract's reader of ONNX with those operators put right.
pub(super) fn reader() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.op_register.insert("ConstantOfShape", constant_of_shape);
    onnx.op_register.insert("Squeeze", squeeze);
    onnx
}

fn original(operator: &str, context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let build = ORIGINAL.op_register.0.get(operator);
    build.ok_or_else(|| format_err!("tract has no operator {operator}"))?(context, node)
}

/// Without a value it makes float32 zeros; tract makes float64.
fn constant_of_shape(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    if node.attribute.iter().any(|attribute| attribute.name == "value") {
        return original("ConstantOfShape", context, node);
    }
    let zero = TensorProto {
        dims: vec![1],
        data_type: tensor_proto::DataType::Float as i32,
        float_data: vec![0.0],
        ..TensorProto::default()
    };
    let mut node = node.clone();
    node.attribute.push(AttributeProto {
        name: "value".to_owned(),
        r#type: attribute_proto::AttributeType::Tensor as i32,
        t: Some(zero),
        ..AttributeProto::default()
    });
    original("ConstantOfShape", context, &node)
}

/// Without axes it removes every dimension of 1; tract knows that from version 13 only,
/// where the axes became an input.
fn squeeze(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let has_axes = node.attribute.iter().any(|attribute| attribute.name == "axes");
    if has_axes || context.onnx_operator_set_version >= 13 {
        return original("Squeeze", context, node);
    }
    let mut context = context.clone();
    context.onnx_operator_set_version = 13;
    original("Squeeze", &context, node)
}
