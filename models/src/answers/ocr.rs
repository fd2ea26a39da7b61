//! Reading a page with PP-OCR: a page in, lines of text out.
//!
//! [`prepare`] → detection model → [`boxes`] → [`prepare_lines`] → recognition
//! model → [`decode`]. After PaddleOCR's `DBPostProcess` and `CTCLabelDecode`,
//! for upright pages: boxes are not rotated.

use super::{reals, shape};
use crate::ModelsError;
use tranche_graph::Model;
use tranche_schema::{Tensor, TensorView};

/// The shorter side of a page for detection, at least…
const SHORTEST_SIDE: f64 = 736.0;
/// …unless the longer side then exceeds this.
const LONGEST_SIDE: f64 = 2000.0;
/// Sides for detection are multiples of this: the network halves five times.
const SIDE_MULTIPLE: f64 = 32.0;
/// Above this probability a pixel is text.
const TEXT_PROBABILITY: f32 = 0.3;
/// Mean probability of the pixels of a region, at least.
const BOX_PROBABILITY: f32 = 0.5;
/// Detection shrinks text; a box grows back by this times area over perimeter.
const GROWTH: f64 = 1.6;
/// Pixels of the shorter side of a box before it grows, at least.
const SMALLEST_BOX: usize = 3;
/// Height of a line for recognition.
const LINE_HEIGHT: usize = 48;
/// Narrowest line that recognition was trained on; shorter ones are padded.
const LINE_WIDTH: usize = 320;
/// Boxes whose tops differ by less are on one line.
const LINE_TOLERANCE: usize = 10;

/// A colour image of 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row.
    pub pixels: Vec<[u8; 3]>,
}

/// A rectangle of a page, in pixels; `right` and `bottom` are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextBox {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Column after the last.
    pub right: usize,
    /// Row after the last.
    pub bottom: usize,
}

/// What a line reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The characters.
    pub text: String,
    /// Mean probability of the characters; 0 when there are none.
    pub confidence: f32,
}

impl Image {
    /// From a PNG file of grey or colour; transparency is ignored.
    ///
    /// # Errors
    /// When the bytes are not such a file.
    pub fn from_png(bytes: &[u8]) -> Result<Self, ModelsError> {
        let wrong = |error: png::DecodingError| ModelsError::Answer(format!("PNG image: {error}"));
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(wrong)?;
        let size = reader.output_buffer_size();
        let mut data = vec![0; size.ok_or_else(|| ModelsError::Answer("PNG image: too large".to_owned()))?];
        let info = reader.next_frame(&mut data).map_err(wrong)?;
        let samples = info.color_type.samples();
        let pixel = |channels: &[u8]| match *channels {
            [grey] | [grey, _] => [grey; 3],
            [red, green, blue, ..] => [red, green, blue],
            [] => [0; 3],
        };
        let pixels = data.chunks_exact(samples).map(pixel).collect();
        Ok(Self { width: info.width as usize, height: info.height as usize, pixels })
    }

    /// The part of the image in `area`, cut to what there is.
    #[must_use]
    pub fn crop(&self, area: &TextBox) -> Self {
        let (right, bottom) = (area.right.min(self.width), area.bottom.min(self.height));
        let (left, top) = (area.left.min(right), area.top.min(bottom));
        let rows = self.pixels.chunks(self.width.max(1)).take(bottom).skip(top);
        let pixels = rows.flat_map(|row| row.get(left..right).unwrap_or_default()).copied().collect();
        Self { width: right - left, height: bottom - top, pixels }
    }

    /// Scaled to `width` × `height` by linear interpolation between pixel centres,
    /// as planes of blue, green and red in ±1.
    fn planes(&self, width: usize, height: usize) -> [Vec<f32>; 3] {
        let columns = interpolation(self.width, width);
        let rows = interpolation(self.height, height);
        [2, 1, 0].map(|channel| {
            let at = |row: usize, column: usize| {
                let pixel = self.pixels.get(row * self.width + column);
                pixel.and_then(|pixel| pixel.get(channel)).copied().map_or(0.0, f32::from)
            };
            let mut plane = Vec::with_capacity(width * height);
            for &(upper, lower, down) in &rows {
                plane.extend(columns.iter().map(|&(left, right, across)| {
                    let above = at(upper, left) * (1.0 - across) + at(upper, right) * across;
                    let below = at(lower, left) * (1.0 - across) + at(lower, right) * across;
                    let value = (above * (1.0 - down) + below * down).round();
                    (value / 255.0 - 0.5) / 0.5
                }));
            }
            plane
        })
    }
}

