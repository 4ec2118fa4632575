//! Names of Java threads: `JavaThread::_threadObj`, its field `name`, the string's bytes.
//!
//! The kernel knows 15 bytes of a name, and not always: not that of a thread that has attached itself (`main` is one),
//! nor the new one of a thread that another has renamed. So the name is read from the heap, from a program that goes on.
//! It is a name where the thread object points back at the thread (`eetop`) and the string is a string of plausible text,
//! and it is sure where no object can have been moved meanwhile.

use std::time::{Duration, Instant};

use crate::unwind::memory::Memory;

use super::heap::{Heap, HeapPlaces, Reader};
use super::layout::{MAX_STRUCT, VmLayout};
use super::names;
use super::vm_structs::VmStructs;

/// The class of the threads that run virtual ones (JDK 21 and later).
const CARRIER: &str = "jdk/internal/misc/CarrierThread";
/// `String.coder`: one byte for each character, or two.
const LATIN1: u8 = 0;
const UTF16: u8 = 1;
/// Before JDK 9: an array of characters, and no coder.
const CHARACTERS: u8 = 0xff;
/// A JVM that has not set up its heap yet is looked at again after this.
const RETRY: Duration = Duration::from_millis(100);

/// A Java thread's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JavaThreadName {
    pub text: String,
    /// It runs virtual threads.
    pub is_carrier: bool,
    /// No object can have been moved while it was read. Else it is one only if other evidence agrees.
    pub is_sure: bool,
}

/// Where names of threads are found.
#[derive(Debug)]
pub struct ThreadNames {
    places: Places,
    known: Option<Known>,
    tried: Option<Instant>,
}

#[derive(Debug)]
struct Places {
    heap: HeapPlaces,
    /// `JavaThread::_threadObj`.
    thread_object: u64,
    /// Addresses of the variables that hold the classes.
    thread_klass: u64,
    string_klass: u64,
}

/// What does not change while the JVM runs.
#[derive(Debug)]
struct Known {
    heap: Heap,
    string_klass: u64,
    /// Fields of `java.lang.Thread`.
    name: u64,
    eetop: u64,
    /// Fields of `java.lang.String`; before JDK 9 there is no coder, and the value is characters.
    value: u64,
    coder: Option<u64>,
}

impl ThreadNames {
    /// None where this JVM does not say enough of its heap.
    pub fn detect(structs: &VmStructs) -> Option<Self> {
        let klass = |name: &str| {
            let old = format!("_well_known_klasses[SystemDictionary::{name}_klass_knum]");
            let new = format!("_klasses[static_cast<int>(vmClassID::{name}_klass_knum)]");
            structs
                .field(&[("vmClasses", &new), ("SystemDictionary", &old)])
                .map(|field| field.address)
        };
        let thread_object = structs.field(&[("JavaThread", "_threadObj")])?.offset;
        Some(ThreadNames {
            places: Places {
                heap: HeapPlaces::detect(structs)?,
                thread_object: (thread_object < MAX_STRUCT).then_some(thread_object)?,
                thread_klass: klass("Thread")?,
                string_klass: klass("String")?,
            },
            known: None,
            tried: None,
        })
    }

    /// The name of the `JavaThread` at `thread`; None where it has none (it is starting or ending) or can't be read.
    pub fn name(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        thread: u64,
        now: Instant,
    ) -> Option<JavaThreadName> {
        if self.known.is_none() {
            let waits = |tried| now.duration_since(tried) < RETRY;
            if self.tried.is_some_and(waits) {
                return None;
            }
            self.tried = Some(now);
            self.known = self.places.resolve(memory, layout);
        }
        let known = self.known.as_ref()?;
        let reader = Reader::new(memory, &known.heap);
        let before = reader.quiet();
        let object = self.places.thread_object(&reader, known, thread)?;
        let text = known.text(&reader, object)?;
        let is_carrier = klass_name(&reader, layout, object).as_deref() == Some(CARRIER);
        // Read again: a name that was set meanwhile, and objects that were moved, are noticed.
        let same = known.text(&reader, self.places.thread_object(&reader, known, thread)?)? == text;
        let is_sure = same && before.is_some() && before == reader.quiet() && !reader.met_stale();
        Some(JavaThreadName {
            text,
            is_carrier,
            is_sure,
        })
    }
}

impl Places {
    fn resolve(&self, memory: &impl Memory, layout: &VmLayout) -> Option<Known> {
        let thread_klass = memory.read_u64(self.thread_klass).ok()?;
        let string_klass = memory.read_u64(self.string_klass).ok()?;
        let fields = |klass, wanted| {
            self.heap
                .field_offsets(memory, &layout.method, layout.release, klass, wanted)
        };
        let [name, eetop] = fields(
            thread_klass,
            [("name", "Ljava/lang/String;"), ("eetop", "J")],
        )?;
        let [bytes, coder] = fields(string_klass, [("value", "[B"), ("coder", "B")])?;
        let [characters, _] = fields(string_klass, [("value", "[C"), ("hash", "I")])?;
        Some(Known {
            heap: self.heap.heap(memory, layout.release)?,
            string_klass,
            name: name?,
            eetop: eetop?,
            value: bytes.or(characters)?,
            coder,
        })
    }

    /// The `java.lang.Thread` of a thread: behind a handle, or the reference itself in older JVMs. That which points
    /// back at the thread is it.
    fn thread_object<M: Memory>(
        &self,
        reader: &Reader<'_, M>,
        known: &Known,
        thread: u64,
    ) -> Option<u64> {
        let slot = thread.checked_add(self.thread_object)?;
        let is_it = |object: &u64| {
            let eetop = object.checked_add(known.eetop);
            eetop.and_then(|eetop| reader.memory.read_u64(eetop).ok()) == Some(thread)
        };
        let handle = reader
            .memory
            .read_u64(slot)
            .ok()
            .filter(|&word| word != 0)?;
        let behind = reader.reference(handle).filter(is_it);
        behind.or_else(|| reader.reference(slot).filter(is_it))
    }
}

impl Known {
    fn text<M: Memory>(&self, reader: &Reader<'_, M>, object: u64) -> Option<String> {
        let string = reader.field(object.checked_add(self.name)?)?;
        if reader.klass(string) != Some(self.string_klass) {
            return None;
        }
        let array = reader.field(string.checked_add(self.value)?)?;
        let coder = match self.coder {
            Some(coder) => reader.memory.read_u8(string.checked_add(coder)?).ok()?,
            None => CHARACTERS,
        };
        match coder {
            LATIN1 => Some(
                reader
                    .array(array, 1)?
                    .iter()
                    .map(|&byte| char::from(byte))
                    .collect(),
            ),
            UTF16 => Some(utf16(&reader.array(array, 1)?)),
            CHARACTERS => Some(utf16(&reader.array(array, 2)?)),
            _ => None,
        }
    }
}

fn utf16(bytes: &[u8]) -> String {
    let units = bytes.as_chunks::<2>().0.iter();
    let units: Vec<u16> = units.map(|bytes| u16::from_le_bytes(*bytes)).collect();
    String::from_utf16_lossy(&units)
}

fn klass_name<M: Memory>(reader: &Reader<'_, M>, layout: &VmLayout, object: u64) -> Option<String> {
    let klass = reader.klass(object)?;
    let name = klass.checked_add(layout.method.klass_name)?;
    let symbol = reader.memory.read_u64(name).ok()?;
    names::symbol(reader.memory, &layout.method, symbol).ok()
}
