//! Nothing but `tests/`: a crate of its own, so that users of slipring do not build shuttle with its tests.