/// For each of `to` places: its two neighbours among `from`, and how far it is towards the second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places are inside of the image")]
#[expect(clippy::cast_precision_loss, reason = "images are small")]
fn interpolation(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let last = from.saturating_sub(1);
    let scale = from as f64 / to.max(1) as f64;
    (0..to)
        .map(|place| {
            let source = ((place as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let first = source.floor() as usize;
            (first, (first + 1).min(last), (source - source.floor()) as f32)
        })
        .collect()
}

/// The page for the detection model: [1, 3, height, width], scaled to a size that it reads well.
///
/// # Errors
/// When the image is empty.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides are positive")]
#[expect(clippy::cast_precision_loss, reason = "images are small")]
pub fn prepare(page: &Image) -> Result<Tensor, ModelsError> {
    let shorter = page.width.min(page.height);
    if shorter == 0 {
        return Err(ModelsError::Answer("the image is empty".to_owned()));
    }
    let longer = page.width.max(page.height);
    let scale = (SHORTEST_SIDE / shorter as f64).max(1.0).min(LONGEST_SIDE / longer as f64);
    let side = |side: usize| {
        (((side as f64 * scale).floor() / SIDE_MULTIPLE).round_ties_even().max(1.0) * SIDE_MULTIPLE) as usize
    };
    let (width, height) = (side(page.width), side(page.height));
    Ok(Tensor::from_f32(shape([1, 3, height, width]), &page.planes(width, height).concat())?)
}

/// The lines of a page from the detection model's map [1, 1, height, width], in reading order.
///
/// # Errors
/// When the map is not of that shape.
pub fn boxes(map: &TensorView, page: &Image) -> Result<Vec<TextBox>, ModelsError> {
    let ([_, _, height, width], map) = reals(map)?;
    let mut boxes: Vec<_> = regions(&map, width, height)
        .into_iter()
        .filter(Region::is_text)
        .map(|region| grown(&region.area, [width, height], page))
        .collect();
    boxes.sort_by_key(|area| area.top);
    // Boxes side by side are read from the left.
    for line in boxes.chunk_by_mut(|a, b| b.top - a.top < LINE_TOLERANCE) {
        line.sort_by_key(|area| area.left);
    }
    Ok(boxes)
}

/// Connected pixels of text.
struct Region {
    area: TextBox,
    pixels: f32,
    /// Sum of their probabilities.
    probability: f32,
}

impl Region {
    fn add(&mut self, row: usize, column: usize, probability: f32) {
        self.area.left = self.area.left.min(column);
        self.area.right = self.area.right.max(column + 1);
        self.area.top = self.area.top.min(row);
        self.area.bottom = self.area.bottom.max(row + 1);
        self.pixels += 1.0;
        self.probability += probability;
    }

    /// Large enough, and text on the average.
    fn is_text(&self) -> bool {
        let TextBox { left, top, right, bottom } = self.area;
        (right - left).min(bottom - top) >= SMALLEST_BOX && self.probability >= BOX_PROBABILITY * self.pixels
    }
}

/// The connected regions of text of a map, by their first row.
fn regions(map: &[f32], width: usize, height: usize) -> Vec<Region> {
    let mut unseen: Vec<f32> = map.to_vec();
    // The probability of a pixel of text that is asked for the first time.
    let mut take = |row: usize, column: usize| {
        let probability = unseen.get_mut(row * width + column)?;
        (*probability > TEXT_PROBABILITY).then(|| std::mem::take(probability))
    };
    let mut regions = Vec::new();
    for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
        let Some(probability) = take(row, column) else { continue };
        let area = TextBox { left: column, top: row, right: column + 1, bottom: row + 1 };
        let mut region = Region { area, pixels: 1.0, probability };
        let mut frontier = vec![(row, column)];
        while let Some((row, column)) = frontier.pop() {
            let rows = row.saturating_sub(1)..(row + 2).min(height);
            let columns = column.saturating_sub(1)..(column + 2).min(width);
            for (row, column) in rows.flat_map(|row| columns.clone().map(move |column| (row, column))) {
                if let Some(probability) = take(row, column) {
                    region.add(row, column, probability);
                    frontier.push((row, column));
                }
            }
        }
        regions.push(region);
    }
    regions
}

/// A region of the map, grown and scaled to the page.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places are clamped to the page")]
#[expect(clippy::cast_precision_loss, reason = "images are small")]
fn grown(area: &TextBox, [width, height]: [usize; 2], page: &Image) -> TextBox {
    let (across, down) = ((area.right - area.left) as f64, (area.bottom - area.top) as f64);
    let growth = across * down * GROWTH / (2.0 * (across + down));
    let place = |place: f64, map: usize, page: usize| {
        (place / map as f64 * page as f64).round().clamp(0.0, page as f64) as usize
    };
    TextBox {
        left: place(area.left as f64 - growth, width, page.width),
        top: place(area.top as f64 - growth, height, page.height),
        right: place(area.right as f64 + growth, width, page.width),
        bottom: place(area.bottom as f64 + growth, height, page.height),
    }
}

/// Lines of the page for the recognition model, in one request: [lines, 3, 48,
/// width], shorter lines padded on the right.
///
/// # Errors
/// When a box is empty or off the page.
pub fn prepare_lines(page: &Image, areas: &[TextBox]) -> Result<Tensor, ModelsError> {
    let lines: Vec<Image> = areas.iter().map(|area| page.crop(area)).collect();
    if lines.iter().any(|line| line.pixels.is_empty()) {
        return Err(ModelsError::Answer("a box is empty".to_owned()));
    }
    let scaled = |line: &Image| (line.width * LINE_HEIGHT).div_ceil(line.height);
    let width = lines.iter().map(scaled).fold(LINE_WIDTH, usize::max);
    let mut values = Vec::with_capacity(lines.len() * 3 * LINE_HEIGHT * width);
    for line in &lines {
        let own_width = scaled(line);
        for plane in line.planes(own_width, LINE_HEIGHT) {
            for row in plane.chunks(own_width) {
                values.extend_from_slice(row);
                values.resize(values.len() + width - own_width, 0.0);
            }
        }
    }
    Ok(Tensor::from_f32(shape([lines.len(), 3, LINE_HEIGHT, width]), &values)?)
}

/// The characters that the recognition model's classes mean, from its own
/// metadata; the first class is the blank, the last one a space.
///
/// # Errors
/// When the model has no list of characters.
pub fn characters(model: &Model) -> Result<Vec<String>, ModelsError> {
    let mut properties = model.proto.metadata_props.iter();
    let list = properties.find(|property| property.key() == "character");
    let list = list.ok_or_else(|| ModelsError::Answer("the model has no list of characters".to_owned()))?;
    let characters = list.value().lines().map(str::to_owned);
    Ok([String::new()].into_iter().chain(characters).chain([" ".to_owned()]).collect())
}

/// What the recognition model's answer [lines, steps, classes] reads: the likeliest
/// class of each step, repeats and blanks left out.
///
/// # Errors
/// When the answer is not of that shape, or has another number of classes.
pub fn decode(probabilities: &TensorView, characters: &[String]) -> Result<Vec<Line>, ModelsError> {
    let ([_, steps, classes], values) = reals(probabilities)?;
    if classes != characters.len() {
        return Err(ModelsError::Answer(format!("{classes} classes for {} characters", characters.len())));
    }
    Ok(values.chunks((steps * classes).max(1)).map(|line| decode_line(line, characters)).collect())
}

/// What the steps of one line read.
fn decode_line(steps: &[f32], characters: &[String]) -> Line {
    let mut line = Line { text: String::new(), confidence: 0.0 };
    let mut previous = 0;
    let mut count = 0.0;
    for step in steps.chunks(characters.len().max(1)) {
        let likeliest = step.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let Some((class, probability)) = likeliest else { continue };
        if class != previous
            && class != 0
            && let Some(character) = characters.get(class)
        {
            line.text.push_str(character);
            line.confidence += probability;
            count += 1.0;
        }
        previous = class;
    }
    if count > 0.0 {
        line.confidence /= count;
    }
    line
}
