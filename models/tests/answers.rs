//! Inputs and answers of the catalogue's models, on contents made here.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use tranche_models::answers::ocr::{Image, TextBox, boxes, characters, decode, prepare, prepare_lines};
use tranche_models::answers::sentence::{WordPiece, cosine, inputs, mean_pool};
use tranche_schema::Tensor;

/// A tokenizer whose tokens are numbered as they are listed.
fn tokenizer(tokens: &[&str]) -> WordPiece {
    let vocabulary: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
    WordPiece::from_json(&serde_json::json!({ "model": { "vocab": vocabulary } }).to_string()).unwrap()
}

/// The tokens of `text` as words.
fn tokens(text: &str) -> String {
    let known =
        ["[UNK]", "[CLS]", "[SEP]", "un", "##able", "##a", "cafe", "isn", "'", "t", "!", "数", "学", "…"];
    let ids = tokenizer(&known).encode(text).ids;
    ids.into_iter().map(|id| known[usize::try_from(id).unwrap()]).collect::<Vec<_>>().join(" ")
}

#[test]
fn words_are_split_into_the_longest_known_pieces() {
    assert_eq!(tokens("unable una"), "[CLS] un ##able un ##a [SEP]");
}

#[test]
fn a_word_without_a_cover_of_pieces_is_unknown() {
    assert_eq!(tokens("unability t"), "[CLS] [UNK] t [SEP]");
}

#[test]
fn accents_case_and_control_characters_do_not_count() {
    assert_eq!(tokens("Cafe\u{301}\u{200b} CAFÉ\ttt\u{0}"), "[CLS] cafe cafe [UNK] [SEP]");
}

#[test]
fn punctuation_and_ideographs_stand_alone() {
    assert_eq!(tokens("isn't!… 数学"), "[CLS] isn ' t ! … 数 学 [SEP]");
}

#[test]
fn a_long_text_is_cut_to_what_the_model_knows() {
    let encoding = tokenizer(&["[UNK]", "[CLS]", "[SEP]", "t"]).encode(&"t ".repeat(500));
    assert_eq!((encoding.ids.len(), encoding.ids[126], encoding.ids[127]), (128, 3, 2));
    assert_eq!(inputs(&[encoding]).unwrap()["attention_mask"].shape(), [1, 128]);
}

