//! `aya::Pod` for what userspace reads and writes through maps.

use crate::config::{Config, Control};
use crate::inflight::{Allocating, Mapping, Opening, OpeningKey};
use crate::live::{LiveBlock, LiveObject, LiveStream, ObjectKey};

// SAFETY: `repr(C)`, integers only, no padding, valid for every bit pattern.
unsafe impl aya::Pod for Config {}
// SAFETY: as above.
unsafe impl aya::Pod for Control {}
// SAFETY: as above.
unsafe impl aya::Pod for LiveBlock {}
// SAFETY: as above.
unsafe impl aya::Pod for LiveStream {}
// SAFETY: as above.
unsafe impl aya::Pod for Allocating {}
// SAFETY: as above.
unsafe impl aya::Pod for Mapping {}
// SAFETY: as above.
unsafe impl aya::Pod for ObjectKey {}
// SAFETY: as above.
unsafe impl aya::Pod for LiveObject {}
// SAFETY: as above.
unsafe impl aya::Pod for OpeningKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Opening {}
