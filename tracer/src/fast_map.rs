//! Hash maps for keys that are looked up for every frame.
//!
//! The standard library's hash takes longer than the rest of such a look-up. This one is seeded at random, too: a target
//! that chooses its addresses can't make them collide.

use std::collections::HashMap;

pub type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
