//! Stacks as one tree, so that what many of them share is in the page once.

use serde::Serialize;

/// The nodes of a tree in preorder. Node 0 is the root of all and not in the lists.
#[derive(Default, Serialize)]
pub(super) struct Tree {
    /// How far from the node before to the parent: 0 where that node is the parent itself, 1 where its parent is, …
    up: Vec<u32>,
    frame: Vec<u32>,
}

impl Tree {
    /// The tree of these stacks, root first, and the node where each of them ends.
    pub(super) fn of(stacks: &[Vec<u32>]) -> (Tree, Vec<u32>) {
        let mut order: Vec<usize> = (0..stacks.len()).collect();
        order.sort_by(|a, b| stacks[*a].cmp(&stacks[*b]));
        let mut tree = Tree::default();
        let mut leaves = vec![0; stacks.len()];
        let mut path: Vec<(u32, u32)> = Vec::new();
        for at in order {
            let stack = &stacks[at];
            let shared = path
                .iter()
                .zip(stack)
                .take_while(|((frame, _), other)| frame == *other)
                .count();
            let mut up = path.len() - shared;
            path.truncate(shared);
            for frame in &stack[shared..] {
                tree.up.push(up as u32);
                tree.frame.push(*frame);
                path.push((*frame, tree.frame.len() as u32));
                up = 0;
            }
            leaves[at] = path.last().map_or(0, |(_, node)| *node);
        }
        (tree, leaves)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parents(tree: &Tree) -> Vec<usize> {
        let mut parents = vec![0];
        for up in &tree.up {
            let mut parent = parents.len() - 1;
            for _ in 0..*up {
                parent = parents[parent];
            }
            parents.push(parent);
        }
        parents
    }

    proptest! {
        /// Proves that every stack is found again from its leaf, and that shared beginnings are in the tree once.
        #[test]
        fn stacks_are_found_again(stacks in prop::collection::vec(prop::collection::vec(0u32..4, 0..6), 0..20)) {
            let (tree, leaves) = Tree::of(&stacks);
            let parents = parents(&tree);
            for (stack, leaf) in stacks.iter().zip(leaves) {
                let mut found = Vec::new();
                let mut node = leaf as usize;
                while node > 0 {
                    found.push(tree.frame[node - 1]);
                    node = parents[node];
                }
                found.reverse();
                prop_assert_eq!(&found, stack);
            }
            let prefixes: std::collections::HashSet<&[u32]> =
                stacks.iter().flat_map(|stack| (1..=stack.len()).map(|end| &stack[..end])).collect();
            prop_assert_eq!(prefixes.len(), tree.frame.len());
        }
    }
}
