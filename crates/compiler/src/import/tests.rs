//! What the importer's tests are made of.

mod classic;
mod exported;
mod hostile;

use std::cell::RefCell;

use rten_onnx::onnx::{
    AttributeProto, DataType, Dimension, GraphProto, ModelProto, NodeProto, TensorProto,
    TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

use super::{ImportError, ImportOptions, Imported, import_onnx};

fn floats(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        raw_data: Some(RefCell::new(
            data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        )),
        ..TensorProto::default()
    }
}

fn integers(name: &str, data: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: vec![data.len() as i64],
        data_type: Some(DataType::INT64),
        int64_data: data.to_vec(),
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("the_{output}_node")),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn with_int(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        i: Some(value),
        ..AttributeProto::default()
    });
    node
}

fn value(name: &str, elements: i64) -> ValueInfoProto {
    let batch = Dimension {
        dim_param: Some("batch".to_owned()),
        ..Dimension::default()
    };
    let elements = Dimension {
        dim_value: Some(elements),
        ..Dimension::default()
    };
    let tensor = TypeProtoTensor {
        elem_type: Some(DataType::FLOAT),
        shape: Some(TensorShapeProto {
            dim: vec![batch, elements],
        }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor),
            ..TypeProto::default()
        }),
    }
}

/// A file from `x` (2 numbers) to `y`, over constants `w` (2 x 2), `b` (2) and what a test adds.
fn file(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> ModelProto {
    let mut initializer = vec![
        floats("w", &[2, 2], &[1.0, -2.0, 0.5, 3.0]),
        floats("b", &[2], &[0.25, -0.75]),
    ];
    initializer.extend(constants);
    ModelProto {
        graph: Some(GraphProto {
            node: nodes,
            initializer,
            input: vec![value("x", 2)],
            output: vec![value("y", 2)],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn samples() -> Vec<Vec<f32>> {
    let grid = [-2.0, -1.1, -0.3, 0.0, 0.4, 1.5, 2.0];
    let pair = |a: f32| grid.iter().map(move |&b| vec![a, b]);
    grid.into_iter().flat_map(pair).collect()
}

fn import(model: &ModelProto) -> Result<Imported, ImportError> {
    let bytes = model.write_buf().unwrap();
    import_onnx(&bytes, &samples(), &ImportOptions::default())
}

fn refused(model: &ModelProto) -> ImportError {
    import(model).unwrap_err()
}

fn simple() -> ModelProto {
    file(vec![node("Gemm", &["x", "w", "b"], "y")], vec![])
}
