mod course;
pub(crate) mod fixture;
pub(crate) mod golden;
mod shape;
mod verdicts;
