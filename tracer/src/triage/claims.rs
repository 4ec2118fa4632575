//! Address ranges whose owner is known from the JVM's or the allocator's own structures.

use super::owners::Kind;

/// Ranges that are kept; a JVM has one for each thread and each 64 MiB heap.
const MAX_CLAIMS: usize = 1 << 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub start: u64,
    pub end: u64,
    pub kind: Kind,
    /// Concluded and not told.
    pub guess: bool,
}

/// Disjoint, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Vec<Claim>);

impl Claims {
    /// Takes of the range what nobody has claimed before: who speaks first is believed.
    pub fn add(&mut self, start: u64, end: u64, kind: Kind, guess: bool) {
        let mut at = self.0.partition_point(|claim| claim.end <= start);
        let mut from = start;
        while from < end && self.0.len() < MAX_CLAIMS {
            let next = self.0.get(at).copied().filter(|next| next.start < end);
            let to = next.map_or(end, |next| next.start);
            if from < to {
                let claim = Claim {
                    start: from,
                    end: to,
                    kind,
                    guess,
                };
                self.0.insert(at, claim);
                at += 1;
            }
            let Some(next) = next else { return };
            from = from.max(next.end);
            at += 1;
        }
    }

    /// Those that reach into the range.
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = &Claim> {
        let at = self.0.partition_point(|claim| claim.end <= start);
        self.0[at..]
            .iter()
            .take_while(move |claim| claim.start < end)
    }

    pub fn at(&self, address: u64) -> Option<&Claim> {
        self.within(address, address.saturating_add(1)).next()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is claimed first stays, and later claims get what is left around it.
    #[test]
    fn first_wins() {
        let mut claims = Claims::default();
        claims.add(20, 30, Kind::JavaHeap, false);
        claims.add(10, 40, Kind::Metaspace, true);
        claims.add(25, 28, Kind::Cds, false);
        let found: Vec<_> = claims
            .within(0, 100)
            .map(|claim| (claim.start, claim.end))
            .collect();
        assert_eq!(found, [(10, 20), (20, 30), (30, 40)]);
        assert_eq!(claims.at(29).map(|claim| claim.kind), Some(Kind::JavaHeap));
        assert_eq!(claims.at(40), None);
        assert_eq!(claims.within(15, 20).count(), 1);
    }

    proptest! {
        /// Whatever is claimed, claims are disjoint, ascending and not empty.
        #[test]
        fn disjoint(ranges in proptest::collection::vec((0_u64..200, 0_u64..60), 0..40)) {
            let mut claims = Claims::default();
            for (start, length) in ranges {
                claims.add(start, start + length, Kind::Anonymous, false);
                let all: Vec<_> = claims.within(0, 1000).copied().collect();
                prop_assert!(all.iter().all(|claim| claim.start < claim.end));
                prop_assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start));
            }
        }
    }
}
