//! What walks have believed and nobody has looked at.

/// Beliefs of the walks since the last look, by the addresses that they are about.
#[derive(Debug, Default)]
pub struct Doubts {
    believed: Vec<Doubt>,
    /// Other things are remembered of these addresses than some walk has believed.
    replaced: Vec<u64>,
}

/// A stack has believed what is remembered of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Doubt {
    address: u64,
    stack: u32,
}

impl Doubts {
    pub fn believe(&mut self, address: u64, stack: u32) {
        self.believed.push(Doubt { address, stack });
    }

    /// From now on something else is remembered of `address`.
    pub fn replace(&mut self, address: u64) {
        self.replaced.push(address);
    }

    /// From now on nothing is remembered.
    pub fn replace_all(&mut self) {
        let believed = self.believed.iter().map(|doubt| doubt.address);
        self.replaced.extend(believed);
    }

    pub fn is_empty(&self) -> bool {
        self.believed.is_empty()
    }

    /// Each address once.
    pub fn addresses(&mut self) -> impl Iterator<Item = u64> {
        self.sort();
        self.groups().map(|(address, _)| address)
    }

    /// The stacks that have believed something wrong; `holds` looks at an address. Nothing is doubted any more.
    pub fn settle(&mut self, mut holds: impl FnMut(u64) -> bool) -> Vec<u32> {
        self.sort();
        let wrong = self.groups().filter(|(address, _)| {
            let is_replaced = self.replaced.binary_search(address).is_ok();
            !holds(*address) || is_replaced
        });
        let wrong: Vec<u32> = wrong.flat_map(|(_, stacks)| stacks).collect();
        self.believed.clear();
        self.replaced.clear();
        wrong
    }

    fn sort(&mut self) {
        self.believed.sort_unstable();
        self.believed.dedup();
        self.replaced.sort_unstable();
    }

    fn groups(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = u32>)> {
        let groups = self
            .believed
            .chunk_by(|one, other| one.address == other.address);
        groups.filter_map(|group| {
            let stacks = group.iter().map(|doubt| doubt.stack);
            Some((group.first()?.address, stacks))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who believed what does not hold, or what was replaced meanwhile, is told, and everybody but once per address is
    /// looked at.
    #[test]
    fn settled() {
        let mut doubts = Doubts::default();
        for (address, stack) in [(7, 0), (8, 0), (7, 1), (9, 2), (7, 0)] {
            doubts.believe(address, stack);
        }
        doubts.replace(9);
        assert_eq!(doubts.addresses().collect::<Vec<_>>(), [7, 8, 9]);
        let mut looked = Vec::new();
        let wrong = doubts.settle(|address| {
            looked.push(address);
            address != 7
        });
        assert_eq!((wrong, looked), (vec![0, 1, 2], vec![7, 8, 9]));
        assert!(doubts.is_empty());
        doubts.believe(7, 3);
        doubts.replace_all();
        assert_eq!(doubts.settle(|_| true), [3]);
        doubts.believe(9, 4);
        assert!(doubts.settle(|_| true).is_empty());
    }
}