#[test]
fn shorter_sentences_are_padded_to_the_longest() {
    let tokenizer = tokenizer(&["[UNK]", "[CLS]", "[SEP]", "t"]);
    let batch = inputs(&["t", "t t t"].map(|text| tokenizer.encode(text))).unwrap();
    assert_eq!(batch["input_ids"].shape(), [2, 5]);
    assert_eq!(batch["input_ids"].as_slice::<i64>().unwrap(), [1, 3, 2, 0, 0, 1, 3, 3, 3, 2]);
    assert_eq!(batch["attention_mask"].as_slice::<i64>().unwrap(), [1, 1, 1, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(batch["token_type_ids"].as_slice::<i64>().unwrap(), [0; 10]);
}

#[test]
fn the_mean_of_the_tokens_stands_for_the_sentence() {
    let tokenizer = tokenizer(&["[UNK]", "[CLS]", "[SEP]"]);
    let sentences = ["", "unknown"].map(|text| tokenizer.encode(text));
    // Of two tokens and one of padding, and of three tokens.
    let hidden = [1.0, 2.0, 3.0, 4.0, 100.0, 100.0, 0.0, 3.0, 0.0, 3.0, 3.0, 6.0];
    let hidden = Tensor::from_f32(vec![2, 3, 2], &hidden).unwrap();
    assert_eq!(mean_pool(&hidden.view(), &sentences).unwrap(), [[2.0, 3.0], [1.0, 4.0]]);
}

#[test]
fn an_answer_of_another_shape_is_refused() {
    let sentences = [tokenizer(&["[UNK]", "[CLS]", "[SEP]"]).encode("")];
    let error = |shape: Vec<u64>| {
        let hidden = Tensor::from_f32(shape, &[0.0; 6]).unwrap();
        mean_pool(&hidden.view(), &sentences).unwrap_err().to_string()
    };
    insta::assert_snapshot!(error(vec![2, 3]), @"expected float32 of 3 dimensions, got float32 of shape [2, 3]");
    insta::assert_snapshot!(error(vec![1, 3, 2]), @"an answer to 1 sentences of 3 tokens for 1 of 2");
}

#[test]
fn cosine_is_one_for_the_same_direction_and_zero_for_a_right_angle() {
    assert_eq!(cosine(&[1.0, 1.0], &[2.0, 2.0]), 1.0);
    assert_eq!(cosine(&[1.0, 0.0], &[0.0, 5.0]), 0.0);
}

/// A white page of this size.
fn page(width: usize, height: usize) -> Image {
    Image { width, height, pixels: vec![[255; 3]; width * height] }
}

/// A map of 100 × 60 with text of this probability in each area.
fn map(areas: &[(TextBox, f32)]) -> Tensor {
    let mut values = vec![0.0; 100 * 60];
    for (area, probability) in areas {
        for row in area.top..area.bottom {
            values[row * 100 + area.left..row * 100 + area.right].fill(*probability);
        }
    }
    Tensor::from_f32(vec![1, 1, 60, 100], &values).unwrap()
}

#[test]
fn boxes_grow_and_come_in_reading_order() {
    let area = |left, top| TextBox { left, top, right: left + 30, bottom: top + 10 };
    let map = map(&[(area(60, 10), 0.9), (area(10, 12), 0.9), (area(10, 40), 0.9)]);
    let found = boxes(&map.view(), &page(200, 120)).unwrap();
    // Growth: 30 · 10 · 1.6 / 80 = 6 pixels of the map, 12 of the page.
    let expected = [(8, 12, 92, 56), (108, 8, 192, 52), (8, 68, 92, 112)];
    let expected = expected.map(|(left, top, right, bottom)| TextBox { left, top, right, bottom });
    assert_eq!(found, expected);
}

#[test]
fn faint_and_tiny_regions_are_no_text() {
    let faint = TextBox { left: 10, top: 10, right: 40, bottom: 20 };
    let tiny = TextBox { left: 10, top: 40, right: 40, bottom: 42 };
    assert_eq!(boxes(&map(&[(faint, 0.4), (tiny, 0.9)]).view(), &page(100, 60)).unwrap(), []);
}

#[test]
fn pages_are_scaled_to_what_detection_reads_well() {
    assert_eq!(prepare(&page(384, 191)).unwrap().shape(), [1, 3, 736, 1472]);
    assert_eq!(prepare(&page(10_000, 1)).unwrap().shape(), [1, 3, 32, 1984]);
    assert!(prepare(&page(0, 10)).is_err());
}

#[test]
fn a_line_is_scaled_and_padded_to_the_right() {
    let area = TextBox { left: 10, top: 10, right: 58, bottom: 34 };
    let line = prepare_lines(&page(100, 60), &[area]).unwrap();
    assert_eq!(line.shape(), [1, 3, 48, 320]);
    let values = line.as_slice::<f32>().unwrap();
    assert_eq!((values[95], values[96]), (1.0, 0.0));
}

#[test]
fn lines_of_one_request_are_as_wide_as_the_widest() {
    let area = |right| TextBox { left: 0, top: 10, right, bottom: 20 };
    let lines = prepare_lines(&page(100, 60), &[area(100), area(40)]).unwrap();
    assert_eq!(lines.shape(), [2, 3, 48, 480]);
    let second = &lines.as_slice::<f32>().unwrap()[3 * 48 * 480..];
    assert_eq!((second[191], second[192]), (1.0, 0.0));
    assert!(prepare_lines(&page(100, 60), &[area(0)]).is_err());
}

#[test]
fn linear_scaling_keeps_a_gradient() {
    let pixels = (0..8).map(|column: u8| [column * 32; 3]).collect();
    let image = Image { width: 8, height: 1, pixels };
    let line = prepare_lines(&image, &[TextBox { left: 0, top: 0, right: 8, bottom: 1 }]).unwrap();
    let row = &line.as_slice::<f32>().unwrap()[..384];
    assert!(row.is_sorted());
    assert_eq!((row[0], row[383]), (-1.0, 224.0 / 127.5 - 1.0));
}

#[test]
fn repeats_and_blanks_are_left_out() {
    let characters = ["", "a", "b", " "].map(str::to_owned);
    let steps = [0, 1, 1, 0, 1, 2, 3, 2, 2, 0, 0, 0, 0, 0];
    let mut values = vec![0.1; 4 * steps.len()];
    for (step, class) in steps.iter().enumerate() {
        values[4 * step + class] = 0.5;
    }
    let answer = Tensor::from_f32(vec![2, 7, 4], &values).unwrap();
    let lines = decode(&answer.view(), &characters).unwrap();
    let read: Vec<_> = lines.iter().map(|line| (line.text.as_str(), line.confidence)).collect();
    assert_eq!(read, [("aab ", 0.5), ("b", 0.5)]);
}

#[test]
fn another_number_of_classes_is_refused() {
    let answer = Tensor::from_f32(vec![1, 1, 3], &[0.0; 3]).unwrap();
    let error = decode(&answer.view(), &[String::new()]).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"3 classes for 1 characters");
}

#[test]
fn a_model_without_characters_is_refused() {
    let error = characters(&tranche_models::build("gcn_cora").unwrap()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"the model has no list of characters");
}

/// A PNG file of 2 × 1 pixels.
fn png_file(color: png::ColorType, data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 2, 1);
    encoder.set_color(color);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    file
}

#[test]
fn grey_and_colour_images_are_read() {
    let grey = Image::from_png(&png_file(png::ColorType::Grayscale, &[7, 9])).unwrap();
    assert_eq!(grey, Image { width: 2, height: 1, pixels: vec![[7; 3], [9; 3]] });
    let colour = Image::from_png(&png_file(png::ColorType::Rgba, &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
    assert_eq!(colour.pixels, [[1, 2, 3], [5, 6, 7]]);
    assert!(Image::from_png(b"not a PNG file").is_err());
}
