pub(crate) mod fixture;
mod golden;
mod shape;
mod verdicts;
