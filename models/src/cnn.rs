//! Convolutional networks.

use crate::builder::{Builder, Value};
use crate::layers::{Activation, Convolution};
use tranche_graph::Model;
use tranche_schema::ElementType;

fn image(builder: &Builder, extent: u32) -> Value {
    builder.input("input", ElementType::Float32, &format!("N,3,{extent},{extent}"))
}

fn logits(builder: Builder, value: &Value) -> Model {
    builder.output(value, "logits", "N,1000");
    builder.finish()
}

/// VGG-16 (arXiv 1409.1556, configuration D).
pub(crate) fn vgg16() -> Model {
    let builder = Builder::new("vgg16");
    let mut x = image(&builder, 224);
    let mut channels = 3;
    for (layers, width) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)] {
        for _ in 0..layers {
            x = builder.convolution(&x, &Convolution::square(channels, width, 3));
            channels = width;
        }
        x = builder.max_pool(&x, 2, 2, 0);
    }
    x = builder.flatten(&x);
    x = builder.dense(&x, 25_088, 4096, 1.41, Activation::Relu);
    x = builder.dense(&x, 4096, 4096, 1.41, Activation::Relu);
    x = builder.dense(&x, 4096, 1000, 1.0, Activation::None);
    logits(builder, &x)
}

/// ResNet-50 (arXiv 1512.03385), the stride on the 3×3 convolution, batch
/// normalisation folded into the weights.
pub(crate) fn resnet50() -> Model {
    let builder = Builder::new("resnet50");
    let x = image(&builder, 224);
    let x = builder.convolution(&x, &Convolution::square(3, 64, 7).stride(2));
    let mut x = builder.max_pool(&x, 3, 2, 1);
    let mut channels = 64;
    for (stage, (blocks, width)) in [(3, 64), (4, 128), (6, 256), (3, 512)].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let linear = |from: i64| Convolution::square(from, 4 * width, 1).activation(Activation::None);
            let y = builder.convolution(&x, &Convolution::square(channels, width, 1));
            let y = builder.convolution(&y, &Convolution::square(width, width, 3).stride(stride));
            let y = builder.convolution(&y, &linear(width).gain(0.3));
            let shortcut = match block {
                0 => builder.convolution(&x, &linear(channels).stride(stride).gain(1.0)),
                _ => x,
            };
            x = builder.activate(builder.add(&y, &shortcut), Activation::Relu);
            channels = 4 * width;
        }
    }
    let x = builder.classifier(&x, 2048);
    logits(builder, &x)
}

/// Inception v3 (arXiv 1512.00567) without the auxiliary classifier, batch
/// normalisation folded into the weights.
pub(crate) fn inception_v3() -> Model {
    let builder = Builder::new("inception_v3");
    let net = Inception { builder: &builder };
    let x = image(&builder, 299);
    let x = net.valid(&x, 3, 32, 3, 2);
    let x = net.valid(&x, 32, 32, 3, 1);
    let x = net.square(&x, 32, 64, 3);
    let x = builder.max_pool(&x, 3, 2, 0);
    let x = net.square(&x, 64, 80, 1);
    let x = net.valid(&x, 80, 192, 3, 1);
    let mut x = builder.max_pool(&x, 3, 2, 0);
    let mut channels = 192;
    for pooled in [32, 64, 64] {
        x = net.block_a(&x, channels, pooled);
        channels = 224 + pooled;
    }
    x = net.reduction_a(&x, channels);
    for width in [128, 160, 160, 192] {
        x = net.block_b(&x, 768, width);
    }
    x = net.reduction_b(&x, 768);
    for channels in [1280, 2048] {
        x = net.block_c(&x, channels);
    }
    let x = builder.classifier(&x, 2048);
    logits(builder, &x)
}

struct Inception<'a> {
    builder: &'a Builder,
}

