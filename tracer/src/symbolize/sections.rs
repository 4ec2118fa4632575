//! Sections of an ELF file that may be hostile: read piece by piece, decompressed in bounds, never mapped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use object::{CompressionFormat, Object, ObjectSection};

use crate::target::modules::elf;

/// The largest section that is held in memory, compressed or not. The biggest that are needed whole (`.debug_line`,
/// `.debug_rnglists`) are 28 and 9 MiB in libjvm 17; only compressed debug information of huge programs is larger.
pub const MAX_IN_MEMORY: u64 = 256 << 20;
/// A section this large is unpacked in memory in any case.
const SMALL: u64 = 1 << 20;
/// The largest section that is unpacked onto the disk. `.debug_info` of libjvm 17 is 245 MiB.
const MAX_ON_DISK: u64 = 2 << 30;
/// Debug information shrinks to a third; what shrinks to less than this is no debug information but a trap.
const MAX_RATIO: u64 = 32;
/// More section headers than this are not looked at.
const MAX_SECTIONS: usize = 4096;

/// Where the sections of a file are. Nothing of their contents is held.
#[derive(Clone, Debug)]
pub struct Sections {
    file: Arc<File>,
    places: HashMap<String, Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    /// In the file.
    size: u64,
    format: CompressionFormat,
    uncompressed: u64,
}

/// A section that can be read from.
#[derive(Debug)]
pub enum Section {
    InFile {
        file: Arc<File>,
        offset: u64,
        size: u64,
    },
    InMemory(Vec<u8>),
}

impl Sections {
    /// None for what is no 64-bit little-endian ELF file.
    pub fn of(file: &Arc<File>) -> Option<Self> {
        let places = elf::visit(file, |elf| {
            elf.sections()
                .take(MAX_SECTIONS)
                .filter_map(|section| Some((usual_name(section.name().ok()?), place(&section)?)))
                .collect()
        })?;
        Some(Sections {
            file: Arc::clone(file),
            places,
        })
    }

    /// Whether there is such a section, with contents.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// A section; an empty one where there is none.
    ///
    /// # Errors
    /// It is compressed and too large, or compressed in a way that is not known, or malformed.
    pub fn open(&self, name: &str) -> io::Result<Section> {
        let Some(place) = self.places.get(name) else {
            return Ok(Section::InMemory(Vec::new()));
        };
        let in_file = Sections::at(&self.file, *place);
        if place.format == CompressionFormat::None {
            return Ok(in_file);
        }
        if place.uncompressed > MAX_IN_MEMORY {
            return Err(too_large(name, place.uncompressed));
        }
        let packed = in_file.read(0, bounded(name, place.size)?)?;
        unpack(&packed, place.format, place.uncompressed).map(Section::InMemory)
    }

    /// A section that is read in pieces, and may be larger than memory: a compressed one is unpacked into a file
    /// without a name, on the disk that is meant for large temporary files. The file is gone when we are.
    ///
    /// # Errors
    /// Those of [`Sections::open`]; there is no room on the disk.
    pub fn open_large(&self, name: &str) -> io::Result<Section> {
        let place = self.places.get(name).copied();
        let Some(place) = place.filter(|place| place.format != CompressionFormat::None) else {
            return self.open(name);
        };
        if place.uncompressed <= SMALL {
            return self.open(name);
        }
        if place.uncompressed > MAX_ON_DISK || place.uncompressed / MAX_RATIO > place.size {
            return Err(too_large(name, place.uncompressed));
        }
        let packed = Packed {
            file: &self.file,
            at: place.offset,
            end: place.offset.saturating_add(place.size),
        };
        let mut file = temporary()?;
        let mut unpacked =
            unpacking(BufReader::new(packed), place.format)?.take(place.uncompressed);
        if io::copy(&mut unpacked, &mut file)? != place.uncompressed {
            return Err(cut_off());
        }
        Ok(Section::InFile {
            file: Arc::new(file),
            offset: 0,
            size: place.uncompressed,
        })
    }

    fn at(file: &Arc<File>, place: Place) -> Section {
        Section::InFile {
            file: Arc::clone(file),
            offset: place.offset,
            size: place.size,
        }
    }

