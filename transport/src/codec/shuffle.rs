//! Zero elements left out, the bytes of the others transposed, planes with Zstandard.
//!
//! Exponents of activations take few values and mantissas any: with the bytes of one weight
//! beside each other, an entropy coder gains on one plane and need not look at the others.
//!
//! Blocks of 65,536 elements, the last one shorter. Each is a `u32`, the number of elements
//! kept; then, unless none or all are kept, the bitmap ([`super::bitmap`]) as a section; then,
//! unless none are kept, a section for each byte of an element from the low one up, which holds
//! that byte of all kept elements. A section is a `u32`, its coded length, and that many bytes:
//! as they are if as many as there must be, else a Zstandard frame.

use super::elements::{Element, by_width, elements, elements_mut, width};
use super::{bitmap, zstandard};
use bytes::Bytes;
use tranche_schema::ElementType;
use zstd::bulk::{Compressor, Decompressor};

/// Elements of a block: its planes stay in the second-level cache.
pub(super) const BLOCK: usize = 65_536;
const LENGTH_BYTES: usize = 4;

/// Zeros are left out where they are at least one in so many.
const WORTH_A_BITMAP: usize = 16;
/// A section is coded if that saves one byte in so many.
const WORTH_CODING: usize = 32;
/// Of a section longer than four samples, one is coded first to see whether the rest is worth it.
const SAMPLE: usize = 4096;

/// Fewest coded bytes of a tensor: blocks that keep nothing.
pub(super) fn least_bytes(raw_bytes: u64, element_type: ElementType) -> u64 {
    raw_bytes.div_ceil((BLOCK * width(element_type)) as u64) * LENGTH_BYTES as u64
}

pub(super) fn encode(raw: &[u8], element_type: ElementType) -> Result<Bytes, String> {
    by_width!(element_type, encode_elements(raw))
}

pub(super) fn decode(coded: &[u8], element_type: ElementType, raw: &mut [u8]) -> Result<(), String> {
    by_width!(element_type, decode_elements(coded, raw))
}

fn encode_elements<T: Element>(raw: &[u8]) -> Result<Bytes, String> {
    let elements = elements::<T>(raw)?;
    let largest = elements.len().min(BLOCK);
    let mut sections = SectionWriter::new(raw.len())?;
    let mut bits = vec![0; bitmap::bytes(largest)];
    let mut kept = vec![T::ZERO; largest + bitmap::LANES];
    let mut plane = vec![0; largest];
    for block in elements.chunks(BLOCK) {
        let bits = &mut bits[..bitmap::bytes(block.len())];
        // A bitmap of single bytes would be an eighth of what it saves.
        let count = if T::WIDTH == 1 { block.len() } else { bitmap::compact(block, bits, &mut kept) };
        let is_sparse = count <= block.len() - block.len().div_ceil(WORTH_A_BITMAP);
        let coded = if is_sparse { &kept[..count] } else { block };
        sections.put_number(coded.len());
        if is_sparse && count != 0 {
            sections.put(bits)?;
        }
        for index in 0..if coded.is_empty() { 0 } else { T::WIDTH } {
            let plane = &mut plane[..coded.len()];
            for (byte, element) in plane.iter_mut().zip(coded) {
                *byte = element.byte(index);
            }
            sections.put(plane)?;
        }
    }
    Ok(sections.out.into())
}

fn decode_elements<T: Element>(coded: &[u8], raw: &mut [u8]) -> Result<(), String> {
    let elements = elements_mut::<T>(raw)?;
    let largest = elements.len().min(BLOCK);
    let mut sections = SectionReader { rest: coded, decompressor: zstandard::decompressor()? };
    let mut bits = vec![0; bitmap::bytes(largest)];
    let mut kept = vec![T::ZERO; largest + bitmap::LANES];
    let mut plane = vec![0; largest];
    for block in elements.chunks_mut(BLOCK) {
        let count = sections.number()?;
        if count > block.len() {
            return Err(format!("a block of {} elements keeps {count}", block.len()));
        }
        if count == 0 {
            continue;
        }
        if count == block.len() {
            sections.join(&mut plane, block)?;
            continue;
        }
        let bits = &mut bits[..bitmap::bytes(block.len())];
        sections.take(bits)?;
        if bitmap::ones(bits, block.len()) != Some(count) {
            return Err(format!("a bitmap does not keep the {count} elements that are there"));
        }
        kept[..count].fill(T::ZERO);
        sections.join(&mut plane, &mut kept[..count])?;
        bitmap::expand(bits, &kept, block);
    }
    if sections.rest.is_empty() {
        Ok(())
    } else {
        Err(format!("{} bytes follow the last block", sections.rest.len()))
    }
}

struct SectionWriter {
    out: Vec<u8>,
    compressor: Compressor<'static>,
    scratch: Vec<u8>,
}

impl SectionWriter {
    fn new(raw_bytes: usize) -> Result<Self, String> {
        let out = Vec::with_capacity(raw_bytes + raw_bytes / 1024 + 64);
        let scratch = Vec::with_capacity(zstd::zstd_safe::compress_bound(BLOCK));
        Ok(Self { out, compressor: zstandard::plane_compressor()?, scratch })
    }

    fn put_number(&mut self, number: usize) {
        // At most a block's length.
        self.out.extend_from_slice(&(number as u32).to_le_bytes());
    }

    fn put(&mut self, section: &[u8]) -> Result<(), String> {
        let middle = section.len() / 2;
        let is_worth = match section.get(middle..middle + SAMPLE) {
            Some(sample) if section.len() > 4 * SAMPLE => self.code(sample)?,
            _ => true,
        };
        if is_worth && self.code(section)? {
            self.put_number(self.scratch.len());
            self.out.extend_from_slice(&self.scratch);
        } else {
            self.put_number(section.len());
            self.out.extend_from_slice(section);
        }
        Ok(())
    }

    /// Codes into the scratch buffer; answers whether that saves enough.
    fn code(&mut self, section: &[u8]) -> Result<bool, String> {
        self.scratch.clear();
        self.compressor.compress_to_buffer(section, &mut self.scratch).map_err(|error| error.to_string())?;
        Ok(self.scratch.len() < section.len() - section.len() / WORTH_CODING)
    }
}

struct SectionReader<'a> {
    rest: &'a [u8],
    decompressor: Decompressor<'static>,
}

impl SectionReader<'_> {
    fn number(&mut self) -> Result<usize, String> {
        let (number, rest) =
            self.rest.split_first_chunk::<LENGTH_BYTES>().ok_or("it ends in the middle of a block")?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*number) as usize)
    }

    /// Fills `section` with the next one.
    fn take(&mut self, section: &mut [u8]) -> Result<(), String> {
        let length = self.number()?;
        let (coded, rest) = self.rest.split_at_checked(length).ok_or("it ends in the middle of a section")?;
        self.rest = rest;
        if length == section.len() {
            section.copy_from_slice(coded);
            Ok(())
        } else {
            zstandard::decode_with(&mut self.decompressor, coded, section)
        }
    }

    /// Puts together `elements`, which are zero, from the next sections, one a byte.
    fn join<T: Element>(&mut self, plane: &mut [u8], elements: &mut [T]) -> Result<(), String> {
        let plane = &mut plane[..elements.len()];
        for index in 0..T::WIDTH {
            self.take(plane)?;
            for (element, &byte) in elements.iter_mut().zip(&*plane) {
                *element = element.with_byte(index, byte);
            }
        }
        Ok(())
    }
}