impl Inception<'_> {
    fn convolution(&self, x: &Value, from: i64, to: i64, kernel: [i64; 2]) -> Value {
        self.builder.convolution(x, &Convolution::new(from, to, kernel))
    }

    fn square(&self, x: &Value, from: i64, to: i64, kernel: i64) -> Value {
        self.convolution(x, from, to, [kernel, kernel])
    }

    fn valid(&self, x: &Value, from: i64, to: i64, kernel: i64, stride: i64) -> Value {
        self.builder.convolution(x, &Convolution::square(from, to, kernel).stride(stride).padding(0))
    }

    fn pooled(&self, x: &Value, from: i64, to: i64) -> Value {
        self.square(&self.builder.average_pool(x, 3, 1, 1), from, to, 1)
    }

    fn block_a(&self, x: &Value, channels: i64, pooled: i64) -> Value {
        let single = self.square(x, channels, 64, 1);
        let five = self.square(&self.square(x, channels, 48, 1), 48, 64, 5);
        let double = self.square(&self.square(x, channels, 64, 1), 64, 96, 3);
        let double = self.square(&double, 96, 96, 3);
        let pooled = self.pooled(x, channels, pooled);
        self.builder.concat(&[&single, &five, &double, &pooled], 1)
    }

    fn reduction_a(&self, x: &Value, channels: i64) -> Value {
        let single = self.valid(x, channels, 384, 3, 2);
        let double = self.square(&self.square(x, channels, 64, 1), 64, 96, 3);
        let double = self.valid(&double, 96, 96, 3, 2);
        let pooled = self.builder.max_pool(x, 3, 2, 0);
        self.builder.concat(&[&single, &double, &pooled], 1)
    }

    fn block_b(&self, x: &Value, channels: i64, width: i64) -> Value {
        let (row, column) = ([1, 7], [7, 1]);
        let single = self.square(x, channels, width, 1);
        let single = self.convolution(&single, width, width, row);
        let single = self.convolution(&single, width, 192, column);
        let mut double = self.square(x, channels, width, 1);
        for (kernel, to) in [(column, width), (row, width), (column, width), (row, 192)] {
            double = self.convolution(&double, width, to, kernel);
        }
        let direct = self.square(x, channels, 192, 1);
        let pooled = self.pooled(x, channels, 192);
        self.builder.concat(&[&direct, &single, &double, &pooled], 1)
    }

    fn reduction_b(&self, x: &Value, channels: i64) -> Value {
        let single = self.valid(&self.square(x, channels, 192, 1), 192, 320, 3, 2);
        let factored = self.square(x, channels, 192, 1);
        let factored = self.convolution(&factored, 192, 192, [1, 7]);
        let factored = self.convolution(&factored, 192, 192, [7, 1]);
        let factored = self.valid(&factored, 192, 192, 3, 2);
        let pooled = self.builder.max_pool(x, 3, 2, 0);
        self.builder.concat(&[&single, &factored, &pooled], 1)
    }

    fn block_c(&self, x: &Value, channels: i64) -> Value {
        let single = self.square(x, channels, 384, 1);
        let double = self.square(&self.square(x, channels, 448, 1), 448, 384, 3);
        let direct = self.square(x, channels, 320, 1);
        let single_row = self.convolution(&single, 384, 384, [1, 3]);
        let single_column = self.convolution(&single, 384, 384, [3, 1]);
        let double_row = self.convolution(&double, 384, 384, [1, 3]);
        let double_column = self.convolution(&double, 384, 384, [3, 1]);
        let pooled = self.pooled(x, channels, 192);
        let parts = [&direct, &single_row, &single_column, &double_row, &double_column, &pooled];
        self.builder.concat(&parts, 1)
    }
}

/// DenseNet-121 (arXiv 1608.06993).
pub(crate) fn densenet121() -> Model {
    let builder = Builder::new("densenet121");
    let normalized = |x: &Value, channels: i64| {
        builder.activate(builder.batch_normalization(x, channels), Activation::Relu)
    };
    let plain = |x: &Value, from: i64, to: i64, kernel: i64, stride: i64| {
        let layer = Convolution::square(from, to, kernel).stride(stride);
        builder.convolution(x, &layer.activation(Activation::None).without_bias())
    };
    let x = plain(&image(&builder, 224), 3, 64, 7, 2);
    let mut x = builder.max_pool(&normalized(&x, 64), 3, 2, 1);
    let mut channels = 64;
    for (block, layers) in [6, 12, 24, 16].into_iter().enumerate() {
        for _ in 0..layers {
            let y = plain(&normalized(&x, channels), channels, 128, 1, 1);
            let y = plain(&normalized(&y, 128), 128, 32, 3, 1);
            x = builder.concat(&[&x, &y], 1);
            channels += 32;
        }
        if block < 3 {
            let y = plain(&normalized(&x, channels), channels, channels / 2, 1, 1);
            x = builder.average_pool(&y, 2, 2, 0);
            channels /= 2;
        }
    }
    let x = builder.classifier(&normalized(&x, channels), channels);
    logits(builder, &x)
}

/// MobileNet v2 (arXiv 1801.04381), batch normalisation folded into the weights.
pub(crate) fn mobilenet_v2() -> Model {
    let builder = Builder::new("mobilenet_v2");
    let relu6 = |layer: Convolution| layer.activation(Activation::Relu6);
    let x = image(&builder, 224);
    let mut x = builder.convolution(&x, &relu6(Convolution::square(3, 32, 3).stride(2)));
    let mut channels = 32;
    let stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, width, blocks, first_stride) in stages {
        for block in 0..blocks {
            let hidden = channels * expansion;
            let stride = if block == 0 { first_stride } else { 1 };
            let y = match expansion {
                1 => x.clone(),
                _ => builder.convolution(&x, &relu6(Convolution::square(channels, hidden, 1))),
            };
            let depthwise = Convolution::square(hidden, hidden, 3).stride(stride).groups(hidden);
            let y = builder.convolution(&y, &relu6(depthwise));
            let linear = Convolution::square(hidden, width, 1).activation(Activation::None).gain(1.0);
            let y = builder.convolution(&y, &linear);
            x = if stride == 1 && channels == width { builder.add(&x, &y) } else { y };
            channels = width;
        }
    }
    let x = builder.convolution(&x, &relu6(Convolution::square(channels, 1280, 1)));
    let x = builder.classifier(&x, 1280);
    logits(builder, &x)
}