    /// The whole of a section; nothing where there is none.
    ///
    /// # Errors
    /// Those of [`Sections::open`]; it is too large; reading it failed.
    pub fn load(&self, name: &str) -> io::Result<Vec<u8>> {
        match self.open(name)? {
            Section::InMemory(bytes) => Ok(bytes),
            section => Ok(section.read(0, bounded(name, section.len())?)?.into_owned()),
        }
    }
}

impl Section {
    pub fn len(&self) -> u64 {
        match self {
            Section::InFile { size, .. } => *size,
            Section::InMemory(bytes) => bytes.len() as u64,
        }
    }

    /// `size` bytes at `at`.
    ///
    /// # Errors
    /// They are not all in the section, or not in the file any more.
    pub fn read(&self, at: u64, size: usize) -> io::Result<Cow<'_, [u8]>> {
        let end = at.checked_add(size as u64).filter(|end| *end <= self.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        match self {
            Section::InMemory(bytes) => Ok(Cow::Borrowed(&bytes[at as usize..end as usize])),
            Section::InFile { file, offset, .. } => {
                let offset = offset.checked_add(at).ok_or(io::ErrorKind::UnexpectedEof)?;
                // The section may state any size: what is not in the file is not allocated.
                let in_file = file.metadata()?.len();
                if offset.saturating_add(size as u64) > in_file {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let mut bytes = vec![0; size];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// As many bytes at `at` as there are, at most `size`.
    ///
    /// # Errors
    /// Those of [`Section::read`].
    pub fn read_up_to(&self, at: u64, size: usize) -> io::Result<Cow<'_, [u8]>> {
        let there = self.len().saturating_sub(at).min(size as u64);
        self.read(at, there as usize)
    }
}

/// Compressed sections had names of their own before they had a flag (`-gz=zlib-gnu`).
fn usual_name(name: &str) -> String {
    match name.strip_prefix(".zdebug_") {
        Some(rest) => format!(".debug_{rest}"),
        None => name.to_owned(),
    }
}

fn place<'data>(section: &impl ObjectSection<'data>) -> Option<Place> {
    let range = section.compressed_file_range().ok()?;
    (range.compressed_size > 0).then_some(Place {
        offset: range.offset,
        size: range.compressed_size,
        format: range.format,
        uncompressed: range.uncompressed_size,
    })
}

fn bounded(name: &str, size: u64) -> io::Result<usize> {
    usize::try_from(size)
        .ok()
        .filter(|_| size <= MAX_IN_MEMORY)
        .ok_or_else(|| too_large(name, size))
}

fn too_large(name: &str, size: u64) -> io::Error {
    io::Error::other(format!(
        "its section {} has {} MiB, more than the {} MiB that are read",
        crate::report::clean::name(name),
        size >> 20,
        MAX_IN_MEMORY >> 20
    ))
}

/// A part of a file, with a position of its own.
struct Packed<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn cut_off() -> io::Error {
    io::Error::other("a compressed section is cut off")
}

/// A file that nobody else can open, and that ends with us.
fn temporary() -> io::Result<File> {
    let chosen = std::env::var_os("TMPDIR").map(|_| std::env::temp_dir());
    let folder = chosen.unwrap_or_else(|| "/var/tmp".into());
    tempfile::tempfile_in(&folder).map_err(|error| {
        let folder = folder.display();
        io::Error::new(
            error.kind(),
            format!("cannot unpack it into {folder}, say another TMPDIR: {error}"),
        )
    })
}

fn unpacking<'a>(
    packed: impl BufRead + 'a,
    format: CompressionFormat,
) -> io::Result<Box<dyn Read + 'a>> {
    match format {
        CompressionFormat::Zlib => Ok(Box::new(flate2::bufread::ZlibDecoder::new(packed))),
        CompressionFormat::Zstandard => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(packed);
            Ok(Box::new(decoder.map_err(io::Error::other)?))
        }
        _ => Err(io::Error::other("it is compressed in an unknown way")),
    }
}

/// `packed` decompressed to exactly `size` bytes.
fn unpack(packed: &[u8], format: CompressionFormat, size: u64) -> io::Result<Vec<u8>> {
    let bytes = read_bounded(unpacking(packed, format)?, size)?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(cut_off())
    }
}

/// All that `from` gives; memory grows with what is there, never with what was announced.
///
/// # Errors
/// It gives more than `most` bytes; those of reading.
pub fn read_bounded(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!(
            "it unpacks to more than {most} bytes"
        )));
    }
    Ok(bytes)
}
